"""Whether a text is read as well far behind its start as near it, by how it was trained.

    python -m benchmarks.long_texts
    python -m benchmarks.long_texts --carried 8 32 --tokens 2700000

A language model of the default size learns from the articles of WikiText-2, with its memory carried
through so many segments; then it reads 160,000 bytes of the test split as one text. Bits per byte
are given by place, and, beside them, of the same text where each 2,048 characters are one of their
own. About five minutes of one core for each.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import re
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.language.corpora import read_splits
from titans_ts.plugins.language.model import TitansLanguageModel

PLACES = (0, 2_048, 8_192, 32_768, 160_000)
SHORT = 2_048


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--carried", type=int, nargs="+", default=[8, 32], help="segments")
    parser.add_argument("--memory-depth", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=1_600_000, help="to train on")
    options = parser.parse_args()
    learnt, judged, test = (part.tobytes().decode() for part in read_splits("wikitext-2"))
    text = test.encode()[: PLACES[-1]].decode(errors="ignore")
    between = [f"{a:,} to {b:,}" for a, b in itertools.pairwise(PLACES)]
    print("| carried | " + " | ".join(between) + f" | {SHORT:,} at a time |")
    print("| --- " * (len(between) + 2) + "|", flush=True)
    for carried in options.carried:
        model = TitansLanguageModel(
            memory_depth=options.memory_depth,
            carried_segments=carried,
            max_tokens=options.tokens,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            model.fit(articles(learnt), validation=articles(judged)[:20])
        bits = -model.log_probabilities(text) / math.log(2)
        found = [bits[a:b].mean() for a, b in itertools.pairwise(PLACES)]
        short = [text[i : i + SHORT] for i in range(0, len(text), SHORT)]
        found.append(model.bits_per_byte(short))
        print(f"| {carried} | " + " | ".join(f"{each:.3f}" for each in found) + " |", flush=True)


def articles(corpus: str) -> list[str]:
    """The texts of a split, which start with a heading of one equals sign."""
    return [text for text in re.split(r"\n(?= = [^=])", corpus) if text.strip()]


if __name__ == "__main__":
    main()
