"""Whether text costs the same at its hundred-thousandth token as at its thousandth.

    python benchmarks/generation.py
    python benchmarks/generation.py --variants mac --tokens 20000

A language model of the default size, one text of so many tokens, and around each place the median
of processor time over 1,000 tokens; beside it the most memory that the process has held until
there. What the weights are is of no matter to time: they are those of a model that has learnt
nothing.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import time
from collections.abc import Iterator
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from titans_ts.config import VARIANTS
from titans_ts.heads.tokens.model import TokenModel
from titans_ts.nn.restart import tensors_of
from titans_ts.plugins.language.generate import Sampling, sample_tokens
from titans_ts.plugins.language.model import TitansLanguageModel
from titans_ts.plugins.language.reading import read_on
from titans_ts.plugins.language.tokenizer import ByteTokenizer

# Tokens whose times are put together at each place.
AROUND = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--tokens", type=int, default=100_000, help="of a text; at least 3,000")
    options = parser.parse_args()
    if options.tokens < 3 * AROUND:
        parser.error(f"--tokens must be at least {3 * AROUND}, got {options.tokens}")
    print("| variant | token | ms per token | against the first | peak memory | state |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for variant in options.variants:
        measure(variant, options.tokens)


def measure(variant: str, n: int) -> None:
    """Print a line for each place: 1,000 tokens, ten times as many, and so on, and the end."""
    torch.manual_seed(0)
    tokenizer = ByteTokenizer()
    model = TokenModel(tokenizer.n_tokens, TitansLanguageModel(variant=variant)._config()).eval()
    prompt = tokenizer.encode("Once upon a time")
    start = read_on(model, prompt, end=tokenizer.end, length=64, weights="")
    n_numbers = sum(tensor.numel() for tensor in tensors_of(start.state))
    # No token ends this text.
    generator = torch.Generator().manual_seed(0)
    tokens = sample_tokens(
        model, start.logits, start.state, Sampling(), n=n, end=-1, generator=generator
    )
    places = [place for place in (1_000 * 10**i for i in range(9)) if place < n] + [n]
    first, done = 0.0, 0
    for place in places:
        # At the first place behind it, for the warm-up; at the others before it.
        begin = place if place == places[0] else place - AROUND
        skip(tokens, begin - done)
        times = []
        for _ in range(AROUND):
            before = time.process_time()
            next(tokens)
            times.append(time.process_time() - before)
        done = begin + AROUND
        each = median(times)
        first = first or each
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes
        print(
            f"| {variant} | {place:,} | {1e3 * each:.2f} | {each / first:.2f} | "
            f"{peak / 2**10:.0f} MB | {n_numbers:,} numbers |",
            flush=True,
        )


def skip(tokens: Iterator[int], n: int) -> None:
    for _ in itertools.islice(tokens, n):
        pass


if __name__ == "__main__":
    main()
