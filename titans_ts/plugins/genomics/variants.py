"""variant_effects: how much likelier a sequence is with a variant than without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from titans_ts.errors import DataError, ParameterError
from titans_ts.parameters import check_int

if TYPE_CHECKING:
    from titans_ts.plugins.genomics.sequence_model import TitansSequenceModel

__all__ = ["variant_effects"]

COLUMNS = ("position", "ref", "alt")


def variant_effects(
    model: TitansSequenceModel,
    reference: str | Mapping[str, str],
    variants: Any,
    *,
    context: int = 512,
) -> pd.DataFrame:
    """Score variants by the likelihood ratio of the sequence around them.

    The score is ``log P(window with alt) - log P(window with ref)`` in nats: below zero where the
    variant makes the sequence less like what the model has learnt. The bases after a variant are
    judged too, since they may be expected less, or more, behind it.

    Parameters
    ----------
    model : TitansSequenceModel
        Fitted. With ``both_strands``, the mean over both.
    reference : str, or mapping from name to str
        The sequence that the variants are of, or several by name.
    variants : DataFrame, or list of tuples
        Columns ``position``, ``ref`` and ``alt``, and where there are several ``sequence``, a name.
        Positions count from 1 and name the first letter of ``ref``, as in VCF; insertions and
        deletions are written with the letter before them, as there. Tuples are
        ``(position, ref, alt)`` or ``(sequence, position, ref, alt)``.
    context : int, default 512
        Bases of the window, half on each side; fewer near an end.

    Returns
    -------
    DataFrame
        The variants, with ``log_likelihood_ratio`` added.

    Raises
    ------
    DataError
        A position lies outside, or the letters of ``ref`` do not stand there.

    Examples
    --------
    >>> from titans_ts.plugins.genomics import TitansSequenceModel, variant_effects
    >>> model = TitansSequenceModel(dim=8, context_length=32, max_epochs=1, random_state=0)
    >>> model = model.fit(["ACGT" * 40])
    >>> table = variant_effects(model, "ACGT" * 8, [(5, "A", "G"), (6, "C", "CT")])
    >>> list(table.columns)
    ['position', 'ref', 'alt', 'log_likelihood_ratio']
    """
    check_int("context", context, minimum=2)
    several = isinstance(reference, Mapping)
    table = _read_variants(variants, several)
    rows = table.to_dict("records")
    pairs = [_windows(row, reference, context, number) for number, row in enumerate(rows)]
    out = table.copy()
    if not pairs:
        return out.assign(log_likelihood_ratio=np.empty(0))
    likelihoods = model.log_likelihood([window for pair in pairs for window in pair])
    with_ref, with_alt = likelihoods.reshape(-1, 2).T
    return out.assign(log_likelihood_ratio=with_alt - with_ref)


def _read_variants(variants: Any, several: bool) -> pd.DataFrame:
    wanted = (("sequence",) if several else ()) + COLUMNS
    if isinstance(variants, pd.DataFrame):
        missing = [name for name in wanted if name not in variants.columns]
        if missing:
            raise DataError(
                f"The table of variants lacks the columns {missing}; it has "
                f"{list(variants.columns)[:10]}. Rename them to {', '.join(wanted)}."
            )
        return variants
    rows = list(variants)
    for number, row in enumerate(rows):
        if not isinstance(row, tuple | list) or len(row) != len(wanted):
            raise DataError(f"Variant {number} is {row!r}, expected a tuple ({', '.join(wanted)}).")
    return pd.DataFrame(rows, columns=list(wanted))


def _windows(
    row: Mapping[Any, Any], reference: str | Mapping[str, str], context: int, number: int
) -> tuple[str, str]:
    """What stands around a variant, without it and with it."""
    sequence, where = reference, "the reference"
    if isinstance(sequence, Mapping):
        name = row["sequence"]
        if name not in sequence:
            raise DataError(
                f"Variant {number} is of {name!r}, which is no name of the reference; it has "
                f"{list(sequence)[:5]}."
            )
        sequence, where = sequence[name], repr(name)
    ref, alt, position = row["ref"], row["alt"], row["position"]
    for kind, letters in (("ref", ref), ("alt", alt)):
        if not isinstance(letters, str) or not letters.isalpha():
            raise DataError(
                f"Variant {number} has the {kind} {letters!r}, expected letters. Write an "
                "insertion or a deletion with the letter before it."
            )
    try:
        start = int(position) - 1
        whole = start + 1 == position
    except (TypeError, ValueError):
        whole = False
    if not whole or start < 0 or start + len(ref) > len(sequence):
        raise DataError(
            f"Variant {number} is at position {position!r}, expected a whole number from 1 to "
            f"{len(sequence) - len(ref) + 1}, counted in {where}."
        )
    found = sequence[start : start + len(ref)]
    if found.upper() != ref.upper():
        raise DataError(
            f"Variant {number} says that {ref!r} stands at position {position} of {where}, but "
            f"{found!r} does. See whether positions count from 1, and whether this is the "
            "reference."
        )
    if len(ref) > context:
        raise ParameterError(
            f"context={context} is shorter than the {len(ref)} letters of variant {number}; give "
            "more."
        )
    room = (context - len(ref)) // 2
    before = sequence[max(start - room, 0) : start]
    after = sequence[start + len(ref) : start + len(ref) + room]
    return before + found + after, before + alt + after
