"""Tables to spoil, forecasters to give them to, and the check of what is said of them."""

import functools
import re

import numpy as np
import pandas as pd
import pytest
from tiny_fits import tiny

from titans_ts import RidgeForecaster
from titans_ts.errors import TitansError

ROWS, HORIZON, CONTEXT = 23, 3, 7
HOURS = pd.date_range("2024-01-13 20:00", periods=ROWS, freq="h", name="date")
AHEAD = pd.date_range(HOURS[-1], periods=HORIZON + 1, freq="h", name="date")[1:]


# -- tables to spoil -------------------------------------------------------------------------------


def wide(index=HOURS, **columns):
    """Two channels, HUFL and OT."""
    n = len(index)
    columns = {"HUFL": np.sin(np.arange(n) / 2), "OT": np.arange(n) * 2.0, **columns}
    return pd.DataFrame({name: np.asarray(c)[:n] for name, c in columns.items()}, index)


def dated(times, **columns):
    """The same with its time in a column."""
    table = wide(pd.RangeIndex(len(times)), **columns)
    table.insert(0, "date", times)
    return table


def put(row, value, dtype=object):
    """The numbers 0, 1, 2... with others among them."""
    values = np.arange(ROWS).astype(dtype)
    if isinstance(row, int):
        values[row] = value
    else:
        for one in row:
            values[one] = value
    return values


def long(stamps=HOURS, ids=("north", "south"), **columns):
    """A panel of two series with every kind of covariate."""
    n = len(stamps)
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat(np.array(ids, dtype=object), n),
            "ds": np.tile(np.asarray(stamps, dtype=object), 2)
            if stamps.dtype == object
            else list(stamps) * 2,
            "y": np.sin(np.arange(2 * n) / 3),
            "warmth": np.cos(np.arange(2 * n) / 3),
            "sunny": np.arange(2 * n) % 3 == 0,
            "day": np.where(np.arange(2 * n) % 7 < 5, "work", "rest"),
            "price": np.arange(2 * n) % 11 / 10,
            "region": np.repeat(["coast", "hills"], n),
        }
    )
    for name, values in columns.items():
        frame[name] = values
    return frame


ROLES = {
    "target": "y",
    "past_covariates": ["price"],
    "future_covariates": ["warmth", "sunny", "day"],
    "static_covariates": ["region"],
}


def changed(frame, column, row, value):
    """The frame with one cell replaced."""
    frame = frame.copy()
    values = frame[column].astype(object)
    values.iloc[row] = value
    frame[column] = values
    return frame


def ahead(**columns):
    """The future that a forecaster fitted on ``long()`` asks for."""
    frame = long(AHEAD)[["unique_id", "ds", "warmth", "sunny", "day"]]
    return frame.assign(**columns)


# -- forecasters -----------------------------------------------------------------------------------


# Parameters that the baselines have not.
OF_TITANS = {"past_covariates", "future_covariates", "static_covariates", "calendar"}


def ridge(**options):
    return RidgeForecaster(**{"horizon": HORIZON, "context_length": CONTEXT, **options})


def titans(**options):
    small = {"horizon": HORIZON, "context_length": CONTEXT, "depth": 0, "patch_length": 1}
    return tiny(**{**small, "accelerator": "cpu", **options})


@functools.cache
def fitted(name):
    """A forecaster that tests only ask, fitted once."""
    if name == "wide":
        return ridge().fit(wide())
    if name == "wide, in a column":
        return ridge(time_column="date").fit(dated(HOURS))
    if name == "in Berlin":
        return ridge().fit(wide(HOURS.tz_localize("Europe/Berlin")))
    if name == "array":
        return ridge().fit(wide().to_numpy())
    if name == "panel":
        return ridge(target="y").fit(long()[["unique_id", "ds", "y"]])
    if name == "covariates":
        return titans(**ROLES).fit(long())
    if name == "calendar":
        return titans(calendar=True).fit(wide())
    assert name == "numbered"
    return titans(target="OT", future_covariates="HUFL").fit(wide(pd.RangeIndex(ROWS)))


def refused(call, message):
    """The call ends in a sentence of ours, raised by us."""
    with pytest.raises(TitansError, match=message) as caught:
        call()
    said = str(caught.value)
    assert "\n" not in said
    assert re.search(r"[.?]$", said), said
    assert "titans_ts" in caught.traceback[-1].path.parts
    assert "site-packages" not in caught.traceback[-1].path.parts
