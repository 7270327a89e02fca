"""
Text, and a memory that gets used to it
=======================================

The backbone that forecasts series reads text as well. A small model is trained for some seconds on
texts that each have an alphabet of their own, and then reads new ones: how soon does it know what
it is reading?
"""

import matplotlib.pyplot as plt
import numpy as np

from titans_ts.plugins.language.model import TitansLanguageModel

# %%
# Texts
# -----
#
# Each text uses four letters of the alphabet, drawn once, in random order. Nobody can do better
# than two bits a letter, and a model that does not notice which letters a text uses needs 4.7.

LENGTH = 96
rng = np.random.default_rng(0)


def text() -> str:
    letters = rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 4, replace=False)
    return "".join(rng.choice(letters, LENGTH))


train, test = [text() for _ in range(240)], [text() for _ in range(40)]

# %%
# The model
# ---------
#
# Memory alone, in chunks of 8 letters: what it knows of a text is what it wrote into its weights
# while it read it. Training sees 32 letters at a time, and memory is carried through all such
# segments of a text.

model = TitansLanguageModel(
    variant="lmm",
    dim=32,
    depth=1,
    n_heads=1,
    chunk_size=8,
    context_length=32,
    carried_segments=5,
    max_epochs=6,
    learning_rate=1e-2,
    random_state=0,
)
model.fit(train)
print(f"{model.bits_per_byte(test):.2f} bits a letter")

# %%
# Surprise, letter by letter
# --------------------------
#
# The first letters of a text surprise it; then it has learnt which ones to expect. Nothing is
# trained here: the weights of the model stay as they are, only its memory moves.

bits = -np.mean([model.log_probabilities(t) for t in test], axis=0) / np.log(2)
smooth = np.convolve(bits, np.ones(8) / 8, mode="valid")

figure, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
axes.plot(np.arange(len(smooth)) + 4, smooth, label="the model")
axes.axhline(np.log2(26), color="0.6", linestyle=":", label="any letter may come")
axes.axhline(2, color="0.6", linestyle="--", label="the text's own letters")
axes.set(xlabel="letters read", ylabel="bits for the next letter", ylim=(1.5, 5))
axes.legend(loc="upper right")
plt.show()

# %%
# Text goes on mostly in the alphabet of its prompt, at the same cost for each letter, until the
# model takes it for ended.

print(model.generate("cafecafeaccefacfecafeaf", max_new_tokens=60, temperature=0.7, seed=0))
