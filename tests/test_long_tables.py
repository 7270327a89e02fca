"""Long tables: whatever order their rows are in, and out comes what went in."""

import datetime
import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titans_ts.data.schema import Layout, read_table
from titans_ts.data.time_column import read_time_column

HORIZON = 3
STARTS, LENGTHS = (0, 2, 5), (11, 7, 2)  # of three series, in rows after the first stamp
HOURS = pd.date_range("2024-01-01", periods=17, freq="h")

STAMPS = {
    "hours": HOURS,
    "hours in seconds": HOURS.as_unit("s"),
    "hours in a zone": HOURS.tz_localize("America/New_York"),
    # Each series' forecast begins within three hours of the change at 2:00.
    "into summer time": pd.date_range("2024-03-30 16:00", periods=17, freq="h", tz="Europe/Berlin"),
    "into winter time": pd.date_range("2024-10-26 16:00", periods=17, freq="h", tz="Europe/Berlin"),
    "days over the change": pd.date_range("2024-10-20", periods=17, tz="Europe/Berlin"),
    "days": pd.date_range("2024-01-01", periods=17),
    "business days": pd.date_range("2024-01-01", periods=17, freq="B"),
    "month ends": pd.date_range("2024-01-31", periods=17, freq="ME"),
    "weeks": pd.date_range("2024-01-03", periods=17, freq="W-WED"),
    "two days": pd.date_range("2024-01-01", periods=17, freq="2D"),
    "97 seconds": pd.date_range("2024-01-01", periods=17, freq="97s"),
    "ISO text": HOURS.strftime("%Y-%m-%d %H:%M"),
    "date objects": np.array(pd.date_range("2024-01-01", periods=17).date, dtype=object),
    "periods": pd.period_range("2024-01", periods=17, freq="M"),
    "integers": pd.Index(np.arange(17, dtype=np.int32) * 5 + 3),
}
IDS = {
    "text": pd.array(["north", "south", "east"], dtype=object),
    "string": pd.array(["north", "south", "east"], dtype="string"),
    "integers": pd.array([70, 7, 13], dtype="int32"),
    "nullable": pd.array([70, 7, 13], dtype="Int64"),
    "floats": pd.array([0.5, 7.0, -1.0], dtype="float64"),
    "categories": pd.Categorical(["north", "south", "east"], ["west", "south", "east", "north"]),
    "ordered": pd.Categorical([3, 1, 2], [1, 2, 3], ordered=True),
}


def panel(stamps=HOURS, ids=IDS["text"], names=("unique_id", "ds", "y"), series=3, extra=0):
    """Three series one after another, each with ``extra`` rows that may be its future."""
    stamps = pd.Series(stamps)
    which = np.repeat(np.arange(series), np.array(LENGTHS[:series]) + extra)
    starts, lengths = STARTS[:series], LENGTHS[:series]
    when = np.concatenate(
        [np.arange(s, s + n + extra) for s, n in zip(starts, lengths, strict=True)]
    )
    frame = pd.DataFrame({names[0]: pd.Series(ids).take(which).reset_index(drop=True)})
    frame[names[1]] = stamps.take(when).reset_index(drop=True)
    for number, name in enumerate(names[2:]):
        frame[name] = np.arange(len(frame)) * (number + 1.0)
    return frame


def split(frame, series=3, extra=HORIZON):
    """Cut each series' last rows off."""
    lengths = np.array(LENGTHS[:series]) + extra
    place = np.concatenate([np.arange(n) for n in lengths])
    last = place >= np.repeat(lengths - extra, lengths)
    return frame[~last], frame[last]


def restored(layout):
    """A layout that went through JSON must do as well as the one that was read."""
    again = Layout.from_dict(json.loads(json.dumps(layout.to_dict())))
    assert again == layout
    return again


def continued(frame, tail, values=("y",), **options):
    _, layout = read_table(frame, **options)
    numbers = tail[list(values)].to_numpy()
    return restored(layout).forecast_table(numbers.reshape(len(layout.ids), HORIZON, len(values)))


# -- what goes in comes out ----------------------------------------------------------------------


def test_times_of_categories_are_read_in_a_panel():
    table = pd.DataFrame(
        {
            "unique_id": np.repeat(["a", "b"], 5),
            "ds": np.tile(pd.date_range("2024-01-01", periods=5), 2),
            "y": np.arange(10.0),
        }
    )
    assert read_table(table.astype({"ds": "category"}))[1] == read_table(table)[1]


# An index of text is no time, and an index of integers only numbers the rows of several series.
LEVELS = [name for name in STAMPS if name not in ("ISO text", "date objects")]
CONTAINERS = [
    *(("columns", name) for name in STAMPS),
    *(("index of two levels", name) for name in LEVELS),
    *(("index and column", name) for name in LEVELS if name != "integers"),
]


@pytest.mark.parametrize("series", [1, 3])
@pytest.mark.parametrize(("container", "stamps"), CONTAINERS)
def test_times_of_pandas_panels_go_on_as_they_were(container, stamps, series):
    frame = panel(STAMPS[stamps], series=series, extra=HORIZON)
    if container == "index of two levels":
        frame = frame.set_index(["unique_id", "ds"])
    elif container == "index and column":
        frame = frame.set_index("ds")
    head, tail = split(frame, series)
    forecast = continued(head, tail)
    expected = tail if container != "columns" else tail.reset_index(drop=True)
    pd.testing.assert_frame_equal(forecast, expected)


@pytest.mark.parametrize("levels", [False, True])
@pytest.mark.parametrize("ids", IDS)
def test_ids_of_pandas_panels_keep_their_dtype(ids, levels):
    frame = panel(ids=IDS[ids], extra=HORIZON)
    frame = frame.set_index(["unique_id", "ds"]) if levels else frame
    head, tail = split(frame)
    forecast = continued(head, tail)
    pd.testing.assert_frame_equal(forecast, tail if levels else tail.reset_index(drop=True))
    assert read_table(head)[1].ids == tuple(pd.Index(IDS[ids]).tolist())


@pytest.mark.parametrize("series", [1, 3])
@pytest.mark.parametrize(
    "ids",
    [
        pl.Series(["north", "south", "east"]),
        pl.Series(["north", "south", "east"], dtype=pl.Categorical),
        pl.Series(["north", "south", "east"], dtype=pl.Enum(["west", "south", "east", "north"])),
        pl.Series([70, 7, 13], dtype=pl.UInt16),
        pl.Series([70, 7, 13], dtype=pl.Int64),
    ],
    ids=lambda ids: str(ids.dtype)[:6],
)
@pytest.mark.parametrize(
    "times",
    [
        pl.Series(list(HOURS.to_pydatetime())),
        pl.Series(list(HOURS.to_pydatetime())).dt.replace_time_zone("Europe/Berlin"),
        pl.Series(list(HOURS.to_pydatetime()), dtype=pl.Datetime("ms")),
        pl.date_range(datetime.date(2024, 1, 1), datetime.date(2024, 1, 17), "1d", eager=True),
        pl.Series(list(HOURS.strftime("%Y-%m-%d %H:%M"))),
        pl.Series(range(4, 21), dtype=pl.Int32),
    ],
    ids=["us", "zone", "ms", "dates", "text", "int"],
)
def test_polars_panels_come_out_as_polars_panels(times, ids, series):
    shape = panel(np.arange(17), np.arange(3), series=series, extra=HORIZON)
    frame = pl.DataFrame(
        {
            "ds": times[shape["ds"].tolist()],
            "item_id": ids[shape["unique_id"].tolist()],
            "y": pl.Series(shape["y"], dtype=pl.Float32),
        }
    )
    head, tail = (frame[part.index.tolist()] for part in split(shape, series))
    forecast = continued(head, tail.to_pandas(), freq=None)
    assert isinstance(forecast, pl.DataFrame)
    assert forecast.schema == tail.schema
    # As text: old versions of polars find no two columns of categories equal.
    as_text = pl.col("item_id").cast(pl.String)
    assert forecast.with_columns(as_text).equals(tail.with_columns(as_text))


@pytest.mark.parametrize(
    "order",
    [
        ["unique_id", "ds", "y"],
        ["ds", "unique_id", "y", "z"],
        ["y", "unique_id", "z", "ds"],
        ["y", "ds", "z", "unique_id"],
        ["y", "z", "ds", "unique_id"],
    ],
)
def test_columns_stay_in_their_order_with_their_dtypes(order):
    frame = panel(names=("unique_id", "ds", "y", "z"), extra=HORIZON)[order]
    frame = frame.astype({"y": "float32"})
    head, tail = split(frame)
    values = [name for name in order if name in "yz"]
    forecast = continued(head, tail, values)
    pd.testing.assert_frame_equal(forecast, tail.reset_index(drop=True))
    integers = head.astype({"y": "int64"})
    assert read_table(integers)[1].forecast_table(np.ones((3, 2, len(values))))["y"].dtype == float


def test_other_names_are_given_by_parameter():
    frame = panel(names=("station", "when", "load", "note"), extra=HORIZON)
    head, tail = split(frame)
    forecast = continued(head, tail, ["load"], id_column="station", target="load")
    expected = tail.drop(columns="note").reset_index(drop=True)
    pd.testing.assert_frame_equal(forecast, expected)


def test_a_series_with_an_index_of_two_levels_comes_out_so():
    frame = panel(extra=HORIZON).set_index(["unique_id", "ds"])["y"]
    head, tail = split(frame)
    _, layout = read_table(head)
    forecast = restored(layout).forecast_table(tail.to_numpy().reshape(3, HORIZON, 1))
    pd.testing.assert_series_equal(forecast, tail)
    quantiles = layout.forecast_table(np.ones((3, 2, 1, 2)), (0.1, 0.9))
    assert list(quantiles.columns) == ["q0.1", "q0.9"]
    assert quantiles.index.names == ["unique_id", "ds"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("item_id", "timestamp", "target"), ["item_id", "timestamp", "q0.1", "q0.9"]),
        (
            ("item_id", "timestamp", "a", "b"),
            ["item_id", "timestamp", "a_q0.1", "a_q0.9", "b_q0.1", "b_q0.9"],
        ),
    ],
)
def test_quantiles_of_panels_are_columns(names, expected):
    frame = panel(names=names)
    _, layout = read_table(frame)
    channels = len(names) - 2
    forecast = np.random.default_rng(0).normal(size=(3, HORIZON, channels, 2))
    table = layout.forecast_table(forecast, (0.1, 0.9))
    assert list(table.columns) == expected
    np.testing.assert_array_equal(
        table[expected[2:]].to_numpy(), forecast.reshape(3 * HORIZON, 2 * channels)
    )
    polars = read_table(pl.from_pandas(frame))[1].forecast_table(forecast, (0.1, 0.9))
    assert polars.columns == expected


# -- reading -------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 13), min_size=1, max_size=7),
    seed=st.integers(0, 2**32 - 1),
    freq=st.sampled_from(["h", "D", "B", "MS", "7min"]),
)
def test_reading_does_not_depend_on_the_order_of_rows(lengths, seed, freq):
    rng = np.random.default_rng(seed)
    stamps = pd.date_range("2024-01-01", periods=20, freq=freq)
    parts = [
        pd.DataFrame(
            {
                "unique_id": f"s{number}",
                "ds": stamps[(start := int(rng.integers(0, 7))) : start + length],
                "y": rng.normal(size=length),
                "x": rng.normal(size=length),
                "kind": rng.choice(["a", "b"]),
            }
        )
        for number, length in enumerate(lengths)
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame.loc[rng.random(len(frame)) < 0.2, "x"] = np.nan
    options = {
        "freq": freq,
        "target": "y",
        "future_covariates": "x",
        "static_covariates": "kind",
    }
    plain, layout = read_table(frame, **options)
    mixed, mixed_layout = read_table(frame.iloc[rng.permutation(len(frame))], **options)
    back = layout.positions_of(mixed_layout, "mixed")
    mixed, mixed_layout = mixed.select(back), mixed_layout.select(back)
    assert mixed_layout == layout
    np.testing.assert_array_equal(mixed.lengths, plain.lengths)
    np.testing.assert_array_equal(mixed.values, plain.values)
    np.testing.assert_array_equal(mixed.known.values, plain.known.values)
    np.testing.assert_array_equal(mixed.known.observed, plain.known.observed)
    np.testing.assert_array_equal(mixed.static, plain.static)
    for number in range(len(parts)):
        part = frame[frame["unique_id"] == f"s{number}"]
        alone, _ = read_table(part, **{**options, "static_covariates": None})
        one = plain.select(np.array([number]))
        np.testing.assert_array_equal(alone.values, one.values)
        np.testing.assert_array_equal(alone.known.values, one.known.values)


def test_series_come_in_the_order_in_which_their_ids_appear():
    frame = panel().iloc[[13, 0, 12, 19, 1, 2, 11]]
    series, layout = read_table(frame, freq="h")
    assert layout.ids == ("south", "north", "east")
    assert series.lengths.tolist() == [3, 3, 1]
    assert series.values.ravel().tolist() == [11, 12, 13, 0, 1, 2, 19]


def test_more_series_than_sixteen_bits_count_are_kept_apart():
    n = 70_001
    frame = pd.DataFrame(
        {
            "unique_id": np.tile(np.arange(n)[::-1], 3),
            "ds": np.repeat(HOURS[[2, 0, 1]], n),
            "y": np.arange(3.0 * n),
        }
    )
    series, layout = read_table(frame)
    assert layout.ids[:2] == (n - 1, n - 2)
    np.testing.assert_array_equal(series.values.reshape(n, 3)[7], np.array([n + 7, 2 * n + 7, 7.0]))


def test_missing_values_of_panels_are_not_observed():
    frame = panel(names=("unique_id", "ds", "y", "z")).sample(frac=1, random_state=3)
    frame.loc[[4, 12], "z"] = np.nan
    series, _ = read_table(frame)
    by_row = series.values[:, 0].astype(int)
    assert sorted(by_row[~series.observed[:, 1]].tolist()) == [4, 12]
    assert series.observed[:, 0].all()
    assert (series.values[~series.observed] == 0).all()
    null = pl.from_pandas(frame)
    np.testing.assert_array_equal(read_table(null)[0].observed, series.observed)


def test_short_series_are_read_beside_longer_ones():
    frame = panel(STAMPS["business days"])
    _, layout = read_table(frame)
    assert layout.freq == "B"
    assert read_table(frame, freq="B")[1] == layout


def test_series_may_be_out_of_phase():
    days = pd.date_range("2024-01-01", periods=11, tz="Europe/Berlin")
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat(["midnight", "six", "noon"], 11),
            "ds": days.append([days + pd.Timedelta("6h"), days + pd.Timedelta("12h")]),
            "y": np.arange(33.0),
        }
    )
    _, layout = read_table(frame)
    assert layout.freq == "D"
    after = layout.forecast_table(np.ones((3, 1, 1)))["ds"]
    assert [str(stamp) for stamp in after] == [
        "2024-01-12 00:00:00+01:00",
        "2024-01-12 06:00:00+01:00",
        "2024-01-12 12:00:00+01:00",
    ]


@pytest.mark.parametrize(
    ("zones", "after"),
    [
        (["Z"], "2024-01-26T00:00:00Z"),
        (["+00:00"], "2024-01-26T00:00:00+00:00"),
        (["Z", "+00:00"], "2024-01-26T00:00:00+00:00"),
        (["+01:00"], "2024-01-26T00:00:00+01:00"),
    ],
)
def test_offsets_are_written_as_they_were(zones, after):
    days = pd.date_range("2024-01-01", periods=25).strftime("%Y-%m-%dT%H:%M:%S")
    texts = [f"{day}{zones[i % len(zones)]}" for i, day in enumerate(days)]
    frame = pd.DataFrame({"ds": texts, "y": np.arange(25.0)})
    _, layout = read_table(frame, time_column="ds")
    assert layout.forecast_table(np.ones((1, 1, 1)))["ds"].tolist() == [after]
    again, _ = read_time_column(frame["ds"], "column 'ds'", layout.time_form)
    assert again[0] == pd.Timestamp(texts[0])


def test_dates_of_panels_with_the_day_first_are_read_by_their_even_steps():
    days = pd.date_range("2024-01-01", periods=25).strftime("%d/%m/%Y")
    frame = pd.DataFrame(
        {"unique_id": np.repeat(["a", "b"], 25), "ds": np.tile(days, 2), "y": np.arange(50.0)}
    ).sample(frac=1, random_state=1)
    _, layout = read_table(frame)
    assert layout.forecast_table(np.ones((2, 1, 1)))["ds"].tolist() == ["26/01/2024"] * 2


def test_a_wide_frame_and_its_long_form_hold_the_same_numbers():
    wide = pd.DataFrame(np.arange(22.0).reshape(11, 2), HOURS[:11], columns=["a", "b"])
    long = wide.rename_axis("ds").reset_index().melt("ds", var_name="item_id", value_name="y")
    series, layout = read_table(long)
    np.testing.assert_array_equal(series.values.reshape(2, 11).T, read_table(wide)[0].values)
    assert layout.ids == ("a", "b")
    assert read_table(wide)[1].ids == ()


def test_panels_keep_their_part_when_series_are_selected():
    frame = panel()
    _, layout = read_table(frame)
    part = layout.select(np.array([2, 0]))
    table = part.forecast_table(np.ones((2, 1, 1)))
    assert table["unique_id"].tolist() == ["east", "north"]
    assert table["ds"].tolist() == [HOURS[7], HOURS[11]]


def test_reading_leaves_a_panel_alone():
    frame = panel().sample(frac=1, random_state=0)
    frame.loc[3, "y"] = np.nan
    before = frame.copy(deep=True)
    series, _ = read_table(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert not np.shares_memory(series.values, frame["y"].to_numpy())


def test_a_layout_saved_before_there_were_panels_is_read():
    frame = pd.DataFrame({"a": np.arange(5.0)}, HOURS[:5])
    _, layout = read_table(frame)
    saved = layout.to_dict()
    for new in ("ids", "id_column", "covariates"):
        del saved[new]
    assert Layout.from_dict(saved) == layout


def test_arrays_of_several_series_have_positions_as_ids():
    assert read_table(np.ones((3, 5, 2)))[1].ids == (0, 1, 2)
