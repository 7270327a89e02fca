"""Which runs there are, the most wanted first, and which of them wait for others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.language.contenders import ABLATIONS, CONTENDERS, ablations_of, depth_of
from benchmarks.language.records import Record
from benchmarks.language.training import Run

__all__ = [
    "Group",
    "best_titans",
    "check_names",
    "current",
    "done_keys",
    "group_of",
    "run_of",
    "wanted",
]

SEEDS = 3

#: Of a run, what all have in common.
RECIPE = ("length", "peak", "decay", "weights")


def done_keys(records: list[Record]) -> set[str]:
    return {run_of(record).key for record in current(records)}


def current(records: list[Record]) -> list[Record]:
    """Records of models and recipes that are still what their names stand for."""
    return [
        record
        for record in records
        if run_of(record).has_shape(record["shape"])
        and all(record[field] == getattr(Run, field) for field in RECIPE)
    ]


def run_of(record: Record) -> Run:
    return Run(**{key: record[key] for key in ("name", "seed", "depth", *Group._fields)})


class Group(NamedTuple):
    """What runs of one table have in common."""

    corpus: str
    tokens: int
    rows: int = Run.rows
    carried: int = Run.carried


def group_of(record: Record) -> Group:
    return Group(*(record[key] for key in Group._fields))


def best_titans(records: list[Record], group: Group, depth: int | None = None) -> str | None:
    """The Titans contender of fewest bits on validation at seed 0; None until all are there.

    With ``depth``, of those of so many blocks; each has its own otherwise.
    """
    found = {
        record["name"]: record.get("validation", float("inf"))
        for record in records
        if group_of(record) == group
        and record["seed"] == 0
        and record["name"] in CONTENDERS
        and record["depth"] == (depth or depth_of(record["name"]))
    }
    if any(name not in found for name in CONTENDERS if name.startswith("titans-")):
        return None
    return min((name for name in found if name.startswith("titans-")), key=found.__getitem__)


def check_names(names: list[str]) -> None:
    """End with a sentence where a name is not one of a contender or an ablation."""
    for name in names:
        contender, colon, ablation = name.partition(":")
        known = name in CONTENDERS or name in ABLATIONS
        if not known and not (colon and contender in CONTENDERS and ablation in ABLATIONS):
            raise SystemExit(
                f"There is no contender or ablation {name!r}; expected one of "
                f"{', '.join([*CONTENDERS, *ABLATIONS])}, or both, as titans-mag:no-momentum."
            )


def wanted(
    records: list[Record],
    group: Group,
    only: list[str] | None = None,
    *,
    n_seeds: int = SEEDS,
    depth: int | None = None,
) -> Iterator[Run]:
    """Runs, the most wanted first: seed 0 of all contenders, ablations of the best, other seeds.

    Parameters
    ----------
    records : list of dict
        What is done; ablations are those of the best so far.
    group : Group
        The table that they are for.
    only : list of str, optional
        Contenders and ablations; an ablation named alone is that of the best Titans, one behind a
        contender and a colon that of this one.
    n_seeds : int, optional
        Of each contender and ablation.
    depth : int, optional
        Blocks of all; default: of each its own.
    """
    best = best_titans(records, group, depth)
    named = [name for name in only or () if ":" in name]
    ablated = [f"{best}:{ablation}" for ablation in ablations_of(best)] if best else []

    def chosen(name: str) -> bool:
        return not only or name in only or name.partition(":")[2] in only

    contenders = [name for name in CONTENDERS if chosen(name)]
    ablations = dict.fromkeys([*named, *(name for name in ablated if chosen(name))])
    for seeds in (range(1), range(1, n_seeds)):
        for names in (contenders, ablations):
            for seed in seeds:
                for name in names:
                    blocks = depth or depth_of(name)
                    yield Run(name, seed=seed, depth=blocks, **group._asdict())
