"""Cells and ids that no forecast can be made of are refused by ``fit`` with a sentence."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from malformed import (
    HOURS,
    OF_TITANS,
    ROLES,
    ROWS,
    changed,
    dated,
    long,
    put,
    refused,
    ridge,
    titans,
    wide,
)

CELLS = {
    # what is in the columns
    "a word among numbers": (
        lambda: wide(OT=put(5, "broken")),
        {},
        r"column 'OT', got text in 1 row, the first 'broken' in row 5 \(2024-01-14 01:00:00\)",
    ),
    "numbers as text": (
        lambda: wide(OT=np.arange(ROWS).astype(str)),
        {},
        r"column 'OT', got text that looks like numbers, the first '0' in row 0 .* pandas\.to_num",
    ),
    "decimal commas": (
        lambda: wide(OT=[f"{i},5" for i in range(ROWS)]),
        {},
        r"column 'OT', got text with a comma in 23 rows, the first '0,5' in row 0 .*decimal=','",
    ),
    "commas between thousands": (
        lambda: wide(OT=[f"{i + 1},000,500" for i in range(ROWS)]),
        {},
        r"in 23 rows, the first '1,000,500' in row 0 .*thousands=','",
    ),
    "one decimal comma": (
        lambda: wide(OT=put(3, "3,5")),
        {},
        r"column 'OT', got text with a comma in 1 row, the first '3,5' in row 3 ",
    ),
    "percent signs": (
        lambda: wide(OT=[f"{i}%" for i in range(ROWS)]),
        {},
        "column 'OT', got only text, the first '0%' in row 0",
    ),
    "complex numbers": (lambda: wide(OT=put(3, 1j, complex)), {}, "real numbers in column 'OT', g"),
    "one complex number": (lambda: wide(OT=put(3, 1j)), {}, "numbers in column 'OT'.* complex"),
    "True and False": (lambda: wide(OT=put(3, 1) % 2 == 0), {}, "column 'OT', got True and False"),
    "True among numbers": (lambda: wide(OT=put(3, True)), {}, "column 'OT', .* True"),
    "durations": (lambda: wide(OT=HOURS - HOURS[0]), {}, "'OT', got timedelta64.* values"),
    "a column of lists": (
        lambda: wide(OT=pd.Series([[1, 2]] * ROWS)),
        {},
        r"column 'OT', got a list, the first \[1, 2\] in row 0",
    ),
    "one list": (
        lambda: wide(OT=put(4, None)).assign(OT=pd.Series([1.0] * 22 + [[2]]).set_axis(HOURS)),
        {},
        r"'OT', got a list, the first \[2\] in row 22",
    ),
    "arrays in cells": (
        lambda: wide(OT=pd.Series([np.arange(3)] * ROWS)),
        {},
        "column 'OT', got a ndarray, the first .* in row 0",
    ),
    "objects in cells": (
        lambda: wide(OT=put(2, object())),
        {},
        "column 'OT', got .*object.* in row 2",
    ),
    "bytes": (lambda: wide(OT=put(range(ROWS), b"1")), {}, "column 'OT', got .*b'1' in row 0"),
    "categories": (
        lambda: wide().assign(OT=pd.Categorical(["low"] * ROWS)),
        {},
        "column 'OT', got only text, the first 'low' in row 0",
    ),
    "categories of numbers": (
        lambda: wide().assign(OT=pd.Categorical(np.arange(ROWS))),
        {},
        "column 'OT', got categories, the first 0 in row 0",
    ),
    "time stamps to forecast": (lambda: wide(OT=HOURS), {"target": "OT"}, "'OT', got datetime64"),
    "stamps in a second column": (
        lambda: dated(HOURS, OT=HOURS),
        {},
        r"in column 'OT', got datetime64.* values\. Drop it, or name the columns to forecast",
    ),
    "periods to forecast": (
        lambda: wide().assign(OT=pd.period_range("2024", periods=ROWS, freq="D")),
        {"target": "OT"},
        r"numbers in column 'OT', got period\[D\] values",
    ),
    "intervals": (
        lambda: wide().assign(OT=pd.interval_range(0, periods=ROWS)),
        {},
        "numbers in column 'OT', got interval",
    ),
    "polars lists": (
        lambda: pl.DataFrame({"date": list(HOURS.to_pydatetime()), "OT": [[1.0, 2.0]] * ROWS}),
        {},
        r"column 'OT', got a list, the first \[1\.0, 2\.0\] in row 0",
    ),
    "polars structs": (
        lambda: pl.DataFrame({"date": list(HOURS.to_pydatetime()), "OT": [{"a": 1.0}] * ROWS}),
        {},
        r"column 'OT', got a dict, the first \{'a': 1\.0\} in row 0",
    ),
    "polars durations": (
        lambda: pl.DataFrame(
            {"date": list(HOURS.to_pydatetime()), "OT": [datetime.timedelta(1)] * ROWS}
        ),
        {},
        "numbers in column 'OT', got .*timedelta",
    ),
    # infinities, and nothing at all
    "infinity": (
        lambda: wide(OT=put(5, np.inf, float)),
        {},
        r"'OT' has 1 infinite value \(inf\), the first in row 5 \(2024-01-14 01:00:00\), expected",
    ),
    "infinity in a panel": (
        lambda: changed(long(), "y", 30, -np.inf),
        ROLES,
        r"'y' has 1 infinite value \(inf\), the first in row 30 \(series 'south', 2024-01-14 03",
    ),
    "infinite covariate": (
        lambda: changed(long(), "price", 30, np.inf),
        ROLES,
        r"covariate in column 'price' has 1 infinite value \(inf\), the first in row 30 \(series ",
    ),
    "infinite static covariate": (
        lambda: long(region=np.repeat([1.0, np.inf], ROWS)),
        ROLES,
        r"covariate in column 'region' has 23 infinite values \(inf\), the first in row 23 \(serie",
    ),
    "a number beyond float64": (
        lambda: wide(OT=put(3, 10**400)),
        {},
        "column 'OT'.* too large .*row 3",
    ),
    "a column without values": (
        lambda: wide(OT=np.full(ROWS, np.nan)),
        {},
        r"'OT' has no values: all of its 23 rows are missing \(NaN\)",
    ),
    # ids
    "a missing id": (
        lambda: changed(long(), "unique_id", 5, None),
        {"target": "y"},
        "Column 'unique_id' has 1 missing id, the first in row 5; expected the id",
    ),
    "ids that are stamps": (
        lambda: long(unique_id=HOURS.repeat(2)),
        {"target": "y", "time_column": "ds"},
        "ids of series in column 'unique_id' as text or numbers, got Timestamp",
    ),
    "ids that differ by type": (
        lambda: long(ids=("7", 7)),
        {"target": "y"},
        "Column 'unique_id' has ids that differ only in their type or in spaces, such as '7' and 7",
    ),
    "ids that differ by spaces": (
        lambda: changed(long(), "unique_id", range(30, 2 * ROWS), "south "),
        {"target": "y"},
        "'unique_id' has ids that differ only in their type or in spaces, such as 'south' and 'sou",
    ),
    "lists as ids": (
        lambda: changed(long(), "unique_id", 0, None).assign(unique_id=[["a"]] * 2 * ROWS),
        {"target": "y"},
        r"ids of series in column 'unique_id' .*, got \['a'\]",
    ),
    "ids and times twice": (
        lambda: pd.concat([long(), long().iloc[30:31]], ignore_index=True),
        {"target": "y"},
        r"column 'ds' have 1 duplicate: the first is row 46 \(series 'south', 2024-01-14 03",
    ),
    "the id column as target": (lambda: long(), {"target": "unique_id"}, "'unique_id' is the id c"),
    "the id column as covariate": (
        lambda: long(),
        {"target": "y", "static_covariates": "unique_id"},
        "static_covariates='unique_id' is the id column, expected a column without another role",
    ),
    "no id column of that name": (
        lambda: long().rename(columns={"unique_id": "Station"}),
        {"target": "y", "id_column": "station"},
        r"id_column='station' names no column of X, .* Did you mean 'Station'\?",
    ),
    "several columns of ids": (
        lambda: long(item_id="a"),
        {"target": "y"},
        "'unique_id' and 'item_id' could both be the ids of X",
    ),
    "ids unnamed in a long table": (
        lambda: long().rename(columns={"unique_id": "station"}),
        {"target": "y"},
        r"have 23 duplicates.* id_column='station'",
    ),
    "ids and no time": (
        lambda: long().drop(columns="ds"),
        {"target": "y"},
        "has the ids of series in column 'unique_id', but no time",
    ),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_malformed_column_is_refused_by_fit(name):
    make, options, message = CELLS[name]
    forecaster = (titans if {*options} & OF_TITANS else ridge)(**options)
    X = make()
    refused(lambda: forecaster.fit(X), message)
    assert not hasattr(forecaster, "context_")
