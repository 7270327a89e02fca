"""Needles in haystacks, facts in texts, and tracking of a state.

    python -m benchmarks.needles train passkey --hours 3
    python -m benchmarks.needles judge passkey --lengths 1024 16384 131072
    python -m benchmarks.needles judge passkey --memory-off
    python -m benchmarks.needles all passkey --hours 3      train, judge up to 2 million, control
    python -m benchmarks.needles track --task parity
    python -m benchmarks.needles render

Each goes on where it was stopped. Weights are kept in ``benchmarks/results/needles``, figures in
``benchmarks/needles/results``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

# Before torch is loaded. Two threads wait for each other in every small kernel.
THREADS = int(os.environ.setdefault("OMP_NUM_THREADS", "1"))

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "user_guide" / "needles.md"
PICTURES = ROOT / "docs" / "_static" / "needles"
RESULTS = HERE / "results"
WEIGHTS = HERE.parent / "results" / "needles"
LENGTHS = (128, 256, 1024, 4096, 16_384, 65_536, 131_072)
MILLIONS = 2_097_152


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.needles",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    trained = commands.add_parser("train", help="train a recipe, or go on with it")
    judged = commands.add_parser("judge", help="accuracy by length and depth")
    both = commands.add_parser("all", help="train, judge at every length, judge the control")
    for command in (trained, judged, both):
        command.add_argument("recipe")
    for command in (trained, both):
        command.add_argument("--hours", type=float, default=3.0, help="of this sitting; default 3")
    judged.add_argument("--kind", help="passkey, number, word, qa1 or qa2; default: as trained")
    judged.add_argument("--haystack", help="noise, shakespeare, wikitext or a file")
    judged.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    judged.add_argument("--memory-off", action="store_true", help="nothing is ever written")
    judged.add_argument("--cases", type=int, default=200, help="of each length; default 200")
    judged.add_argument("--rows", type=int, default=40, help="prompts side by side; default 40")
    tracked = commands.add_parser("track", help="parity and permutations of five")
    tracked.add_argument("--task", action="append", help="parity, s5-swaps, s5; default: all")
    tracked.add_argument("--model", action="append", help="default: all contenders")
    tracked.add_argument("--seeds", type=int, default=1)
    tracked.add_argument("--steps", type=int, default=2000)
    commands.add_parser("render", help="tables and heat maps of all results")
    given = parser.parse_args()

    import torch

    torch.set_num_threads(THREADS)
    {"train": run_train, "judge": run_judge, "all": run_all, "track": run_track}.get(
        given.command, run_render
    )(given)


def run_train(given: argparse.Namespace) -> None:
    from benchmarks.needles.training import train

    train(find(given.recipe), WEIGHTS / given.recipe, seconds=3600 * given.hours)


def run_judge(given: argparse.Namespace) -> None:
    kinds = [given.kind] if given.kind else find(given.recipe).kinds
    for kind in kinds:
        judge_recipe(
            given.recipe,
            kind,
            given.haystack,
            given.lengths,
            memory_off=given.memory_off,
            n_cases=given.cases,
            rows=given.rows,
        )


def run_all(given: argparse.Namespace) -> None:
    run_train(given)
    recipe = find(given.recipe)
    lengths = [n for n in LENGTHS if n >= recipe.shortest]
    for kind in recipe.kinds:
        judge_recipe(given.recipe, kind, None, lengths)
        if recipe.backbone.memory_writes:
            judge_recipe(given.recipe, kind, None, lengths[:4], memory_off=True)
            judge_recipe(given.recipe, kind, None, [MILLIONS], n_cases=20, rows=4)
    run_render(given)


def judge_recipe(
    name: str,
    kind: str,
    haystack: str | None,
    lengths: object,
    *,
    memory_off: bool = False,
    n_cases: int = 200,
    rows: int = 40,
) -> None:
    from benchmarks.needles.batches import default_haystack
    from benchmarks.needles.judging import judge
    from benchmarks.needles.training import read_weights

    model, about = read_weights(find(name), WEIGHTS / name, memory=not memory_off)
    judge(
        model,
        RESULTS / f"{name}{'-without-memory' if memory_off else ''}.json",
        about=about | {"recipe": name, "memory": not memory_off},
        kind=kind,
        haystack=haystack or default_haystack(kind),
        lengths=lengths,  # type: ignore[arg-type]
        n_cases=n_cases,
        rows=rows,
    )


def run_track(given: argparse.Namespace) -> None:
    from benchmarks.needles.tracking import CONTENDERS, TRACKED, Lesson, track

    for task in given.task or TRACKED:
        for name in given.model or CONTENDERS:
            for seed in range(given.seeds):
                found = track(
                    name, task, RESULTS / "tracking.json", seed=seed, lesson=Lesson(given.steps)
                )
                print(f"{task}, {name}, seed {seed}: {found['accuracy']}", flush=True)


def run_render(given: argparse.Namespace) -> None:
    from benchmarks.needles.render import page

    PAGE.write_text(page(RESULTS, PICTURES), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


def find(name: str):  # type: ignore[no-untyped-def]
    from benchmarks.needles.recipes import RECIPES

    if name not in RECIPES:
        raise SystemExit(f"There is no recipe {name!r}; expected one of {', '.join(RECIPES)}.")
    return RECIPES[name]


if __name__ == "__main__":
    main()
