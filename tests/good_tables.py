"""Tables that can be read, for the tests of what comes out again."""

import json

import numpy as np
import pandas as pd

from titans_ts.data.schema import Layout, read_table

ROWS, CHANNELS, HORIZON, SERIES = 17, 3, 5, 2
NAMES = ["HUFL", "OT", "MULL"]


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape)


def stamped(index, names=NAMES, dtype="float64"):
    return pd.DataFrame(numbers(len(index), len(names)), index=index, columns=names).astype(dtype)


def continuation(table, horizon=HORIZON, cut=None, **options):
    """Read all but the last rows of a table, and put those rows back as if they were a forecast."""
    rows = len(table) - horizon
    head = table.iloc[:rows] if hasattr(table, "iloc") else table[:rows]
    tail = table.iloc[rows:] if hasattr(table, "iloc") else table[rows:]
    _, layout = read_table(head, **options)
    # A saved and restored layout must do as well as the one that was read.
    layout = Layout.from_dict(json.loads(json.dumps(layout.to_dict())))
    values, _ = read_table(tail, **{"freq": layout.freq, **options})
    return layout.forecast_table(values.values[None]), tail


def with_time_column(values, name="date", place=0):
    """A frame of three channels with a time column among them; numbers rows 0, 1... itself."""
    frame = pd.DataFrame(numbers(len(values), CHANNELS), columns=NAMES)
    frame.insert(place, name, values)
    return frame


HOURS = pd.date_range("2016-07-01 20:00", periods=ROWS, freq="h")
DAYS = pd.date_range("2016-07-01", periods=ROWS, freq="D")
TIME_COLUMNS = {
    "stamps": HOURS,
    "stamps in a zone": HOURS.tz_localize("Europe/Berlin"),
    "stamps in seconds": HOURS.as_unit("s"),
    "date objects": np.array(DAYS.date, dtype=object),
    "ISO text": HOURS.strftime("%Y-%m-%d %H:%M:%S"),
    "text with slashes": HOURS.strftime("%Y/%m/%d %H:%M"),
    "text, day first": DAYS.strftime("%d/%m/%Y"),
    "text, month first": DAYS.strftime("%m/%d/%Y"),
    "text with offset": [t.isoformat() for t in HOURS.tz_localize("UTC")],
    "periods": pd.period_range("2016-07", periods=ROWS, freq="M"),
}


def santiago(start, freq="D"):
    """Rows at midnight, but for 2024-09-08, a day that summer time lets begin at one o'clock."""
    naive = pd.date_range(start, periods=ROWS, freq=freq)
    return naive.tz_localize("America/Santiago", nonexistent="shift_forward")


INDICES = {
    "15 minutes": pd.date_range("2016-07-01", periods=ROWS, freq="15min"),
    "hours, named": pd.date_range("2016-07-01", periods=ROWS, freq="h", name="date"),
    "odd seconds": pd.date_range("2016-07-01", periods=ROWS, freq="97s"),
    "two days": pd.date_range("2016-07-01", periods=ROWS, freq="2D"),
    "weeks from a Tuesday": pd.date_range("2002-01-01", periods=ROWS, freq="7D"),
    "business days": pd.date_range("2016-07-01", periods=ROWS, freq="B"),
    "month starts": pd.date_range("2016-01-01", periods=ROWS, freq="MS"),
    "month ends": pd.date_range("2016-01-31", periods=ROWS, freq="ME"),
    "quarter starts": pd.date_range("2016-02-01", periods=ROWS, freq="QS-FEB"),
    "year ends": pd.date_range("1990-12-31", periods=ROWS, freq="YE"),
    "seconds as unit": pd.date_range("2016-07-01", periods=ROWS, freq="h").as_unit("s"),
    "milliseconds as unit": pd.date_range("2016-07-01", periods=ROWS, freq="h").as_unit("ms"),
    "nanoseconds as unit": pd.date_range("2016-07-01", periods=ROWS, freq="h").as_unit("ns"),
    "far future": pd.DatetimeIndex(
        np.datetime64("3016-07-01", "s") + np.arange(ROWS) * np.timedelta64(1, "h")
    ),
    "UTC": pd.date_range("2016-07-01", periods=ROWS, freq="15min", tz="UTC"),
    "fixed offset": pd.date_range("2016-07-01T00:00+05:30", periods=ROWS, freq="h"),
    # 17 rows: the forecast begins after row 12.
    "hours into summer time": pd.date_range(
        "2021-03-27 14:00", periods=ROWS, freq="h", tz="Europe/Berlin"
    ),
    "hours into winter time": pd.date_range(
        "2021-10-30 14:00", periods=ROWS, freq="h", tz="Europe/Berlin"
    ),
    "days over the change": pd.date_range("2021-10-17", periods=ROWS, freq="D", tz="Europe/Berlin"),
    "months over the change": pd.date_range(
        "2021-01-01", periods=ROWS, freq="MS", tz="America/New_York"
    ),
    "24 hours, not days": pd.date_range(
        "2021-10-25 22:00", periods=ROWS, freq="24h", tz="UTC"
    ).tz_convert("Europe/Berlin"),
    # Steps that cannot be inferred, or not before the change; the index says them.
    "half months": pd.date_range("2016-01-15", periods=ROWS, freq="SME"),
    "every other business day": pd.date_range("2016-07-01", periods=ROWS, freq="2B"),
    "24 hours up to the change": pd.date_range(
        "2021-10-17", periods=ROWS, freq="24h", tz="Europe/Berlin"
    ),
    "days from one without a midnight": santiago("2024-09-08"),
    "days up to one without a midnight": santiago("2024-08-28"),
    "days over one without a midnight": santiago("2024-09-03"),
    "days before one without a midnight": santiago("2024-08-26"),
    "weeks over a day without a midnight": santiago("2024-08-11", "W-SUN"),
    "periods": pd.period_range("2016-01", periods=ROWS, freq="M", name="month"),
    "quarters in pairs": pd.period_range("1990Q1", periods=ROWS, freq="2Q"),
    "range": pd.RangeIndex(ROWS),
    "range with step": pd.RangeIndex(11, 11 + 7 * ROWS, 7, name="step"),
    "integers": pd.Index(np.arange(ROWS) * 3 - 20, name="step"),
    "short integers": pd.Index(np.arange(ROWS, dtype=np.int16) + 2),
}
