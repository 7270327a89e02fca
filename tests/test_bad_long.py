"""Long tables that cannot be used: one sentence that names series, column and stamp."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from bad_tables import refused

from titans_ts.data.schema import read_table

HOURS = pd.date_range("2024-01-01", periods=11, freq="h")


def panel(stamps=HOURS, ids=("a", "b"), **columns):
    """Series a and b of eleven rows each, b's below a's."""
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat(np.array(ids, dtype=object), 11),
            "ds": pd.Series(stamps).iloc[np.tile(np.arange(11), len(ids))].to_numpy()
            if not isinstance(pd.Series(stamps).dtype, pd.DatetimeTZDtype)
            else pd.Series(stamps).iloc[np.tile(np.arange(11), len(ids))].array,
            "y": np.arange(11.0 * len(ids)),
        }
    )
    return frame.assign(**columns)


def moved(rows, by):
    frame = panel()
    frame.loc[rows, "ds"] += pd.Timedelta(by)
    return frame


# -- time ----------------------------------------------------------------------------------------


def test_gaps_name_series_column_and_stamp():
    said = refused(
        panel().drop([14, 17, 18]).sample(frac=1, random_state=0),
        r"^The time stamps in column 'ds' of series 'b' have 2 gaps \(3 missing rows\), the first "
        r"after 2024-01-01 02:00:00, where 2024-01-01 04:00:00 follows; expected one row every h\.",
    )
    assert "FillGaps()" in said
    levels = panel().drop([14]).set_index(["unique_id", "ds"])
    refused(levels, "^The time stamps in the index level 'ds' of series 'b' have 1 gap")


@pytest.mark.parametrize("freq", ["D", "B", "MS", "W-TUE"])
def test_gaps_in_steps_of_the_calendar_are_gaps(freq):
    stamps = pd.date_range("2024-01-02", periods=11, freq=freq)
    refused(
        panel(stamps).drop(15),
        rf"series 'b' have 1 gap \(1 missing row\), the first after {stamps[3]}, .* every {freq}\.",
    )


def test_irregular_stamps_name_series_column_and_stamp():
    said = refused(
        moved([15], "7min"),
        r"^The time stamps in column 'ds' of series 'b' are irregular: expected one row every h, "
        r"but 2024-01-01 04:07:00 comes 0 days 01:07:00 after 2024-01-01 03:00:00\.",
    )
    assert "Resample()" in said


def test_a_series_of_another_frequency_is_named():
    frame = panel(ids=("a", "b", "c"))
    frame.loc[frame["unique_id"] == "c", "ds"] = pd.date_range("2024-01-01", periods=11, freq="2h")
    message = (
        r"of series 'c' come every 2h \(the first two are .*\), but other series have h; expec"
    )
    refused(frame, message)
    refused(panel(), "of series 'a' come every h .*, but freq='30min' was given", freq="30min")


def test_the_same_time_twice_names_series_and_stamp():
    refused(
        moved([15], "-1h"),
        r"^The time stamps in column 'ds' have 1 duplicate: the first is row 15 \(series 'b', "
        r"2024-01-01 03:00:00\); expected one row per series and time stamp\.",
    )
    months = pd.period_range("2024-01", periods=11, freq="M")
    twice = pd.concat([panel(months), panel(months)[5:7]], ignore_index=True)
    refused(twice, r"2 duplicates: the first is row 22 \(series 'a', 2024-06\)")


def test_missing_stamps_are_refused():
    frame = panel()
    frame.loc[[4, 9], "ds"] = pd.NaT
    refused(frame, r"^Column 'ds' has 2 missing time stamps \(NaT\), the first in row 4 \(series ")
    text = panel(HOURS.strftime("%Y-%m-%d %H:%M"))
    text.loc[17, "ds"] = None
    refused(text, r"^Column 'ds' has 1 missing time stamp \(NaT\), the first in row 17 \(series ")


def test_text_that_is_no_time_is_refused():
    text = panel(HOURS.strftime("%Y-%m-%d %H:%M"))
    text.loc[[13, 20], "ds"] = "noon"
    refused(text, r"column 'ds', but 2 values cannot be read as one, the first 'noon' in row 13")


@pytest.mark.parametrize(
    ("stamps", "message"),
    [
        (
            [s.tz_localize("UTC" if i % 2 else "Europe/Berlin") for i, s in enumerate(HOURS)],
            "in column 'ds' mix time zones",
        ),
        (
            [s.tz_localize("UTC") if i else s.to_pydatetime() for i, s in enumerate(HOURS)],
            "in column 'ds' mix time zones",
        ),
    ],
)
def test_stamps_that_mix_time_zones_are_refused(stamps, message):
    frame = panel()
    frame["ds"] = pd.Series(stamps * 2, dtype=object)
    said = refused(frame, message)
    assert "utc=True" in said


def test_too_short_series_ask_for_the_frequency():
    frame = panel().iloc[[0, 1, 11]]
    message = "inferred from column 'ds': the longest series has 2 rows, expected at least 3"
    refused(frame, message)
    assert read_table(frame, freq="h")[1].freq == "h"
    refused(frame, "of series 'a' .* expected one row every 30min", freq="30min")


def test_a_lone_row_that_is_on_no_step_is_named():
    refused(
        panel().iloc[[0]],
        r"^The only time stamp in column 'ds' of series 'a' is 2024-01-01 .*, which is none of one "
        "every ME: the next of them is 2024-01-31",
        freq="ME",
    )


def test_integers_and_periods_must_be_evenly_spaced_in_every_series():
    steps = panel(np.arange(11) * 5).drop(16)
    refused(
        steps,
        r"labels in column 'ds' of series 'b' have 1 gap, the first after 20, where 30 follows; "
        r"expected a step of 5\.",
    )
    refused(panel(np.arange(11)), "freq='h' was given, but X has no time stamps", freq="h")
    months = pd.period_range("2024-01", periods=11, freq="M")
    refused(panel(months).drop(16), "series 'b' have 1 gap, the first after 2024-05, where 2024-07")
    refused(panel(months), "freq='D' was given, but column 'ds' holds periods of 'M'", freq="D")


def test_a_panel_without_time_asks_for_it():
    message = (
        "X has the ids of series in column 'unique_id', but no time: its other columns are 'y'"
    )
    refused(panel().drop(columns="ds"), message)
    refused(panel().assign(ds=0.5), "but no time: its other columns are 'ds', 'y'")
    levels = panel().set_index(["unique_id", "ds"])
    refused(levels.swaplevel(), r"index of time and then id, .* X\.swaplevel\(\)")
    text = panel(HOURS.strftime("%Y-%m-%d")).set_index(["unique_id", "ds"])
    refused(text, "the second level of its index of .* values, the first '2024-01-01'; expected")
    refused(levels, "id_column='station' was given, but X has an index of two", id_column="station")
    refused(levels, "time_column='when' was given, but X has an index of", time_column="when")


# -- ids -----------------------------------------------------------------------------------------


def test_missing_ids_are_refused():
    frame = panel()
    frame.loc[[3, 12], "unique_id"] = None
    refused(frame, r"^Column 'unique_id' has 2 missing ids, the first in row 3; expected the id of")
    refused(pl.from_pandas(frame), "^Column 'unique_id' has 2 missing ids, the first in row 3")
    numbers = panel(ids=(1.0, np.nan))
    refused(numbers, "^Column 'unique_id' has 11 missing ids, the first in row 11")


@pytest.mark.parametrize(
    ("name", "kind"), [(datetime.date(2024, 1, 1), "date"), (("a", 1), "tuple"), (np.inf, "float")]
)
def test_ids_that_cannot_be_kept_are_refused(name, kind):
    frame = panel()
    ids = np.empty(22, dtype=object)
    ids[:] = [name] * 22
    frame["unique_id"] = ids
    message = rf"Expected ids of series in column 'unique_id' as text or numbers, got .* \({kind}\)"
    refused(frame.drop(range(11)), message, time_column="ds")


def test_ids_that_are_lists_are_refused():
    frame = panel().assign(unique_id=[["a"]] * 22)
    refused(
        frame, r"ids of series in column 'unique_id' as text or numbers, got \['a'\] \(unhashab"
    )
    refused(pl.from_pandas(frame), r"as text or numbers, got \['a'\]")


def test_two_columns_of_ids_ask_which():
    frame = panel(item_id="x")
    refused(
        frame, "'unique_id' and 'item_id' could both be the ids of X. Say which with id_column="
    )
    assert read_table(frame, id_column="unique_id", target="y")[1].ids == ("a", "b")
    refused(panel(), "id_column='station' names no column of X, which has", id_column="station")
    wide = pd.DataFrame({"y": np.arange(11.0)}, HOURS)
    refused(wide["y"], "id_column='y' names no column of X", id_column="y")


# -- values --------------------------------------------------------------------------------------


def test_bad_values_name_series_column_and_stamp():
    frame = panel()
    frame.loc[13, "y"] = np.inf
    where = r"row 13 \(series 'b', 2024-01-01 02:00:00\)"
    refused(frame, rf"^Column 'y' has 1 infinite value \(inf\), the first in {where}, expected fin")
    frame = panel().astype({"y": object})
    frame.loc[13, "y"] = "n/a"
    refused(frame, rf"numbers in column 'y', got text in 1 row, the first 'n/a' in {where}\.")
    frame["y"] = "1,5"
    refused(
        frame,
        r"column 'y', got text with a comma in 22 rows, the first '1,5' in row 0 \(series 'a', 20",
    )
    refused(panel(y=True), "Expected numbers in column 'y', got True and False")


def test_a_target_without_a_value_in_any_series_is_refused():
    frame = panel(z=np.nan)
    refused(frame, r"^Column 'z' has no values: all of its 22 rows are missing \(NaN\)")
    frame.loc[20, "z"] = 1.0
    assert read_table(frame)[0].observed[:, 1].sum() == 1
