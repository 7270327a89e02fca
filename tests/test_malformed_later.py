"""Tables that do not fit the forecaster: refused by ``predict``, ``score`` and as validation."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from malformed import (
    AHEAD,
    HOURS,
    ROWS,
    ahead,
    changed,
    dated,
    fitted,
    long,
    put,
    refused,
    ridge,
    wide,
)


def of(name, table, **options):
    return lambda: fitted(name).predict(table(), **options)


def judged(table, X=None, **options):
    return lambda: ridge(**options).fit(wide() if X is None else X(), validation=table())


NEXT = pd.date_range(AHEAD[0], periods=ROWS, freq="h", name="date")

LATER = {
    "without a column": (
        of("wide", lambda: wide()[["OT"]]),
        r"X has 1 features, but RidgeForecaster is expecting 2 features .* same columns as in fit",
    ),
    "with another column": (of("wide", lambda: wide(MULL=range(ROWS))), "X has 3 features, but"),
    "columns in another order": (
        of("wide", lambda: wide()[["OT", "HUFL"]]),
        r"X has the columns \['OT', 'HUFL'\], but .* was fitted on \['HUFL', 'OT'\]",
    ),
    "columns of other names": (
        of("wide", lambda: wide().rename(columns={"OT": "T"})),
        r"X has the columns \['HUFL', 'T'\], but .* was fitted on \['HUFL', 'OT'\]",
    ),
    "another number of channels": (
        of("array", lambda: np.ones((ROWS, 3))),
        "X has 3 features, but",
    ),
    "an array of one axis": (
        of("array", lambda: np.ones(ROWS)),
        r"got shape \(23,\)\. Reshape your",
    ),
    "another frequency": (
        of("wide", lambda: wide(pd.date_range(HOURS[0], periods=ROWS, freq="D"))),
        r"was fitted on rows every h, but the time stamps in the index come every D .*Resample",
    ),
    "a gap": (
        of("wide", lambda: wide(HOURS.delete(5))),
        r"1 gap \(1 missing row\), the first after",
    ),
    "no time": (
        of("wide", lambda: wide(pd.RangeIndex(ROWS))),
        "X has no time stamps: the index holds integers",
    ),
    "infinity": (
        of("wide", lambda: wide(OT=put(5, np.inf, float))),
        r"'OT' has 1 infinite value \(inf\), the first in row 5 \(2024-01-14 01:00:00\)",
    ),
    "a context without values": (
        of("wide", lambda: wide() * np.nan),
        r"'HUFL' has no values: all of its 23 rows are missing \(NaN\). Give rows in which",
    ),
    "no rows": (of("wide", lambda: wide().iloc[:0]), "X has no rows"),
    "a wide table for a panel": (
        of("panel", lambda: wide()),
        "target='y' names no column of X, which",
    ),
    "a path": (of("wide", lambda: "load.csv"), "X is a str, expected an array"),
    "no covariate": (
        of("covariates", lambda: long().drop(columns="price"), future=ahead()),
        "past_covariates='price' names no column of X",
    ),
    "a covariate of another kind": (
        of("covariates", lambda: long(warmth="mild"), future=ahead()),
        r"covariate in column 'warmth' was numeric in fit, but is categorical here: .* 'mild'",
    ),
    "a category that fit has not seen": (
        of("covariates", lambda: changed(long(), "day", 30, "feast"), future=ahead()),
        r"column 'day' has the category 'feast' in row 30 \(series 'south', 2024-01-14 03:00:00\), "
        r"which fit has not seen; it knows 'rest', 'work'",
    ),
    "a static category that fit has not seen": (
        of("covariates", lambda: long(region=np.repeat(["coast", "moon"], ROWS)), future=ahead()),
        r"column 'region' has the category 'moon' in row 23 \(series 'south', .*, which fit has n",
    ),
    # the table of what is known ahead
    "no future": (
        of("covariates", long),
        r"predict needs future=, a table with the columns \['warmth', 'sunny', 'day'\] for the 3 s",
    ),
    "a future nobody asked for": (
        of("wide", wide, future=AHEAD),
        r"future= was given, but this RidgeForecaster has no future_covariates\. Leave it out",
    ),
    "a future that is an array": (
        of("covariates", long, future=np.ones((6, 3))),
        "future is a ndarray, expected a DataFrame like X",
    ),
    "a lazy future": (
        of("covariates", long, future=pl.from_pandas(ahead()).lazy()),
        r"future is a lazy frame.* future\.collect\(\)",
    ),
    "a future without rows": (
        of("covariates", long, future=ahead().iloc[:0]),
        "future has no rows",
    ),
    "a future that lacks a step": (
        of("covariates", long, future=ahead().drop(index=4)),
        r"future lacks 1 of the 6 rows to forecast \(3 for each series\): series 'south' at "
        r"2024-01-14 20:00:00\. make_future_dataframe\(X\) gives",
    ),
    "a future that lacks an id": (
        of("covariates", long, future=ahead().iloc[:3]),
        r"lacks 3 of the 6 rows .* series 'south' all of 2024-01-14 19:00:00, 2024-01-14 20",
    ),
    "a future of other ids": (
        of("covariates", long, future=ahead(unique_id=["a", "b"] * 3)),
        r"lacks 6 .* None of its ids \('a', 'b'\) is one of X's\.",
    ),
    "a future without ids": (
        of("covariates", long, future=ahead().drop(columns="unique_id")),
        "future has no ids of series: its columns are 'ds', .* in a column 'unique_id'",
    ),
    "a future without time": (
        of("covariates", long, future=ahead().drop(columns="ds")),
        "future has the ids of series in column 'unique_id', but no time",
    ),
    "a future of other times": (
        of("covariates", long, future=ahead(ds=list(HOURS[:3]) * 2)),
        "lacks 6 of the 6 rows to forecast .* all of 2024-01-14 19:00:00",
    ),
    "a future between two steps": (
        of("covariates", long, future=changed(ahead(), "ds", 4, AHEAD[1] + pd.Timedelta("7min"))),
        r"future has 1 row between two steps, the first in row 4 \(series 'south', 2024-01-14 20",
    ),
    "a future with rows twice": (
        of("covariates", long, future=pd.concat([ahead(), ahead().iloc[[4]]], ignore_index=True)),
        r"have 1 duplicate: the first is row 6 \(series 'south', 2024-01-14 20:00:00\)",
    ),
    "a future in a zone": (
        of("covariates", long, future=ahead(ds=list(AHEAD.tz_localize("UTC")) * 2)),
        "future must be labelled as X is, with time stamps without time zone; it has .* in UTC",
    ),
    "a future counted by numbers": (
        of("covariates", long, future=ahead(ds=[0, 1, 2] * 2)),
        "future must be labelled as X is, with time stamps without time zone; it has integers",
    ),
    "a future of another name": (
        of("covariates", long, future=ahead().rename(columns={"warmth": "Warmth"})),
        r"future_covariates='warmth' names no column of future, .* Did you mean 'Warmth'\?",
    ),
    "a future of another kind": (
        of("covariates", long, future=ahead(sunny=["yes", "no"] * 3)),
        "column 'sunny' was boolean in fit, but is categorical here: the first value is 'yes'",
    ),
    "a future of unseen categories": (
        of("covariates", long, future=ahead(day=["work"] * 5 + ["feast"])),
        r"category 'feast' in row 5 \(series 'south', 2024-01-14 21:00:00\), which fit has not",
    ),
    "an infinite future": (
        of("covariates", long, future=ahead(warmth=[0, 1, 2, 3, np.inf, 5])),
        r"column 'warmth' has 1 infinite value \(inf\), the first in row 4 \(series 'south', 2024",
    ),
    "a future too short, without time": (
        of(
            "numbered", lambda: wide(pd.RangeIndex(ROWS)), future=pd.DataFrame({"HUFL": [1.0, 2.0]})
        ),
        r"future lacks 3 of the 3 steps to forecast: 23, 24, 25\. make_future_dataframe\(X\)",
    ),
    "a future with a missing stamp": (
        of("covariates", long, future=changed(ahead(), "ds", 1, pd.NaT)),
        r"Column 'ds' of future has 1 missing time stamp \(NaT\), the first in row 1 \(series 'nor",
    ),
    "a future with a missing id": (
        of("covariates", long, future=changed(ahead(), "unique_id", 1, None)),
        "Column 'unique_id' of future has 1 missing id, the first in row 1",
    ),
    "a future with a word among numbers": (
        of("covariates", long, future=changed(ahead(), "warmth", 1, "hot")),
        r"column 'warmth', got mixed values, the first 1\.0, but 'hot' in row 1 \(series 'north'",
    ),
    "a future with numbers for True and False": (
        of("covariates", long, future=ahead(sunny=[1, 0] * 3)),
        "column 'sunny' was boolean in fit, but is numeric here: the first value is 1",
    ),
    "stamps of a zone for a calendar without": (
        of("calendar", lambda: wide(HOURS.tz_localize("UTC"))),
        "time stamps of X are in UTC, but the model was fitted on stamps without time zone",
    ),
    "the end of all time": (
        lambda: (
            ridge().fit(wide(pd.date_range("2262-03-20", periods=ROWS).as_unit("ns"))).predict()
        ),
        r"The 3 steps after the last row of X go beyond the times that .* as_unit\('s'\)",
    ),
    "the last year of dates": (
        lambda: (
            ridge().fit(dated([datetime.date(9999, 12, day) for day in range(9, 32)])).predict()
        ),
        # Before pandas 3 such a column holds nanoseconds, and is refused as it is read.
        "The 3 steps after the last row of X go beyond the times that its index or time column"
        if int(pd.__version__.split(".")[0]) >= 3
        else r"A time stamp in column 'date' is beyond the years that pandas 2\.\S+ reads",
    ),
    # rows to judge by
    "validation that overlaps": (
        judged(lambda: wide(HOURS[-5:])),
        r"validation must start at 2024-01-14 19:00:00, one step after the last row of X "
        r"\(2024-01-14 18:00:00\); its first row is 2024-01-14 14:00:00",
    ),
    "validation after a gap": (
        judged(lambda: wide(NEXT[2:])),
        "validation must start at 2024-01-14 19:00:00, .* its first row is 2024-01-14 21:00:00",
    ),
    "validation of another frequency": (
        judged(lambda: wide(pd.date_range(AHEAD[0], periods=ROWS, freq="D"))),
        r"was fitted on rows every h, but the time stamps in the index come every D .*Resample",
    ),
    "validation in a zone": (
        judged(lambda: wide(NEXT.tz_localize("UTC"))),
        "validation must be labelled as X is, with time stamps without time zone; it has .* in UTC",
    ),
    "validation of other columns": (
        judged(lambda: wide(NEXT)[["OT"]]),
        r"validation has the columns \['OT'\], expected \['HUFL', 'OT'\], as in X",
    ),
    "validation of other series": (
        judged(lambda: long(NEXT, ("north", "east")), long, target="y"),
        "validation lacks 1 series: 'south'; expected the same series as in X",
    ),
    "validation too short": (
        judged(lambda: wide(NEXT[:2]), freq="h"),
        r"validation has 2 rows, fewer than the horizon \(3\)",
    ),
    "validation of more rows than there are": (
        lambda: ridge().fit(wide(), validation=ROWS),
        "validation=23 rows cannot be set aside: expected at least the horizon",
    ),
    "a fraction of rows as validation": (
        lambda: ridge().fit(wide(), validation=np.float64(0.2)),
        r"^validation must be a number of rows at the end of X, or a table like X, got 0\.2\. For "
        r"a fraction of the rows set validation_fraction=0\.2 in the forecaster\.$",
    ),
    "True as validation": (
        lambda: ridge().fit(wide(), validation=True),
        r"^validation must be .* got True\. Give how many of the last rows it is, or rows that",
    ),
    "a path as validation": (
        lambda: ridge().fit(wide(), validation="later.csv"),
        r"^validation must be .* got 'later\.csv'\. Give how many of the last rows it is",
    ),
    # scores
    "a score of too few rows": (
        lambda: fitted("wide").score(wide(HOURS[:9])),
        "Nothing to score: the longest series has 9 rows, and one origin needs 7 rows of context",
    ),
    "a score of what was not measured": (
        lambda: fitted("wide").score(
            wide(HOURS[:11], OT=[1.0] * 7 + [np.nan] * 4, HUFL=[1.0] * 7 + [np.nan] * 4)
        ),
        "Nothing to score: every value after a full context is missing",
    ),
    "a score by another y": (
        lambda: fitted("wide").score(wide(), np.ones(5)),
        r"y has the shape \(5,\), but X has 23 rows",
    ),
}


@pytest.mark.parametrize("name", LATER)
def test_a_table_that_does_not_fit_the_forecaster_is_refused(name):
    call, message = LATER[name]
    refused(call, message)
