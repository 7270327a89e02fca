"""Small tables to spoil, and the check of what is said about them."""

import numpy as np
import pandas as pd
import pytest

from titans_ts.data.schema import read_table
from titans_ts.errors import DataError

ROWS = 11
HOURS = pd.date_range("2016-07-01 20:00", periods=ROWS, freq="h", name="date")


def frame(index=HOURS, **columns):
    """Two channels, HUFL and OT, of 11 hours from 20:00 on."""
    columns = {"HUFL": np.arange(ROWS) / 4, "OT": np.arange(ROWS) * 2.0, **columns}
    return pd.DataFrame({name: np.asarray(c)[: len(index)] for name, c in columns.items()}, index)


def with_date(times, **columns):
    """The same with its time in a column."""
    table = frame(pd.RangeIndex(len(times)), **columns)
    table.insert(0, "date", times)
    return table


def put(values, row, value, dtype=object):
    values = np.array(values, dtype=dtype)
    values[row] = value
    return values


def refused(X, message, error=DataError, **options):
    with pytest.raises(error, match=message) as caught:
        read_table(X, **options)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith((".", "?"))
    return said
