"""Tables whose shape or columns make no sense are refused by ``fit`` with a sentence."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from malformed import (
    HOURS,
    OF_TITANS,
    ROLES,
    ROWS,
    changed,
    dated,
    long,
    refused,
    ridge,
    titans,
    wide,
)

TABLES = {
    # columns
    "no rows": (lambda: wide().iloc[:0], {}, "X has no rows"),
    "no columns": (lambda: wide()[[]], {}, "X has no columns"),
    "only the time": (
        lambda: dated(HOURS)[["date"]],
        {},
        "no column beside its time column 'date'",
    ),
    "columns named alike": (
        lambda: wide().set_axis(["OT", "OT"], axis=1),
        {},
        "several columns named 'OT', expected distinct names",
    ),
    "names that read alike": (lambda: wide().set_axis([1, "1"], axis=1), {}, "columns named '1'"),
    "column names of two levels": (
        lambda: wide().set_axis(pd.MultiIndex.from_tuples([("a", 1), ("a", 2)]), axis=1),
        {},
        "X has column names of 2 levels, expected one level",
    ),
    "column names that are tuples": (
        lambda: wide().set_axis(pd.Index([("a", 1), "b"], tupleize_cols=False), axis=1),
        {},
        r"The name \('a', 1\) of a column or index is a tuple, expected text or a number",
    ),
    "an index of three levels": (
        lambda: wide(pd.MultiIndex.from_product([["a"], ["b"], HOURS])),
        {},
        "index of 3 levels, expected two",
    ),
    "an index of time and id": (
        lambda: long().set_index(["ds", "unique_id"])[["y"]],
        {},
        r"index of time and then id.* X\.swaplevel\(\)",
    ),
    "a target that is not there": (
        lambda: wide(),
        {"target": "HUFFL"},
        r"target='HUFFL' names no column of X, which has 'HUFL', 'OT'\. Did you mean 'HUFL'\?",
    ),
    "a target twice": (
        lambda: wide(),
        {"target": ["OT", "OT"]},
        "target names the column 'OT' twice",
    ),
    "no target": (lambda: wide(), {"target": []}, "target is empty, expected at least one column"),
    "the time as target": (lambda: dated(HOURS), {"target": "date"}, "'date' is the time column"),
    "a covariate that is not there": (
        lambda: long(),
        {**ROLES, "past_covariates": "prise"},
        r"past_covariates='prise' names no column .* Did you mean 'price'\?",
    ),
    "a column in two roles": (
        lambda: long(),
        {**ROLES, "past_covariates": ["price", "y"]},
        r"target='y' is named in past_covariates, expected a column without another role",
    ),
    "a covariate in two roles": (
        lambda: long(),
        {**ROLES, "static_covariates": ["price"]},
        r"static_covariates='price' is named in past_covariates, expected a column without",
    ),
    "roles of an array": (
        lambda: wide().to_numpy(),
        {"target": "OT"},
        "target='OT' names columns, but X is an array without names",
    ),
    # covariates
    "a covariate of stamps": (
        lambda: long(price=list(HOURS) * 2),
        {**ROLES, "time_column": "ds"},
        "in column 'price', got datetime64",
    ),
    "a covariate of words and numbers": (
        lambda: changed(long(), "day", 3, 7),
        ROLES,
        r"text in column 'day', got mixed-integer values, the first 'work', but 7 in row 3 \(seri",
    ),
    "a covariate of lists": (
        lambda: long(day=[["work"]] * 2 * ROWS),
        ROLES,
        r"text in column 'day', got mixed values, the first \['work'\] in row 0 \(series 'north', ",
    ),
    "a static covariate that changes": (
        lambda: changed(long(), "region", 30, "coast"),
        ROLES,
        r"static covariate in column 'region' must be the same in all rows of a series, got 'hills"
        r"' in row 23 \(series 'south', 2024-01-13 20:00:00\) and 'coast' in row 30",
    ),
    # what is no table
    "a single number": (lambda: 7.0, {}, "X is a float, expected an array"),
    "an array without axes": (lambda: np.float64(7), {}, "got a single value"),
    "an array of one axis": (lambda: np.arange(9.0), {}, r"got shape \(9,\)\. Reshape your data"),
    "an array of four axes": (lambda: np.ones((2, 3, 5, 7)), {}, r"got shape \(2, 3, 5, 7\)"),
    "a ragged list": (lambda: [[1.0, 2.0], [3.0]], {}, "a list that makes no array"),
    "a path": (lambda: "load.csv", {}, r"X is a str, expected an array.* pandas\.read_csv"),
    "a dict": (lambda: {"OT": [1.0]}, {}, "X is a dict, expected an array"),
    "a generator": (
        lambda: (float(i) for i in range(9)),
        {},
        "X is a generator, expected an array",
    ),
    "nothing": (lambda: None, {}, "X is a NoneType, expected an array"),
    "a lazy frame": (lambda: pl.from_pandas(wide()).lazy(), {}, r"lazy frame.* X\.collect\(\)"),
    "a list of frames": (
        lambda: [wide(), wide()],
        {},
        r"X is a list of frames or Series, .* pandas\.concat",
    ),
    "a structured array": (
        lambda: np.zeros(ROWS, [("date", "M8[h]"), ("OT", "f8")]),
        {},
        r"X is an array of records with the fields 'date', 'OT', .* pandas\.DataFrame\(X\)",
    ),
    "a record array": (
        lambda: wide().to_records(),
        {},
        r"X is an array of records with the fields 'date', 'HUFL', 'OT', ",
    ),
    "a tensor that wants gradients": (
        lambda: torch.ones(ROWS, 2, requires_grad=True),
        {},
        r"X is a Tensor that makes no array of shape \(time, channels\): Can't call numpy",
    ),
    "a masked array of text": (
        lambda: np.ma.masked_array([["a"]] * 9),
        {},
        "numbers in column 0, got only text, the first 'a' in row 0",
    ),
    "an array of text": (
        lambda: np.full((9, 2), "x"),
        {},
        "column 0, got only text, the first 'x'",
    ),
    "an array of True": (lambda: np.ones((9, 2), bool), {}, "column 0, got True and False"),
    "an array of objects": (
        lambda: np.array([[1.0, {}]] * 9, object),
        {},
        r"column 1, got a dict, the first \{\} in row 0",
    ),
    "a fully masked column": (
        lambda: np.ma.masked_array(np.ones((ROWS, 2)), [[False, True]] * ROWS),
        {},
        "Column 1 has no values",
    ),
    # too short
    "a table too short": (
        lambda: wide(HOURS[:3]),
        {"freq": "h"},
        "Too few rows to learn from: the longest series has 3 training rows .* a horizon of 3",
    ),
    "two rows of unknown frequency": (
        lambda: wide(pd.DatetimeIndex(HOURS[:2], freq=None)),
        {},
        "frequency cannot be inferred from 2 time stamps in the index 'date': expected at least 3",
    ),
    "series of one row": (
        lambda: long().iloc[[0, ROWS]],
        {"target": "y"},
        "frequency cannot be inferred from column 'ds': the longest series has 1 row, expected",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_malformed_table_is_refused_by_fit(name):
    make, options, message = TABLES[name]
    forecaster = (titans if {*options} & OF_TITANS else ridge)(**options)
    X = make()
    refused(lambda: forecaster.fit(X), message)
    assert not hasattr(forecaster, "context_")
