"""Covariates: which a forecaster was fitted with, and how their columns become numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any, Literal

import numpy as np
import pandas as pd

from titans_ts.data.columns import is_number_like, to_float64
from titans_ts.data.frequency import plural
from titans_ts.data.tables import Label, is_arrow_text
from titans_ts.errors import DataError

__all__ = ["Covariate", "CovariateSchema", "read_covariate"]

_FRACTION = re.compile(r"[+-]?\d+[.,]\d+")

Kind = Literal["numeric", "boolean", "categorical"]
#: Where a covariate belongs; also the parameter that names it, without ``_covariates``.
Role = Literal["past", "known", "static"]

PARAMETERS = {
    "past": "past_covariates",
    "known": "future_covariates",
    "static": "static_covariates",
}


@dataclass(frozen=True)
class Covariate:
    """One covariate column.

    Parameters
    ----------
    label : str, int or float
        The column's name.
    kind : {"numeric", "boolean", "categorical"}
        Booleans are read as 0 and 1, categories as their place among ``categories``.
    categories : tuple
        The distinct values that a categorical covariate had, sorted; empty for others.
    """

    label: Label
    kind: Kind
    categories: tuple[Any, ...] = ()


@dataclass(frozen=True)
class CovariateSchema:
    """The covariates of a table, in the order in which they were named.

    Learnt by :func:`titans_ts.data.schema.read_table` in ``fit``, and held against every table
    that is read later.

    Parameters
    ----------
    past, known, static : tuple of Covariate

    Examples
    --------
    >>> schema = CovariateSchema(known=(Covariate("holiday", "categorical", ("easter", "none")),))
    >>> schema.cardinalities("known"), schema.cardinalities("past")
    ((2,), ())
    """

    past: tuple[Covariate, ...] = ()
    known: tuple[Covariate, ...] = ()
    static: tuple[Covariate, ...] = ()

    def of(self, role: Role) -> tuple[Covariate, ...]:
        """The covariates of one role."""
        return {"past": self.past, "known": self.known, "static": self.static}[role]

    def cardinalities(self, role: Role) -> tuple[int, ...]:
        """How many categories each covariate of a role has; 0 for numeric and boolean ones."""
        return tuple(len(covariate.categories) for covariate in self.of(role))

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> CovariateSchema:
        """Undo :func:`dataclasses.asdict`, also after a way through JSON."""
        return cls(
            **{
                role: tuple(
                    Covariate(c["label"], c["kind"], tuple(c["categories"])) for c in covariates
                )
                for role, covariates in saved.items()
            }
        )


def read_covariate(
    column: pd.Series,
    label: Label,
    role: Role,
    where: Callable[[int], str],
    expected: Covariate | None = None,
) -> tuple[Covariate, np.ndarray]:
    """Turn a covariate column into numbers.

    Parameters
    ----------
    column : Series
    label : str, int or float
    role : {"past", "known", "static"}
    where : callable
        Turns a row number into words.
    expected : Covariate, optional
        What the column was in ``fit``. Default: learn it from this column.

    Returns
    -------
    covariate : Covariate
    values : ndarray of shape (rows,), float64
        NaN where missing.

    Raises
    ------
    DataError
        The column holds something else than numbers, booleans or categories; is of another kind
        than in ``fit``; has a category that ``fit`` has not seen, or an infinite value.
    """
    words = f"column {label!r}"
    kind = _kind(column, words, role, where)
    if kind is None:  # all missing: of whatever kind it was
        known = expected or Covariate(label, "numeric")
        return known, np.full(len(column), np.nan)
    if expected is not None and expected.kind != kind:
        raise DataError(
            f"The covariate in {words} was {expected.kind} in fit, but is {kind} here: the first "
            f"value is {first_value(column)!r}. Give it as in fit."
        )
    if kind == "categorical":
        return _read_categories(column, label, where, expected)
    if kind == "boolean":
        flags = column.astype(object)
        values = flags.where(column.notna(), np.nan).to_numpy(dtype=np.float64)
        return Covariate(label, kind), values
    values = to_float64(column, words, where, advice=_advice(role))
    infinite = np.isinf(values)
    if infinite.any():
        raise DataError(
            f"The covariate in {words} has {plural(int(infinite.sum()), 'infinite value')} (inf), "
            f"the first in {where(int(infinite.argmax()))}; expected finite numbers, or NaN where "
            "one is missing."
        )
    return Covariate(label, kind), values


def first_value(column: pd.Series) -> Any:
    """The first value that is not missing, as plain Python."""
    values = column[column.notna()].iloc[:1].tolist()
    return values[0] if values else None


def _advice(role: Role) -> str:
    return f"Correct it, or leave it out of {PARAMETERS[role]}="


def _kind(column: pd.Series, words: str, role: Role, where: Callable[[int], str]) -> Kind | None:
    dtype = column.dtype
    if not column.notna().any():
        return None
    if isinstance(dtype, (pd.CategoricalDtype, pd.StringDtype)) or is_arrow_text(dtype):
        return "categorical"
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean"
    if pd.api.types.is_object_dtype(dtype):
        found = pd.api.types.infer_dtype(column, skipna=True)
        if found == "string":
            return "categorical"
        if found == "boolean":
            return "boolean"
        if not is_number_like(found):
            raise _mixed(column, words, role, where, found)
    # Whether it is numbers indeed is for to_float64 to say.
    return "numeric"


def _mixed(
    column: pd.Series, words: str, role: Role, where: Callable[[int], str], found: str
) -> DataError:
    """Word the error for values that are neither numbers, nor True and False, nor text."""
    present = column.notna()
    sorts = column.map(_sort_of)
    usual = sorts[present].iloc[0]
    odd = present & ((sorts != usual) | (usual == "other"))
    row = int(np.asarray(odd).argmax())
    first = f", the first {first_value(column)!r}, but" if usual != "other" else ", the first"
    shown = " ".join(repr(column.iloc[[row]].tolist()[0]).split())
    return DataError(
        f"Expected numbers, True and False, or text in {words}, got {found} values{first} "
        f"{shown:.50} in {where(row)}. {_advice(role)}."
    )


def _sort_of(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "boolean"
    if isinstance(value, (Real, Decimal)):
        return "number"
    return "text" if isinstance(value, str) else "other"


def _read_categories(
    column: pd.Series,
    label: Label,
    where: Callable[[int], str],
    expected: Covariate | None,
) -> tuple[Covariate, np.ndarray]:
    codes, found = pd.factorize(column)
    names = _plain(found, label)
    if expected is None:
        if not isinstance(column.dtype, pd.CategoricalDtype):
            _refuse_fractions(names, label)
        # By type first, so that text and numbers in one column can be sorted at all.
        names_in_order = sorted(names, key=lambda name: (isinstance(name, str), name))
        expected = Covariate(label, "categorical", tuple(names_in_order))
    place = {(type(name), name): i for i, name in enumerate(expected.categories)}
    numbers = np.array([place.get((type(name), name), -1) for name in names], dtype=np.int64)
    unseen = numbers < 0
    if unseen.any():
        row = int(np.isin(codes, np.flatnonzero(unseen)).argmax())
        listed = ", ".join(map(repr, expected.categories[:10]))
        more = ", ..." if len(expected.categories) > 10 else ""
        raise DataError(
            f"The covariate in column {label!r} has the category {names[codes[row]]!r} in "
            f"{where(row)}, which fit has not seen; it knows {listed}{more}. Map it to one of "
            "these, set it missing, or fit again."
        )
    values = np.append(numbers, 0)[codes].astype(np.float64)
    values[codes < 0] = np.nan
    return expected, values


def _refuse_fractions(names: list[Any], label: Label) -> None:
    # Whole numbers as text can well be names of categories; a column of 0.5 and 1.25 is numbers
    # that were read wrongly, and each would become a category of its own.
    if all(isinstance(name, str) and _FRACTION.fullmatch(name.strip()) for name in names):
        comma = " with decimal commas" if "," in names[0] else ""
        raise DataError(
            f"The covariate in column {label!r} is text that looks like numbers{comma}, such as "
            f"{names[0]!r}. Convert it to numbers, or to a pandas category if it is one."
        )


def _plain(found: Any, label: Label) -> list[Any]:
    names = pd.Index(found).tolist()
    for name in names:
        if not isinstance(name, (str, int, float)):
            raise DataError(
                f"The categories in column {label!r} must be text or numbers, got {name!r} "
                f"({type(name).__name__}). Convert the column, for example with astype(str)."
            )
    return names


def labels_of(covariates: Sequence[Covariate]) -> tuple[str, ...]:
    """Channel names of covariates."""
    return tuple(str(covariate.label) for covariate in covariates)
