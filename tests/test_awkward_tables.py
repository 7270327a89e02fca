"""Awkward tables that are read, as the user guide says on its page on tables."""

import datetime
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from malformed import HORIZON, HOURS, ROWS, ahead, changed, dated, fitted, long, ridge, wide

NUMBERS = np.sin(np.arange(ROWS) / 2) * 100 // 1  # whole, so that every dtype holds them
MISSING = np.where(np.isin(np.arange(ROWS), [4, 9]), np.nan, NUMBERS)
PLAIN = (lambda: wide(OT=NUMBERS), {})
GAPPY = (lambda: wide(OT=MISSING), {})

# Each table with one that means the same, and what to say of it.
ALIKE = {
    "numbers in an object column": (lambda: wide(OT=NUMBERS.astype(object)), {}, PLAIN),
    "whole and other numbers mixed": (
        lambda: wide(OT=np.array([int(x) if i % 2 else x for i, x in enumerate(NUMBERS)], object)),
        {},
        PLAIN,
    ),
    "decimals": (
        lambda: wide(OT=np.array([decimal.Decimal(str(x)) for x in NUMBERS], object)),
        {},
        PLAIN,
    ),
    "16 bits": (lambda: wide(OT=NUMBERS.astype(np.float16)), {}, PLAIN),
    "long doubles": (lambda: wide(OT=NUMBERS.astype(np.longdouble)), {}, PLAIN),
    "small integers": (lambda: wide(OT=NUMBERS.astype(np.int8)), {}, PLAIN),
    "nullable integers": (lambda: wide().assign(OT=pd.array(NUMBERS, "Int64")), {}, PLAIN),
    "sparse": (lambda: wide().assign(OT=pd.arrays.SparseArray(NUMBERS)), {}, PLAIN),
    "None": (
        lambda: wide(OT=np.array([None if np.isnan(x) else x for x in MISSING], object)),
        {},
        GAPPY,
    ),
    "NA of nullable integers": (
        lambda: wide().assign(OT=pd.array([None if np.isnan(x) else x for x in MISSING], "Int64")),
        {},
        GAPPY,
    ),
    "missing decimals": (
        lambda: wide(
            OT=np.array([decimal.Decimal(x) if x == x else decimal.Decimal("NaN") for x in MISSING])
        ),
        {},
        GAPPY,
    ),
    "null of polars": (
        lambda: pl.from_pandas(wide(OT=MISSING).reset_index(), nan_to_null=True),
        {},
        (lambda: pl.from_pandas(wide(OT=MISSING).reset_index()), {}),
    ),
    "a masked array": (
        lambda: np.ma.masked_invalid(wide(OT=MISSING).to_numpy()),
        {},
        (lambda: wide(OT=MISSING).to_numpy(), {}),
    ),
    "lists of rows": (
        lambda: wide(OT=NUMBERS).to_numpy().tolist(),
        {},
        (lambda: wide(OT=NUMBERS).to_numpy(), {}),
    ),
    "an array of objects": (
        lambda: wide(OT=NUMBERS).to_numpy().astype(object),
        {},
        (lambda: wide(OT=NUMBERS).to_numpy(), {}),
    ),
    "columns without use": (
        lambda: wide(OT=NUMBERS, note=["x"] * ROWS, bad=np.full(ROWS, np.inf)),
        {"target": ["HUFL", "OT"]},
        PLAIN,
    ),
    "rows of a panel in any order": (
        lambda: long().sample(frac=1, random_state=3).sort_values("unique_id", kind="stable"),
        {"target": "y"},
        (long, {"target": "y"}),
    ),
    "integer ids": (
        lambda: long(ids=(70, 7)),
        {"target": "y"},
        (lambda: long(ids=("70", "7")), {"target": "y"}),
    ),
    "ids of several types": (
        lambda: long(ids=("north", 7)),
        {"target": "y"},
        (long, {"target": "y"}),
    ),
    "ids by category, one without rows": (
        lambda: long().assign(
            unique_id=lambda x: pd.Categorical(x["unique_id"], ["east", "south", "north"])
        ),
        {"target": "y"},
        (long, {"target": "y"}),
    ),
    "ids and times as index": (
        lambda: long().set_index(["unique_id", "ds"]),
        {"target": "y"},
        (long, {"target": "y"}),
    ),
    "two days of text, the day first": (
        lambda: dated(HOURS.strftime("%d/%m/%Y %H:%M"), OT=NUMBERS),
        {},
        PLAIN,
    ),
    "text with offsets that change": (
        lambda: dated(
            [
                s.isoformat()
                for s in pd.date_range("2024-03-31", periods=ROWS, freq="h", tz="Europe/Berlin")
            ],
            OT=NUMBERS,
        ),
        {},
        PLAIN,
    ),
    "the hour that comes twice, with its zone": (
        lambda: wide(
            pd.date_range("2024-10-27", periods=ROWS, freq="h", tz="Europe/Berlin"), OT=NUMBERS
        ),
        {},
        PLAIN,
    ),
    "days as dates": (
        lambda: dated(pd.date_range("2024-01-01", periods=ROWS).date, OT=NUMBERS),
        {},
        PLAIN,
    ),
    "periods": (
        lambda: wide(pd.period_range("2024-01", periods=ROWS, freq="M"), OT=NUMBERS),
        {},
        PLAIN,
    ),
    "years that are counted": (
        lambda: dated(np.arange(1990, 1990 + ROWS), OT=NUMBERS),
        {"time_column": "date"},
        PLAIN,
    ),
    "Unix seconds that are counted": (
        lambda: dated(HOURS.as_unit("s").asi8, OT=NUMBERS),
        {"time_column": "date"},
        PLAIN,
    ),
    "growing numbers that are to be forecast": (
        lambda: dated(1.0 * np.arange(ROWS)),
        {"target": ["date", "OT"]},
        (lambda: wide(a=1.0 * np.arange(ROWS)), {"target": ["a", "OT"]}),
    ),
    "column names that are numbers": (lambda: wide(OT=NUMBERS).set_axis([7, 3], axis=1), {}, PLAIN),
}


def numbers(table):
    """The numbers of a forecast, of whatever kind it is."""
    if isinstance(table, pl.DataFrame):
        table = table.to_pandas()
    if isinstance(table, pd.DataFrame):
        floats = [column for column in table if pd.api.types.is_float_dtype(table[column])]
        return table[floats].to_numpy(float)
    return np.asarray(table, float)


@pytest.mark.parametrize("name", ALIKE)
def test_an_awkward_table_is_read_as_the_plain_one_that_it_means(name):
    make, options, (plain, plain_options) = ALIKE[name]
    X = make()
    forecast = ridge(**options).fit(X).predict()
    expected = ridge(**plain_options).fit(plain()).predict()
    # 16 bits of a forecast are three digits.
    tolerance = 1e-2 if name == "16 bits" else 1e-9
    np.testing.assert_allclose(numbers(forecast), numbers(expected), rtol=tolerance, atol=tolerance)


def test_times_go_on_as_they_were_written():
    def ends(times, **options):
        return ridge(**options).fit(dated(times)).predict()["date"].tolist()

    assert ends(HOURS.strftime("%d/%m/%Y %H:%M"))[0] == "14/01/2024 19:00"
    assert ends(pd.date_range("2024-01-01", periods=ROWS).date)[0] == datetime.date(2024, 1, 24)
    assert ends(np.arange(1990, 1990 + ROWS), time_column="date") == [2013, 2014, 2015]
    seconds = HOURS.as_unit("s").asi8
    assert ends(seconds, time_column="date")[0] == seconds[-1] + 3600


def test_whole_numbers_beyond_53_bits_are_rounded_to_the_nearest_float():
    large = 2**53 + 1 + 2 * np.arange(ROWS)
    forecast = ridge().fit(wide(OT=large)).predict()
    expected = ridge().fit(wide(OT=large.astype(float))).predict()
    pd.testing.assert_frame_equal(forecast, expected)


def test_a_series_without_any_value_is_left_out_of_learning_and_gets_a_finite_forecast():
    X = long(y=np.concatenate([np.sin(np.arange(ROWS)), np.full(ROWS, np.nan)]))
    beside = ridge(target="y").fit(X).predict()
    alone = ridge(target="y").fit(X[:ROWS]).predict()
    pd.testing.assert_frame_equal(beside[:HORIZON], alone)
    assert np.isfinite(beside["y"]).all()
    assert beside["unique_id"].tolist() == ["north"] * HORIZON + ["south"] * HORIZON


def test_a_table_of_another_zone_is_forecast_in_its_own():
    X = wide(HOURS.tz_localize("Asia/Tokyo"))
    forecast = fitted("wide").predict(X)
    assert str(forecast.index.tz) == "Asia/Tokyo"
    np.testing.assert_array_equal(forecast, fitted("wide").predict(wide()))
    forecast = fitted("in Berlin").predict(wide())
    assert forecast.index.tz is None


def test_columns_without_names_are_taken_by_position():
    forecast = fitted("wide").predict(wide().to_numpy())
    np.testing.assert_array_equal(forecast, fitted("wide").predict(wide()))
    by_number = fitted("wide").predict(wide().set_axis([0, 1], axis=1))
    assert by_number.columns.tolist() == [0, 1]


def test_series_that_fit_has_not_seen_and_short_ones_are_forecast():
    X = long(HOURS[:2], ("north", "moon"))
    forecast = fitted("panel").predict(X[["unique_id", "ds", "y"]])
    assert forecast["unique_id"].tolist() == ["north"] * HORIZON + ["moon"] * HORIZON
    assert np.isfinite(forecast["y"]).all()


def test_a_future_may_have_more_rows_and_columns_in_any_order():
    forecaster = fitted("covariates")
    expected = forecaster.predict(long(), future=ahead())
    strangers = ahead(unique_id="moon", warmth=99.0).drop_duplicates("ds")
    earlier = long()[ahead().columns].assign(warmth=-99.0)
    future = pd.concat([earlier, strangers, ahead()]).sample(frac=1, random_state=5)
    future = future.assign(note="x")[["note", *future.columns[::-1]]]
    pd.testing.assert_frame_equal(forecaster.predict(long(), future=future), expected)


def test_missing_covariates_are_missing_and_not_refused():
    forecaster = fitted("covariates")
    X = changed(changed(long(), "price", 30, None), "day", 31, None)
    future = changed(ahead(), "warmth", 2, np.nan)
    assert np.isfinite(forecaster.predict(X, future=future)["y"]).all()
