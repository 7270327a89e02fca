"""Time that is missing, doubtful or uneven is refused by ``fit`` with a sentence."""

import datetime

import numpy as np
import pandas as pd
import pytest
from malformed import HOURS, OF_TITANS, ROWS, changed, dated, long, refused, ridge, titans, wide

TIMES = {
    "a missing stamp": (
        lambda: dated([*HOURS[:5], None, *HOURS[6:]]),
        {},
        r"Column 'date' has 1 missing time stamp \(NaT\), the first in row 5",
    ),
    "a missing stamp in a panel": (
        lambda: changed(long(), "ds", 30, pd.NaT),
        {"target": "y"},
        r"Column 'ds' has 1 missing time stamp \(NaT\), the first in row 30 \(series 'south'\)",
    ),
    "a missing stamp in the index": (
        lambda: wide(pd.DatetimeIndex([pd.NaT, *HOURS[1:]])),
        {},
        r"The index has 1 missing time stamp \(NaT\), the first in row 0",
    ),
    "dates with day or month first": (
        lambda: dated([f"{d:02}/01/2024" for d in (1, 2, 3, 5, 8, 9, 11, 12)]),
        {},
        "Dates such as '01/01/2024' in column 'date' make sense with the day first and with the m",
    ),
    "even dates with day or month first": (
        lambda: dated([f"{d:02}/01/2024" for d in range(1, 13)]),
        {},
        r"make sense with the day first and with the month first\. Convert .* dayfirst=True",
    ),
    "dates of several forms": (
        lambda: dated(
            [*HOURS[:3].strftime("%Y-%m-%d %H:%M"), *HOURS[3:].strftime("%d.%m.%Y %H:%M")]
        ),
        {},
        r"'date', but 20 values cannot be read as one, the first '13\.01\.2024 23:00' in row 3",
    ),
    "a date that is none": (
        lambda: dated(["2024-02-28", "2024-02-29", "2024-02-30", "2024-03-01"]),
        {},
        "column 'date', but 1 value cannot be read as one, the first '2024-02-30' in row 2",
    ),
    "dates beyond what is kept": (
        lambda: dated([f"{y}-01-01" for y in range(99990, 99990 + ROWS)]),
        {"time_column": "date"},
        "column 'date', but 23 values cannot be read as one",
    ),
    "stamps with and without zone": (
        lambda: dated([HOURS[0].tz_localize("UTC"), *HOURS[1:]]),
        {},
        r"column 'date' mix time zones, expected one for all rows, or none\. .* utc=True",
    ),
    "stamps of several zones": (
        lambda: dated([*HOURS[:9].tz_localize("UTC"), *HOURS[9:].tz_localize("Asia/Tokyo")]),
        {},
        r"column 'date' mix time zones, expected one",
    ),
    "text without and with offset": (
        lambda: dated(["2024-01-13T20:00", "2024-01-13T21:00+01:00", "2024-01-13T22:00"]),
        {},
        "column 'date', but 1 value cannot be read as one, the first "
        r"'2024-01-13T21:00\+01:00' in row 1",
    ),
    "text with and without offset": (
        lambda: dated(["2024-01-13T20:00+01:00", "2024-01-13T21:00", "2024-01-13T22:00+01:00"]),
        {},
        r"column 'date', but 1 value cannot be read as one, the first '2024-01-13T21:00' in row 1",
    ),
    "unsorted rows": (
        lambda: wide().iloc[::-1],
        {},
        r"in the index 'date' are not sorted: row 1 .* Sort with X\.sort_index\(\)",
    ),
    "repeated stamps": (
        lambda: wide(HOURS[[0, 1, 2, 2, *range(3, 22)]]),
        {},
        r"have 1 duplicate: the first is row 3 \(2024-01-13 22:00:00\)",
    ),
    "the hour that comes twice, without zone": (
        lambda: wide(
            pd.date_range("2024-10-27", periods=ROWS, freq="h", tz="Europe/Berlin").tz_localize(
                None
            )
        ),
        {},
        r"in the index have 1 duplicate: the first is row 3 \(2024-10-27 02:00:00\).* zone "
        r"instead, such as tz_localize\('Europe/Berlin', ambiguous='infer'\)\.$",
    ),
    "gaps": (
        lambda: wide(HOURS.delete([5, 6, 11])),
        {},
        r"have 2 gaps \(3 missing rows\), the first after 2024-01-14 00:00:00, .*FillGaps\(\)",
    ),
    "gaps in a panel": (
        lambda: long().drop(index=[30, 31]),
        {"target": "y"},
        r"column 'ds' of series 'south' have 1 gap \(2 missing rows\), the first after 2024-01-14",
    ),
    "irregular stamps": (
        lambda: wide(HOURS[:9].append(HOURS[9:] + pd.Timedelta("7min"))),
        {},
        r"irregular: expected one row every h, but row 9 .* Resample\(\)",
    ),
    "two frequencies in a panel": (
        lambda: pd.concat(
            [long()[:ROWS], long(pd.date_range(HOURS[0], periods=ROWS, freq="D"))[ROWS:]]
        ),
        {"target": "y"},
        r"column 'ds' of series 'south' come every D .*, but other series have h; .* Resample\(\)",
    ),
    "a wrong frequency": (
        lambda: wide(),
        {"freq": "15min"},
        r"freq='15min' was given, but the time stamps in the index 'date' come every h .*freq='h'",
    ),
    "a coarser frequency": (lambda: wide(), {"freq": "D"}, "freq='D' was given, .* come every h"),
    "a wrong frequency of a panel": (
        lambda: long(),
        {"target": "y", "freq": "D"},
        "of series 'north' come every h .*but freq='D' was given",
    ),
    "no frequency": (lambda: wide(), {"freq": "hourly"}, "freq must be a pandas frequency such as"),
    "a frequency of arrays' rows": (
        lambda: wide(pd.RangeIndex(ROWS)),
        {"freq": "h"},
        "freq='h' was given, but X has no time stamps",
    ),
    "years as numbers": (
        lambda: dated(np.arange(1990, 1990 + ROWS)),
        {},
        r"'date' of X holds growing numbers, the first 1990,.* format='%Y'\).*time_column='date'",
    ),
    "Unix seconds": (
        lambda: dated(HOURS.as_unit("s").asi8),
        {},
        r"'date' of X holds growing numbers, the first 1705176000,.* unit='s'\)",
    ),
    "Unix milliseconds": (
        lambda: dated(HOURS.as_unit("ms").asi8),
        {},
        r"'date' of X holds growing numbers, the first 1705176000000,.* unit='ms'\)",
    ),
    "dates as numbers": (
        lambda: dated(20240101 + np.arange(ROWS)),
        {},
        r"'date' of X holds growing numbers, the first 20240101,.* format='%Y%m%d'\)",
    ),
    "Excel's serial dates": (
        lambda: dated(45304 + np.arange(ROWS) / 24),
        {},
        r"'date' of X holds growing numbers, the first 45304\.0,.* origin='1899-12-30'\)",
    ),
    "Excel's serial dates, named": (
        lambda: dated(45304 + np.arange(ROWS) / 24),
        {"time_column": "date"},
        r"Expected time stamps in column 'date', got float64 values, the first 45304\.0.*origin='1",
    ),
    "a number missing in the index": (
        lambda: wide(pd.Index(pd.array([None, *range(ROWS - 1)], "Int64"))),
        {},
        r"The index has 1 missing time stamp \(NaT\), the first in row 0",
    ),
    "numbers beyond 63 bits in the index": (
        lambda: wide(pd.Index(np.arange(ROWS, dtype=np.uint64) + np.uint64(2**63))),
        {},
        r"labels in the index go up to 9223372036854775830, expected at most 2\*\*63 - 1",
    ),
    "a calendar of rows without time": (
        lambda: wide(pd.RangeIndex(ROWS)),
        {"calendar": True},
        r"calendar= needs time stamps, but X has none\. Give a frame with a DatetimeIndex",
    ),
    "text as index": (
        lambda: wide(pd.Index(HOURS.strftime("%Y-%m-%d %H:%M"))),
        {},
        r"X has an index of \w+ values, the first '2024-01-13 20:00'.* pandas\.to_datetime",
    ),
    "times of day": (
        lambda: dated([datetime.time(h) for h in range(ROWS)]),
        {"time_column": "date"},
        "Expected time stamps in column 'date', got .*the first datetime.time",
    ),
    "several time columns": (
        lambda: dated(HOURS, sent=HOURS).rename(columns={"date": "read"}),
        {},
        r"2 columns of X could be its time: 'read', 'sent'\. Say which with time_column=",
    ),
    "no time column of that name": (
        lambda: dated(HOURS),
        {"time_column": "Date"},
        r"time_column='Date' names no column of X, .* Did you mean 'date'\?",
    ),
}


@pytest.mark.parametrize("name", TIMES)
def test_malformed_time_is_refused_by_fit(name):
    make, options, message = TIMES[name]
    forecaster = (titans if {*options} & OF_TITANS else ridge)(**options)
    X = make()
    refused(lambda: forecaster.fit(X), message)
    assert not hasattr(forecaster, "context_")
