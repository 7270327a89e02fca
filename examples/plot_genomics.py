"""
Classifying DNA, and asking a model about mutations
====================================================

Sequences with a binding site, on either strand, among random ones. A classifier finds them, and its
probabilities say which letters of a site matter.
"""

import matplotlib.pyplot as plt
import numpy as np

from titans_ts.plugins.genomics import TitansSequenceClassifier, reverse_complement

# %%
# The data
# --------
#
# Sites are drawn from the shares of bases at each of eight places, much as those of a transcription
# factor are published. The last place may be any base. A site may lie anywhere in its sequence, and
# on either strand.

rng = np.random.default_rng(0)
BASES = np.array(list("ACGT"))
SITE = np.array(
    [
        [0.02, 0.02, 0.02, 0.94],
        [0.02, 0.02, 0.94, 0.02],
        [0.94, 0.02, 0.02, 0.02],
        [0.02, 0.48, 0.48, 0.02],
        [0.02, 0.02, 0.02, 0.94],
        [0.02, 0.94, 0.02, 0.02],
        [0.94, 0.02, 0.02, 0.02],
        [0.25, 0.25, 0.25, 0.25],
    ]
)


def random_dna(length):
    return "".join(rng.choice(BASES, length))


def with_site(length):
    site = "".join(rng.choice(BASES, p=shares) for shares in SITE)
    if rng.random() < 0.5:
        site = reverse_complement(site)
    place = rng.integers(length - len(site))
    return random_dna(place) + site + random_dna(length - place - len(site))


def draw(n):
    lengths = rng.integers(50, 71, n)
    sequences = [(with_site if i % 2 else random_dna)(length) for i, length in enumerate(lengths)]
    return sequences, np.where(np.arange(n) % 2, "bound", "free")


train, labels = draw(1600)
test, test_labels = draw(400)

# %%
# The classifier
# --------------
#
# It is small, and trained for few epochs, so that this page is built quickly. Nobody told it that
# strands mean the same here: it has learnt both readings, and kept the better one.

classifier = TitansSequenceClassifier(
    dim=16, motifs=32, max_epochs=10, batch_size=32, accelerator="cpu", random_state=0
)
classifier.fit(train, labels)
print(f"both strands averaged: {classifier.reverse_complement_}")
print(f"accuracy on new sequences: {classifier.score(test, test_labels):.1%}")

# %%
# Every mutation of a site
# ------------------------
#
# The classifier is asked about each change of one letter: by how much does it change the log-odds
# of binding?

left, right = random_dna(26), random_dna(26)
site = "TGACTCAG"


def log_odds(sequences):
    logs = classifier.predict_log_proba(sequences)
    bound = list(classifier.classes_).index("bound")
    return logs[:, bound] - logs[:, 1 - bound]


window = range(-4, len(site) + 4)
sequence = left + site + right
changes = np.zeros((4, len(window)))
for column, offset in enumerate(window):
    place = len(left) + offset
    mutants = [sequence[:place] + base + sequence[place + 1 :] for base in BASES]
    changes[:, column] = log_odds(mutants) - log_odds([sequence])

figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
limit = np.abs(changes).max()
image = axes.imshow(changes, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
axes.set_yticks(range(4), BASES)
axes.set_xticks(range(len(window)), [sequence[len(left) + offset] for offset in window])
axes.set(xlabel="sequence around the site", title="Change of the log-odds of binding")
figure.colorbar(image, ax=axes)
plt.show()

# %%
# Mutations inside the site take its probability away, but where the drawing left a choice.
