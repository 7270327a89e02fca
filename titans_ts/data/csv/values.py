"""Values of a CSV file: numbers with decimal points or commas, words for missing ones, text."""

from __future__ import annotations

import io
import re
from collections.abc import Collection
from typing import Any

import pandas as pd
from pandas.api.types import infer_dtype

from titans_ts.data.csv.shape import Shape
from titans_ts.data.time_column import looks_like_time
from titans_ts.errors import DataError, DataFileError

__all__ = ["MISSING", "read_values"]

#: What means "missing" in a column of numbers, beside an empty cell and pandas' own words
#: (``NA``, ``N/A``, ``NaN``, ``None``, ``null`` and the like).
MISSING = ("-", "--", "?", ".", "na", "none", "NAN", "NONE", "Null")

_POINT = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+([eE][+-]?\d+)?")
# 1,234 may be a thousand or little more than one; 0,234 and 1234,567 are no thousands.
_THREE = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}([.,' \u00a0\u202f]\d{3})+([.,]\d+)?")


def read_values(
    data: bytes, shape: Shape, path: object, text_columns: Collection[str] = ()
) -> pd.DataFrame:
    """Read the rows of a CSV file.

    Parameters
    ----------
    data : bytes
        The whole file, in UTF-8.
    shape : Shape
    path : str or Path
        For messages.
    text_columns : collection of str, optional
        Columns that are text, whatever is written in them.

    Returns
    -------
    DataFrame
        Columns of numbers where all that is written in a column are numbers, and words for
        missing ones, and of True and False likewise; columns of text elsewhere, in which only an
        empty cell is missing.

    Raises
    ------
    DataFileError
        pandas cannot read the rows.
    DataError
        A column without a name holds values; or numbers have decimal commas and decimal points,
        or thousands separators.
    """
    body = data[shape.start :]
    frame = _parse(body, shape, path, na_values=list(MISSING))
    commas = _with_commas(frame, shape, path)
    if commas:
        points = frame
        frame = _parse(body, shape, path, na_values=list(MISSING), decimal=",")
        _refuse_points(frame, points, path)
    frame = _large_numbers(frame, (_COMMA if commas else _POINT, _WHOLE))
    _refuse_mixed(frame, path)
    nameless = [i for i, name in enumerate(shape.names) if not name]
    for i in nameless:
        column = frame.iloc[:, i]
        if column.notna().any():
            row = int(column.notna().to_numpy().argmax())
            raise DataError(
                f"Column {i + 1} of {path} has no name in line {shape.line}, but values, the first "
                f"{column.iloc[[row]].tolist()[0]!r} in row {row}. Name it, or remove it."
            )
    keep = [i for i in range(len(shape.names)) if i not in nameless]
    frame = frame.iloc[:, keep]
    return _restore_words(frame, body, shape, path, text_columns)


def _parse(body: bytes, shape: Shape, path: object, **options: Any) -> pd.DataFrame:
    labels = [name or f"\0{i}" for i, name in enumerate(shape.names)]
    try:
        return pd.read_csv(
            io.BytesIO(body),
            sep=shape.separator,
            names=labels,
            header=0,
            index_col=False,
            encoding="utf-8",
            skipinitialspace=shape.separator != "\t",
            low_memory=False,
            **options,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, OverflowError) as error:
        raise DataFileError(
            f"{path} is not a CSV file with one row per line: {str(error).strip().splitlines()[0]}."
        ) from error


def _text_columns(frame: pd.DataFrame) -> list[int]:
    kinds = [frame.dtypes.iloc[i] for i in range(frame.shape[1])]
    return [
        i
        for i, dtype in enumerate(kinds)
        if pd.api.types.is_object_dtype(dtype) or isinstance(dtype, pd.StringDtype)
    ]


def _distinct(column: pd.Series) -> list[str]:
    """The texts of a column; none where the first is no number, as that of a time."""
    present = column.dropna()
    first = str(present.iloc[0]).strip() if len(present) else ""
    if not any(number.fullmatch(first) for number in (_POINT, _COMMA, _WHOLE, _THOUSANDS)):
        return []
    return [str(text).strip() for text in pd.unique(present)]


def _with_commas(frame: pd.DataFrame, shape: Shape, path: object) -> bool:
    """Tell whether the file writes numbers with decimal commas."""
    doubtful: tuple[str, str] | None = None
    certain = False
    for i in _text_columns(frame):
        texts = _distinct(frame.iloc[:, i])
        if not texts or not all(_COMMA.fullmatch(t) or _WHOLE.fullmatch(t) for t in texts):
            continue
        commas = [t for t in texts if "," in t]
        if not commas:  # integers too large for pandas
            continue
        if all(_THREE.fullmatch(t) for t in commas):
            doubtful = doubtful or (str(frame.columns[i]), commas[0])
        else:
            certain = True
    if doubtful is not None and not certain:
        label, text = doubtful
        raise DataError(
            f"Numbers such as {text!r} in column {label!r} of {path} make sense with a decimal "
            f"comma ({text.replace(',', '.')}) and with a comma between thousands "
            f"({text.replace(',', '')}). Write them with a decimal point, or give the frame of "
            f"pandas.read_csv(path, sep={shape.separator!r}, decimal=',') or (..., thousands=',')."
        )
    return certain


def _refuse_points(commas: pd.DataFrame, points: pd.DataFrame, path: object) -> None:
    """Raise DataError where a column was numbers with decimal points."""
    for i in _text_columns(commas):
        if i not in _text_columns(points):
            column = commas.iloc[:, i]
            texts = column.dropna().astype(str)
            row = int(texts.str.contains(".", regex=False).to_numpy().argmax())
            raise DataError(
                f"{path} writes some numbers with a decimal comma and others with a point: column "
                f"{commas.columns[i]!r} has {texts.iloc[row]!r} in row {texts.index[row]}. Write "
                "all of them with a point."
            )


def _large_numbers(frame: pd.DataFrame, numbers: tuple[re.Pattern[str], ...]) -> pd.DataFrame:
    """Read numbers that pandas leaves as text because an integer among them is too large."""
    for i in _text_columns(frame):
        texts = _distinct(frame.iloc[:, i])
        if texts and all(any(n.fullmatch(text) for n in numbers) for text in texts):
            # Of text, or of Python's own integers where all are whole.
            column = frame.iloc[:, i].astype(object)
            values = column.map(lambda v: float(str(v).replace(",", ".")), na_action="ignore")
            frame = frame.assign(**{str(frame.columns[i]): values.astype(float)})
    return frame


def _refuse_mixed(frame: pd.DataFrame, path: object) -> None:
    """Raise DataError for numbers with thousands separators, or with commas and points."""
    for i in _text_columns(frame):
        column = frame.iloc[:, i]
        texts = _distinct(column)
        numbers = (_POINT, _COMMA, _WHOLE, _THOUSANDS)
        if not texts or not all(any(n.fullmatch(t) for n in numbers) for t in texts):
            continue
        if looks_like_time(column):  # 13.01 without a year, or 2024
            continue
        odd = [t for t in texts if not any(n.fullmatch(t) for n in numbers[:3])]
        what, advice = "a separator between thousands", "Write them without it"
        if not odd:
            comma, point = (next((t for t in texts if n.fullmatch(t)), "") for n in numbers[1::-1])
            odd, what = [comma], f"a comma, but others a point ({point!r})"
            advice = "Write all of them with a point"
        row = int((column.astype(str).str.strip() == odd[0]).to_numpy().argmax())
        raise DataError(
            f"Numbers in column {frame.columns[i]!r} of {path} have {what}, the first "
            f"{odd[0]!r} in row {row}. {advice}."
        )


def _restore_words(
    frame: pd.DataFrame, body: bytes, shape: Shape, path: object, text_columns: Collection[str]
) -> pd.DataFrame:
    """Read text again, where None or NA may be a category as good as any."""
    found = _text_columns(frame)
    holed = [i for i in found if frame.iloc[:, i].isna().any()]
    text = [i for i in holed if not looks_like_time(frame.iloc[:, i])]
    # True and False beside missing cells are no text, as they are none where no cell is missing.
    text = [i for i in text if infer_dtype(frame.iloc[:, i], skipna=True) != "boolean"]
    labels = [frame.columns[i] for i in text]
    # Text without a missing cell was read as it is.
    done = {*labels, *(frame.columns[i] for i in set(found) - set(holed))}
    labels += [str(n) for n in frame if n in text_columns and n not in done]
    if not labels:
        return frame
    again = _parse(
        body, shape, path, usecols=labels, keep_default_na=False, na_values=[""], dtype=str
    )
    return frame.assign(**{str(label): again[label] for label in labels})
