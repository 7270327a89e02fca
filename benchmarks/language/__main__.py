"""Bits per byte of language models of equal size, trained on the same bytes in the same order.

    python -m benchmarks.language                       the whole table, the most wanted runs first
    python -m benchmarks.language --hours 8             as far as this sitting goes
    python -m benchmarks.language --only titans-mag transformer++ no-momentum --tokens 2000000
    python -m benchmarks.language --together --rows 64  on a GPU, all runs of a sitting side by side
    python -m benchmarks.language --rates --rows 8      how long a step of each takes, beside others
    python -m benchmarks.language --page                only write the page anew

Stopped or killed at any moment, the same command goes on from the last minute. Started twice on two
cores, the second takes runs that the first has not. What is done lies in ``runs.jsonl`` in
``benchmarks/language/results``, beside ``rates.jsonl``, and its tables and
curves in ``docs/user_guide/language_models.md``.

First come all contenders at seed 0, then the ablations of that Titans which predicts validation
best, then seeds 1 and 2. Records of a model whose shape has changed are not counted. All read the
same segments, carry their states through the same stretches, and are trained by the same recipe:
AdamW, weight decay 0.1, a warm-up and a cosine.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.language.records import Record
    from benchmarks.language.training import Run

# Before torch is loaded. Two threads wait for each other in every small kernel.
THREADS = int(os.environ.setdefault("OMP_NUM_THREADS", "1"))

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
DOCS = HERE.parents[1] / "docs"
PAGE = DOCS / "user_guide" / "language_models.md"
PICTURES = DOCS / "_static" / "language"


def main(
    arguments: list[str] | None = None,
    results: Path = RESULTS,
    page: Path = PAGE,
    pictures: Path = PICTURES,
) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.language",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--hours", type=float, default=math.inf, help="of this sitting")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="contenders and ablations")
    parser.add_argument("--tokens", type=int, default=20_000_000, help="of a run; default 20 M")
    parser.add_argument("--corpus", default="wikitext-2", help="wikitext-2 or shakespeare")
    parser.add_argument("--rows", type=int, default=16, help="of a step; default 16")
    parser.add_argument("--depth", type=int, help="blocks of all; default: of each its own")
    parser.add_argument("--seeds", type=int, default=3, help="of each run; default 3")
    parser.add_argument("--together", action="store_true", help="on a GPU, runs side by side")
    parser.add_argument("--rates", action="store_true", help="time some steps of each, in turn")
    parser.add_argument("--page", action="store_true", help="train nothing")
    given = parser.parse_args(arguments)
    if given.rates:
        go_in_turn(given, results)
    elif given.together:
        go_together(given, results)
    elif not given.page:
        go_through(given, results)
    write_page(results, page, pictures)


def go_through(given: argparse.Namespace, results: Path) -> None:
    import torch

    from benchmarks.language.corpora import read_splits
    from benchmarks.language.records import add_record
    from benchmarks.language.training import train

    check(given)
    torch.set_num_threads(THREADS)
    until = time.monotonic() + 3600 * given.hours
    texts = read_splits(given.corpus)
    while time.monotonic() < until:
        with next_run(given, results) as run:
            if run is None:
                return
            progress = results / "progress" / f"{run.key}.pt"
            record = train(run, texts, progress, until=until)
            if record is None:
                return
            # In this order: killed between the two, the run is done, and its progress is left over.
            add_record(results / "runs.jsonl", record)
            progress.unlink(missing_ok=True)
            bits = f"{record['test']:.3f} bits per byte" if record["test"] else "diverged"
            print(f"{run.key}: {bits} on the test split", flush=True)


def check(given: argparse.Namespace) -> None:
    """End with a sentence where what was asked for is not there."""
    from benchmarks.language.corpora import CORPORA
    from benchmarks.language.plan import check_names

    check_names(given.only or [])
    if given.corpus not in CORPORA:
        raise SystemExit(
            f"There is no corpus {given.corpus!r}; expected one of {', '.join(CORPORA)}."
        )


def runs_asked(given: argparse.Namespace, records: list[Record]) -> Iterator[Run]:
    from benchmarks.language.plan import Group, wanted

    group = Group(given.corpus, given.tokens, given.rows)
    return wanted(records, group, given.only, n_seeds=given.seeds, depth=given.depth)


def go_in_turn(given: argparse.Namespace, results: Path) -> None:
    import torch

    from benchmarks.language.corpora import read_splits
    from benchmarks.language.rates import measure_rates
    from benchmarks.language.records import add_record, read_records

    check(given)
    torch.set_num_threads(THREADS)
    runs = [run for run in runs_asked(given, read_records(results / "runs.jsonl")) if not run.seed]
    for rate in measure_rates(runs, read_splits(given.corpus)) if runs else ():
        add_record(results / "rates.jsonl", rate)


def go_together(given: argparse.Namespace, results: Path) -> None:
    """All contenders at once, then all ablations of the best: what is cut short is not kept."""
    import torch

    from benchmarks.language.corpora import read_splits
    from benchmarks.language.plan import done_keys
    from benchmarks.language.records import add_record, read_records
    from benchmarks.language.together import train_together

    check(given)
    if not torch.cuda.is_available():
        raise SystemExit("--together needs a CUDA device; without one, leave it out.")
    until = time.monotonic() + 3600 * given.hours
    texts, file = read_splits(given.corpus), results / "runs.jsonl"
    while True:
        records = read_records(file)
        done = done_keys(records)
        all_runs = runs_asked(given, records)
        runs = [run for run in all_runs if run.key not in done]
        found = runs and train_together(runs, texts, torch.device("cuda"), until=until)
        if not found:
            return
        for record in found:
            add_record(file, record)


@contextmanager
def next_run(given: argparse.Namespace, results: Path) -> Iterator[Run | None]:
    """The most wanted run that is neither done nor in the hands of another process."""
    from benchmarks.language.plan import done_keys
    from benchmarks.language.records import read_records

    file = results / "runs.jsonl"
    for run in runs_asked(given, read_records(file)):
        with claimed(results / "progress" / f"{run.key}.lock") as ours:
            # Read again: another process may have done it a moment ago.
            if ours and run.key not in done_keys(read_records(file)):
                yield run
                return
    yield None


@contextmanager
def claimed(lock: Path) -> Iterator[bool]:
    """Whether a file is locked by us, while the context lasts; a process that is killed lets go."""
    import fcntl

    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def write_page(results: Path, page: Path, pictures: Path) -> None:
    from benchmarks.language.records import read_records
    from benchmarks.language.render import render

    file = results / "runs.jsonl"
    records = read_records(file)
    if not records:
        raise SystemExit(f"{file} holds no run that is done; {page} stays as it is.")
    rates = read_records(results / "rates.jsonl")
    page.write_text(render(records, rates, pictures), encoding="utf-8")
    print(f"The tables are in {page}.")


if __name__ == "__main__":
    main()
