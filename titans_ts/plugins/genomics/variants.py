"""variant_effects: how much likelier a sequence is with a variant than without."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from titans_ts.errors import DataError, DataTypeError, ParameterError
from titans_ts.parameters import check_int
from titans_ts.plugins.genomics.coding import encode_sequences

if TYPE_CHECKING:
    from titans_ts.plugins.genomics.sequence_model import TitansSequenceModel

__all__ = ["variant_effects"]

COLUMNS = ("position", "ref", "alt")

# Letters that stand for one base.
BASES = set("ACGTUacgtu")


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
        Fitted. With ``both_strands``, the mean over both. Only one of single bases (``k=1``) judges
        insertions and deletions: words of more bases are others behind them.
    reference : str, or mapping from name to str
        The sequence that the variants are of, or several by name.
    variants : DataFrame of pandas, polars or pyarrow, or list of tuples
        Columns ``position``, ``ref`` and ``alt``, and where there are several ``sequence``, a name.
        Positions count from 1 and name the first letter of ``ref``, as in VCF; insertions and
        deletions are written with the letter before them, as there. The letters are A, C, G, T and
        U. Tuples are ``(position, ref, alt)`` or ``(sequence, position, ref, alt)``.
    context : int, default 512
        Bases of the window, half on each side; fewer near an end. With ``k`` above 1 it is a whole
        number of words, and the score is the mean over all places where they may start: those
        where all that the variant changes stands in words of A, C, G, T and U. A variant about as
        long as the window gets more.

    Returns
    -------
    DataFrame
        The variants, with ``log_likelihood_ratio`` added.

    Raises
    ------
    DataError
        The reference has white space inside, a position lies outside, the letters of ``ref`` do not
        stand there, a letter is ambiguous, an insertion or a deletion is given to a model of longer
        words, or no such words hold all that a variant changes: 0 would say that it has no effect.

    Examples
    --------
    >>> from titans_ts.plugins.genomics import TitansSequenceModel, variant_effects
    >>> model = TitansSequenceModel(dim=8, context_length=32, max_epochs=1, random_state=0)
    >>> model = model.fit(["ACGT" * 40])
    >>> table = variant_effects(model, "ACGT" * 8, [(5, "A", "G"), (6, "C", "CT")])
    >>> list(table.columns)
    ['position', 'ref', 'alt', 'log_likelihood_ratio']
    """
    check_is_fitted(model)
    check_int("context", context, minimum=2 * model.k_)
    several = isinstance(reference, Mapping)
    for sequence in reference.values() if isinstance(reference, Mapping) else (reference,):
        if not isinstance(sequence, str):
            raise DataTypeError(
                f"The reference must be a str, or a dict of str by name, got "
                f"{type(sequence).__name__} ({sequence!r:.60})."
            )
    # White space at an end is no letter, and would count in positions and in words from there.
    if isinstance(reference, Mapping):
        reference = {name: sequence.strip() for name, sequence in reference.items()}
    else:
        reference = reference.strip()
    for sequence in reference.values() if isinstance(reference, Mapping) else (reference,):
        gap = re.search(r"\s", sequence)
        if gap:  # it would shift all positions behind it
            raise DataError(
                f"The reference has white space behind its letter {gap.start()}. Join its lines: "
                "''.join(reference.split())."
            )
    table = _read_variants(variants, several)
    rows = table.to_dict("records")
    for number, row in enumerate(rows):
        _check_letters(row["ref"], row["alt"], model.k_, number)
    of, pairs = list[int](), list[tuple[str, str]]()
    for number, row in enumerate(rows):
        for pair in _windows(row, reference, context, model.k_, number):
            of.append(number)
            pairs.append(pair)
    out = table.copy()
    if not pairs:
        return out.assign(log_likelihood_ratio=np.empty(0))
    try:
        likelihoods = model.log_likelihood([window for pair in pairs for window in pair])
    except DataError:
        _name_variant(of, pairs)
        raise
    with_ref, with_alt = likelihoods.reshape(-1, 2).T
    ratios = np.bincount(of, with_alt - with_ref) / np.bincount(of)
    return out.assign(log_likelihood_ratio=ratios)


def _read_variants(variants: Any, several: bool) -> pd.DataFrame:
    wanted = (("sequence",) if several else ()) + COLUMNS
    if not isinstance(variants, pd.DataFrame):
        frame = nw.from_native(variants, eager_only=True, pass_through=True)
        if isinstance(frame, nw.DataFrame):
            variants = pd.DataFrame(frame.to_dict(as_series=False))
    if isinstance(variants, pd.DataFrame):
        names = variants.columns.tolist()  # as tuples, where the index has levels
        missing = [name for name in wanted if name not in names]
        if missing:
            raise DataError(
                f"The table of variants lacks the columns {missing}; it has {names[:10]}. Rename "
                f"them to {', '.join(wanted)}."
            )
        twice = [name for name in wanted if names.count(name) > 1]
        if twice:
            raise DataError(
                f"The table of variants has more than one column of the name {twice[0]!r}. Leave "
                "out all but one."
            )
        return variants
    if not isinstance(variants, Iterable):
        raise DataTypeError(
            f"variants must be a DataFrame or a list of tuples, got {variants!r:.80}."
        )
    rows = list(variants)
    for number, row in enumerate(rows):
        if not isinstance(row, tuple | list) or len(row) != len(wanted):
            raise DataError(f"Variant {number} is {row!r}, expected a tuple ({', '.join(wanted)}).")
    return pd.DataFrame(rows, columns=list(wanted))


def _check_letters(ref: Any, alt: Any, k: int, number: int) -> None:
    for kind, letters in (("ref", ref), ("alt", alt)):
        if not isinstance(letters, str) or not letters.isalpha():
            raise DataError(
                f"Variant {number} has the {kind} {letters!r}, expected letters. Write an "
                "insertion or a deletion with the letter before it."
            )
        if not BASES.issuperset(letters):
            raise DataError(
                f"Variant {number} has the {kind} {letters!r}, expected A, C, G, T or U: another "
                "letter is not judged, and would seem likelier than any base. Give a variant for "
                "each base that it may be."
            )
    if k > 1 and len(ref) != len(alt):
        raise DataError(
            f"Variant {number}, {ref!r} to {alt!r}, is an insertion or a deletion. The model reads "
            f"words of {k} bases, and behind it all words are others, so that likelihoods say "
            "nothing of the variant. Leave it out, or take a model with k=1."
        )


def _as_dna(letters: str) -> str:
    return letters.upper().replace("U", "T")


def _windows(
    row: Mapping[Any, Any], reference: str | Mapping[str, str], context: int, k: int, number: int
) -> list[tuple[str, str]]:
    """What stands around a variant, without it and with it, by where words start."""
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
    try:
        start = int(position) - 1
        whole = start + 1 == position
    except (TypeError, ValueError, OverflowError):  # NaN, text, infinity
        whole = False
    if not whole or start < 0 or start + len(ref) > len(sequence):
        raise DataError(
            f"Variant {number} is at position {position!r}, expected a whole number from 1 to "
            f"{len(sequence) - len(ref) + 1}, counted in {where}."
        )
    found = sequence[start : start + len(ref)]
    if _as_dna(found) != _as_dna(ref):
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
    # Room for a word that starts, or ends, with the variant, however long that is.
    room = max((context - len(ref)) // 2, k - 1)
    first, last = max(start - room, 0), min(start + len(ref) + room, len(sequence))
    with_ref = sequence[first:last]
    with_alt = sequence[first:start] + alt + sequence[start + len(ref) : last]
    changed = [
        start + i
        for i, (one, other) in enumerate(zip(_as_dna(ref), _as_dna(alt), strict=False))
        if one != other
    ]
    windows = list[tuple[str, str]]()
    for begin in range(first, first + k):
        # Whole words: on the other strand, where they start at the end, they are the same then.
        end = begin + (last - begin) // k * k
        words = {begin + (at - begin) // k * k for at in changed}
        known = all(begin <= at < end and BASES.issuperset(sequence[at : at + k]) for at in words)
        if known and begin < end:
            here = slice(begin - first, end - last or None)
            windows.append((with_ref[here], with_alt[here]))
    if windows:
        return windows
    raise DataError(
        f"Variant {number} cannot be judged: around position {position} of {where} no words of "
        f"{k} letters of A, C, G, T and U hold all that it changes; there stands "
        f"{sequence[max(start - k + 1, 0) : start + len(ref) + k - 1]!r:.60}. Leave it out, or "
        "take a model of shorter words, such as k=1."
    )


def _name_variant(of: Iterable[int], pairs: Iterable[tuple[str, str]]) -> None:
    """Raise DataError with the variant around which a letter stands for no base."""
    for number, pair in zip(of, pairs, strict=True):
        try:
            encode_sequences(pair[:1])
        except DataError as error:
            why = str(error).replace("Sequence 0", "the window of the reference around it", 1)
            raise DataError(f"Variant {number} cannot be judged: {why}") from None
