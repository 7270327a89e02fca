"""Tables of any library, opened as columns; and columns put together to such a table again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from titans_ts.errors import DataError

__all__ = [
    "Label",
    "Table",
    "build_table",
    "is_arrow_text",
    "may_be_text",
    "open_table",
    "plain_label",
    "polars_numbers",
]

#: What a column may be called; everything that JSON keeps.
Label = str | int | float | None


@dataclass(frozen=True)
class Table:
    """A frame or series of one library or another, as pandas columns; numbers are not copied."""

    container: str  # "pandas.DataFrame", "pandas.Series", "polars.DataFrame" or "polars.Series"
    labels: tuple[Label, ...]
    columns: tuple[pd.Series, ...]
    index: pd.Index | None  # None: the library has none
    columns_name: Label = None  # what a pandas frame calls its row of column names
    # What polars calls each column's dtype, such as "Int32"; none for pandas.
    kinds: tuple[str, ...] = ()
    name: str = "X"  # what the user calls it, for messages

    @property
    def polars(self) -> bool:
        return self.container.startswith("polars")

    @property
    def single(self) -> bool:
        """It is a series, not a frame."""
        return self.container.endswith("Series")

    @property
    def n_rows(self) -> int:
        return len(self.columns[0]) if self.columns else 0


def open_table(X: Any, name: str = "X") -> Table | None:
    """Open a frame or series of pandas or polars.

    Parameters
    ----------
    X : object
    name : str, default "X"
        What the user calls it, for messages.

    Returns
    -------
    Table or None
        None if X is something else, such as an array.

    Raises
    ------
    DataError
        Column names repeat or are unusual, or the frame is lazy.
    """
    if isinstance(X, pd.DataFrame):
        if isinstance(X.columns, pd.MultiIndex):
            raise DataError(
                f"{name} has column names of {X.columns.nlevels} levels, expected one level. Join "
                "them, for example with X.columns = ['_'.join(map(str, names)) for names in "
                "X.columns]."
            )
        labels = tuple(plain_label(label) for label in X.columns)
        _check_labels(labels, name)
        columns = tuple(X.iloc[:, i] for i in range(len(labels)))
        return Table(
            "pandas.DataFrame", labels, columns, X.index, plain_label(X.columns.name), name=name
        )
    if isinstance(X, pd.Series):
        return Table("pandas.Series", (plain_label(X.name),), (X,), X.index, name=name)
    if nw.dependencies.is_polars_dataframe(X):
        frame = nw.from_native(X, eager_only=True)
        columns = tuple(_to_pandas(frame[name]) for name in frame.columns)
        kinds = tuple(type(frame[name].dtype).__name__ for name in frame.columns)
        return Table(
            "polars.DataFrame", tuple(frame.columns), columns, None, kinds=kinds, name=name
        )
    if nw.dependencies.is_polars_series(X):
        column = nw.from_native(X, series_only=True)
        return Table("polars.Series", (column.name,), (_to_pandas(column),), None, name=name)
    if nw.dependencies.is_polars_lazyframe(X):
        raise DataError(
            f"{name} is a lazy frame, expected one with its values. Give {name}.collect()."
        )
    return None


def build_table(
    container: str,
    columns: Sequence[tuple[Label, Any]],
    index: pd.Index | None,
    columns_name: Label = None,
) -> Any:
    """Build a frame, or with a container of a series and one column a series.

    Parameters
    ----------
    container : str
        As in :class:`Table`.
    columns : sequence of (label, array, pandas Series without index, or narwhals Series)
    index : pandas.Index or None
    columns_name : str, int, float or None
    """
    if container.startswith("polars"):
        data = {str(label): _to_polars(str(label), values) for label, values in columns}
        if container == "polars.Series":
            return data.popitem()[1].to_native()
        return nw.from_dict(data).to_native()
    if index is None:
        index = pd.RangeIndex(len(columns[0][1]))
    if not columns:
        return pd.DataFrame(index=index)
    parts = [_with_index(values, index) for _, values in columns]
    if container == "pandas.Series":
        return parts[0].rename(columns[0][0])
    frame = pd.concat(parts, axis=1)
    frame.columns = pd.Index([label for label, _ in columns], name=columns_name)
    return frame


def polars_numbers(name: str, values: Any) -> nw.Series:
    """Make a column of polars; what is missing is null there, where NaN is a number like others.

    Parameters
    ----------
    name : str
    values : array of numbers, shape (rows,)
    """
    array = np.asarray(values)
    column = nw.new_series(name, array, backend="polars")
    if array.dtype.kind != "f":
        return column
    # Series.fill_nan is younger than the oldest narwhals that is supported.
    number = nw.col(name)
    return column.to_frame().select(nw.when(~number.is_nan()).then(number).alias(name))[name]


def plain_label(label: Any) -> Label:
    """Return a label as a plain Python value, or refuse one that is neither text nor number."""
    if isinstance(label, np.generic):
        label = label.item()
    if label is None or isinstance(label, (str, int, float)):
        return label
    raise DataError(
        f"The name {label!r} of a column or index is a {type(label).__name__}, expected text or a "
        "number. Rename it, for example with X.columns = X.columns.map(str)."
    )


def _check_labels(labels: tuple[Label, ...], name: str) -> None:
    seen: set[str] = set()
    for label in labels:
        if str(label) in seen:
            raise DataError(
                f"{name} has several columns named {str(label)!r}, expected distinct names. "
                "Rename or drop all but one."
            )
        seen.add(str(label))


def _with_index(values: Any, index: pd.Index) -> pd.Series:
    if isinstance(values, pd.Series):
        return values.set_axis(index)
    return pd.Series(values, index=index)


def _to_pandas(column: nw.Series) -> pd.Series:
    dtype = column.dtype
    if isinstance(dtype, nw.Datetime):
        index = pd.DatetimeIndex(column.to_numpy())  # in UTC if there is a time zone
        if dtype.time_zone is not None:
            index = index.tz_localize("UTC").tz_convert(dtype.time_zone)
        return pd.Series(index)
    no_integers = (nw.Int128, nw.UInt128)  # of which numpy knows nothing
    if isinstance(dtype, no_integers) or (dtype.is_integer() and column.is_null().any()):
        # As wide as integers without missing values become, and not float32.
        column = column.cast(nw.Float64())
        dtype = column.dtype
    if dtype.is_numeric() or (dtype == nw.Boolean and not column.is_null().any()):
        return pd.Series(column.to_numpy(), copy=False)
    if dtype == nw.Date:
        return pd.Series(column.to_numpy(), copy=False)
    if isinstance(dtype, (nw.Categorical, nw.Enum, nw.String)):
        return pd.Series(_categories(column))
    return pd.Series(column.to_list(), dtype=object)


def _categories(column: nw.Series) -> pd.Categorical:
    # Coded by polars: a Python text for every row of a long frame would take a hundred times
    # as much memory.
    if isinstance(column.dtype, nw.Enum):
        names = list(column.dtype.categories)
    else:
        names = column.drop_nulls().cast(nw.String()).unique(maintain_order=True).to_list()
    text = column.cast(nw.String())
    known = text if not text.is_null().any() else text.drop_nulls()
    codes = np.full(len(column), -1, dtype=np.int64)
    filled = known.replace_strict(names, list(range(len(names))), return_dtype=nw.Int64())
    codes[~text.is_null().to_numpy()] = filled.to_numpy()
    return pd.Categorical.from_codes(codes, categories=pd.Index(names, dtype=object))


def _to_polars(name: str, values: Any) -> nw.Series:
    if isinstance(values, nw.Series):
        return values.alias(name)
    if not isinstance(values, pd.Series):
        return nw.new_series(name, values, backend="polars")
    dtype = values.dtype
    if isinstance(dtype, pd.DatetimeTZDtype):
        utc = values.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
        column = nw.new_series(name, utc, backend="polars")
        return column.dt.replace_time_zone("UTC").dt.convert_time_zone(str(dtype.tz))
    if dtype.kind in "Mi":
        return nw.new_series(name, values.to_numpy(), backend="polars")
    return nw.new_series(name, values.to_list(), backend="polars")


def may_be_text(dtype: Any) -> bool:
    """Tell whether a column of this dtype may hold text; one of objects may hold anything."""
    kinds = (pd.StringDtype, pd.CategoricalDtype)
    return isinstance(dtype, kinds) or pd.api.types.is_object_dtype(dtype) or is_arrow_text(dtype)


def is_arrow_text(dtype: Any) -> bool:
    """Whether an arrow type holds text, as it is or by a dictionary."""
    if not isinstance(dtype, pd.ArrowDtype):
        return False
    held = getattr(dtype.pyarrow_dtype, "value_type", dtype.pyarrow_dtype)
    return pd.api.types.is_string_dtype(pd.ArrowDtype(held))
