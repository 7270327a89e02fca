"""What a forecaster is given comes out again: container, columns, dtypes, ids, index and time."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from tiny_fits import tiny

from titans_ts import DataError, ParameterError, RidgeForecaster

HORIZON, LEVELS = 5, (0.1, 0.5, 0.9)
LENGTHS = {"south": 67, "north": 53, "east": 41}
NAMES = ["HUFL", "OT", "MULL"]
# Each forecast begins some hours before 2:00, when summer time begins.
BERLIN = pd.date_range("2024-03-28 06:00", periods=48, freq="h", tz="Europe/Berlin")


def forecasters():
    return {
        "titans": tiny(
            horizon=HORIZON,
            context_length=32,
            quantiles=LEVELS,
            trainer_kwargs={"limit_train_batches": 2, "limit_val_batches": 1},
        ),
        "ridge": RidgeForecaster(horizon=HORIZON, context_length=16),
    }


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape)


def wide(index, dtype="float64"):
    return pd.DataFrame(numbers(len(index), 3), index=index, columns=NAMES).astype(dtype)


def with_dates(index, dtype="float64"):
    frame = wide(index, dtype).reset_index(drop=True)
    frame.insert(1, "date", index)
    return frame


def long(stamps=None, names=("unique_id", "ds", "y"), dtype="float64", ids=None):
    """Series one after another, of unequal lengths; all end at the same time."""
    if stamps is None:
        stamps = pd.date_range("2024-03-20 03:00", periods=67, freq="h", tz="Europe/Berlin")
    parts = []
    for number, (name, length) in enumerate(LENGTHS.items()):
        part = pd.DataFrame({names[0]: [name if ids is None else ids[number]] * length})
        part[names[1]] = stamps[-length:]
        for label in names[2:]:
            part[label] = np.sin(np.arange(length) / 3) + number
        parts.append(part.astype(dict.fromkeys(names[2:], dtype)))
    return pd.concat(parts, ignore_index=True)


def split(table):
    """The rows before the last ``HORIZON`` of each series, and those."""
    if isinstance(table, np.ndarray) and table.ndim == 3:
        return table[:, :-HORIZON], table[:, -HORIZON:]
    if isinstance(table, pl.DataFrame) and "unique_id" in table.columns:
        last = pl.int_range(pl.len()).over("unique_id") >= pl.len().over("unique_id") - HORIZON
        return table.filter(~last), table.filter(last)
    if isinstance(table, pd.DataFrame):
        ids = table.index.names[0] if table.index.nlevels == 2 else None
        ids = ids or next((i for i in ("unique_id", "item_id", "shop") if i in table), None)
        if ids is not None:
            last = table.groupby(ids, sort=False).cumcount(ascending=False) < HORIZON
            last = last.to_numpy()
            if table.index.nlevels == 2:
                return table[~last], table[last]
            return table[~last], table[last].reset_index(drop=True)
        if "date" in table:
            return table[:-HORIZON], table[-HORIZON:].reset_index(drop=True)
    return table[:-HORIZON], table[-HORIZON:]


TABLES = {
    "array": (numbers(61, 3), {}),
    "array of float32": (numbers(61, 3).astype("float32"), {}),
    "array of one series": (numbers(1, 61, 3), {}),
    "array of series": (numbers(7, 61, 3).astype("float32"), {}),
    "frame into summer time": (wide(BERLIN.rename("time"), "float32"), {}),
    "frame of months": (wide(pd.date_range("2000-01-31", periods=61, freq="ME")), {}),
    "frame of periods": (wide(pd.period_range("2001-01", periods=61, freq="M", name="m")), {}),
    "frame of mixed dtypes": (
        wide(pd.RangeIndex(3, 125, 2)).astype({"HUFL": "float32", "MULL": "float16"}),
        {},
    ),
    "frame with a time column": (with_dates(BERLIN, "float32"), {}),
    "frame with targets by name": (wide(BERLIN), {"target": ["OT", "HUFL"]}),
    "series": (wide(BERLIN, "float32")["OT"], {}),
    "series without a name": (pd.Series(numbers(61)), {}),
    "polars frame": (pl.from_pandas(with_dates(BERLIN, "float32")), {}),
    "polars series": (pl.Series("OT", numbers(61)), {}),
    "long": (long(), {}),
    "long of float32": (long(dtype="float32"), {}),
    "long of one series": (long()[: LENGTHS["south"]], {}),
    "long of two targets": (long(names=("unique_id", "ds", "y", "z")), {}),
    "long as other libraries have it": (long(names=("item_id", "timestamp", "target")), {}),
    "long with names of one's own": (
        long(names=("shop", "day", "sales")),
        {"id_column": "shop", "time_column": "day", "target": "sales"},
    ),
    "long with numbers as ids": (long(ids=(70, 7, 13)), {}),
    "long with categories as ids": (
        long().astype({"unique_id": pd.CategoricalDtype(["west", "south", "east", "north"])}),
        {},
    ),
    "long of days": (long(pd.date_range("2024-01-01", periods=67)), {}),
    "long of business days": (long(pd.date_range("2024-01-01", periods=67, freq="B")), {}),
    "long of counted steps": (long(pd.RangeIndex(11, 11 + 67)), {}),
    "two levels": (long(names=("shop", "time", "y")).set_index(["shop", "time"]), {}),
    "two levels of one series": (
        long(names=("shop", "time", "y"))[:67].set_index(["shop", "time"]),
        {},
    ),
    "polars long": (pl.from_pandas(long(dtype="float32")), {}),
    "polars long of one series": (pl.from_pandas(long()[:67]), {}),
}


def assert_alike(table, expected):
    """Of the same form; values may differ."""
    assert type(table) is type(expected)
    if isinstance(table, np.ndarray):
        assert table.shape == expected.shape
        assert table.dtype == expected.dtype
    elif isinstance(table, pl.DataFrame):
        assert table.schema == expected.schema
        fixed = [name for name in table.columns if name in ("unique_id", "date", "ds")]
        assert table.select(fixed).equals(expected.select(fixed))
    elif isinstance(table, pl.Series):
        assert (table.name, table.dtype, len(table)) == (
            expected.name,
            expected.dtype,
            len(expected),
        )
    elif isinstance(table, pd.Series):
        assert table.name == expected.name
        assert table.dtype == expected.dtype
        pd.testing.assert_index_equal(table.index, expected.index, exact=True)
    else:
        pd.testing.assert_index_equal(table.columns, expected.columns)
        pd.testing.assert_series_equal(table.dtypes, expected.dtypes)
        pd.testing.assert_index_equal(table.index, expected.index, exact=True)
        fixed = [c for c in table if c in {"unique_id", "item_id", "shop", "date"}]
        fixed += [c for c in table if c in {"ds", "timestamp", "day"}]
        pd.testing.assert_frame_equal(table[fixed], expected[fixed])
        if isinstance(table.index, pd.DatetimeIndex):
            assert table.index.freq == expected.index.freq


def values_of(table):
    """The forecast's numbers, whatever holds them."""
    if isinstance(table, (np.ndarray, pd.Series, pl.Series)):
        return np.asarray(table, dtype=np.float64)
    known = {"unique_id", "item_id", "shop", "date", "ds", "timestamp", "day"}
    return np.stack([np.asarray(table[c]) for c in table.columns if c not in known], axis=-1)


BY_TITANS = [
    "array",
    "array of series",
    "frame into summer time",
    "frame of mixed dtypes",
    "series",
]
BY_TITANS += ["polars frame", "long", "long of two targets", "two levels", "polars long"]
CASES = [(name, "ridge") for name in TABLES] + [(name, "titans") for name in BY_TITANS]


@pytest.mark.parametrize(("name", "forecaster"), CASES)
def test_what_goes_in_comes_out(name, forecaster, tmp_path):
    table, options = TABLES[name]
    before, after = split(table)
    if "target" in options and "id_column" not in options:
        after = after[options["target"]]
    fitted = forecasters()[forecaster].set_params(**options).fit(before)
    forecast = fitted.predict()
    assert_alike(forecast, after)
    assert np.isfinite(values_of(forecast)).all()
    # What fit kept is as good as the table itself.
    assert_same(fitted.predict(before), forecast)

    levels = values_of(fitted.predict(before, quantiles=LEVELS))
    n = len(LEVELS)
    assert levels.size == n * values_of(forecast).size
    by_level = levels.reshape(-1, n)
    assert (np.diff(by_level, axis=1) >= 0).all()
    if forecaster == "titans":  # it was trained for its median
        np.testing.assert_array_equal(by_level[:, 1], values_of(forecast).reshape(-1))

    score = fitted.score(table)
    assert -10 < score < 0
    fitted.save(tmp_path / "model")
    loaded = type(fitted).load(tmp_path / "model")
    assert_same(loaded.predict(), forecast)
    assert_same(loaded.predict(before), forecast)
    assert loaded.score(table) == score


def assert_same(table, expected):
    assert_alike(table, expected)
    np.testing.assert_array_equal(values_of(table), values_of(expected))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_quantiles_of_a_panel_are_named_columns_between_the_same_ids_and_times(library):
    before, after = split(long(names=("unique_id", "ds", "y", "z"), dtype="float32"))
    before = before if library == "pandas" else pl.from_pandas(before)
    levels = RidgeForecaster(horizon=HORIZON).fit(before).predict(quantiles=[0.1, 0.9])
    assert list(levels.columns) == ["unique_id", "ds", "y_q0.1", "y_q0.9", "z_q0.1", "z_q0.9"]
    if library == "polars":
        assert levels.schema["y_q0.1"] == pl.Float32
        levels = levels.to_pandas()
    pd.testing.assert_frame_equal(levels[["unique_id", "ds"]], after[["unique_id", "ds"]])


def test_a_forecast_skips_the_hour_that_summer_time_skips():
    later = RidgeForecaster(horizon=30).fit(wide(BERLIN)).predict().index
    assert later[0] == pd.Timestamp("2024-03-30 06:00", tz="Europe/Berlin")
    hours = [stamp.hour for stamp in later if stamp.day == 31]
    assert hours == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]


def test_integers_are_forecast_as_fractions():
    counts = pd.DataFrame({"sold": np.arange(41) % 5, "flag": np.arange(41, dtype="int8") % 3})
    forecast = RidgeForecaster(horizon=3).fit(counts).predict()
    assert forecast.dtypes.tolist() == ["float64", "float64"]


def test_rows_of_a_forecast_are_in_the_order_of_the_table_that_is_continued():
    table, _ = split(long())
    fitted = RidgeForecaster(horizon=HORIZON).fit(table)
    assert fitted.predict()["unique_id"].unique().tolist() == ["south", "north", "east"]
    turned = pd.concat([part for _, part in table.groupby("unique_id")], ignore_index=True)
    forecast = fitted.predict(turned)
    assert forecast["unique_id"].unique().tolist() == ["east", "north", "south"]
    expected = fitted.predict().sort_values(["unique_id", "ds"], ignore_index=True)
    pd.testing.assert_frame_equal(forecast, expected)


@pytest.mark.parametrize("other", ["pandas", "polars", "two levels"])
def test_another_container_than_in_fit_gives_the_same_numbers_in_that_container(other):
    table, after = split(long())
    fitted = forecasters()["titans"].fit(table)
    X = {
        "pandas": table,
        "polars": pl.from_pandas(table),
        "two levels": table.set_index(["unique_id", "ds"]),
    }[other]
    forecast = fitted.predict(X)
    assert type(forecast) is type(X)
    np.testing.assert_array_equal(np.asarray(forecast["y"]), fitted.predict()["y"])
    if other == "two levels":
        expected = after.set_index(["unique_id", "ds"]).index
        pd.testing.assert_index_equal(forecast.index, expected)


def test_an_array_and_a_frame_of_the_same_numbers_have_the_same_forecast():
    frame = wide(BERLIN)
    by_frame = RidgeForecaster(horizon=HORIZON).fit(frame).predict()
    by_array = RidgeForecaster(horizon=HORIZON).fit(frame.to_numpy()).predict()
    np.testing.assert_array_equal(by_frame.to_numpy(), by_array)


def test_fitting_and_predicting_leave_the_table_alone():
    table, _ = split(long())
    table = table.sample(frac=1, random_state=0)
    table.loc[table.index[::11], "y"] = np.nan
    before = table.copy(deep=True)
    fitted = RidgeForecaster(horizon=HORIZON).fit(table)
    fitted.predict(table)
    fitted.score(table)
    pd.testing.assert_frame_equal(table, before)


def test_what_fit_keeps_is_no_view_of_the_table():
    values = numbers(61, 2)
    fitted = RidgeForecaster(horizon=HORIZON, context_length=16).fit(values)
    forecast = fitted.predict()
    values[:] = 1e6
    np.testing.assert_array_equal(fitted.predict(), forecast)


def test_columns_named_by_numbers_may_not_change_places():
    days = pd.date_range("2024-01-01", periods=60)
    for labels in ([0, 1], ["a", 1]):
        table = pd.DataFrame(numbers(60, 2) * [1, 100], index=days, columns=labels)
        ridge = RidgeForecaster(horizon=HORIZON, context_length=16).fit(table)
        with pytest.raises(DataError, match="Give the same columns in the same order"):
            ridge.predict(table[labels[::-1]])
        ridge.predict(table.to_numpy())  # which has no labels
    fitted = RidgeForecaster(horizon=HORIZON, context_length=16).fit(table.to_numpy())
    assert len(fitted.predict(table[labels[::-1]])) == HORIZON


@pytest.mark.parametrize("learner", [RidgeForecaster, tiny])
def test_another_horizon_after_fit_asks_for_another_fit(learner, tmp_path):
    table = numbers(80, 1)
    forecaster = learner(horizon=6, context_length=16).fit(table)
    forecaster.set_params(horizon=3)
    for ask in (
        forecaster.predict,
        lambda: forecaster.predict(table),
        lambda: forecaster.score(table),
        lambda: forecaster.save(tmp_path / "model"),
    ):
        with pytest.raises(ParameterError, match="horizon was 6 in fit and is 3 now"):
            ask()
    assert not list(tmp_path.iterdir())
    assert len(forecaster.set_params(horizon=6).predict()) == 6
    assert len(forecaster.set_params(horizon=3).fit(table).predict()) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(extra=1.0), r"X has 3 features.* expecting 2 .* \(more: 'extra'\)"),
        (lambda t: t[["a"]], r"X has 1 features.* expecting 2 .* \(missing: 'b'\)"),
    ],
    ids=["more", "fewer"],
)
def test_columns_too_many_or_too_few_are_named(change, words):
    table = pd.DataFrame(numbers(80, 2), columns=["a", "b"])
    forecaster = RidgeForecaster(horizon=6, context_length=16).fit(table)
    with pytest.raises(DataError, match=words):
        forecaster.predict(change(table))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"calendar": False}, "calendar was True in fit and is False now"),
        ({"calendar": ["day_of_week"]}, r"calendar was True in fit and is \['day_of_week'\] now"),
        ({"past_covariates": None}, r"past_covariates was \['kind'\] in fit and is None now"),
        ({"loss": "mse"}, "loss was 'mae' in fit and is 'mse' now"),
    ],
    ids=str,
)
def test_what_shapes_a_fit_cannot_change_after_it(changes, sentence, tmp_path):
    time = pd.date_range("2024-01-01", periods=80, freq="h", name="time")
    table = pd.DataFrame({"y": np.arange(80.0) % 7, "kind": ["a", "b"] * 40}, index=time)
    roles = {"past_covariates": ["kind"], "calendar": True}
    forecaster = tiny(horizon=6, context_length=16, loss="mae", **roles).fit(table)
    before = forecaster.set_params(past_covariates="kind").predict(table)  # the same in other words
    asked = forecaster.get_params()
    forecaster.set_params(**changes)
    for ask in (
        forecaster.predict,
        lambda: forecaster.predict(table),
        lambda: forecaster.score(table),
        lambda: forecaster.save(tmp_path / "model"),
    ):
        with pytest.raises(ParameterError, match=sentence):
            ask()
    assert not list(tmp_path.iterdir())
    pd.testing.assert_frame_equal(forecaster.set_params(**asked).predict(table), before)


def counted(kind):
    """Rows labelled 0, 10, 20..., and what names their time."""
    labels = np.arange(0, 670, 10)
    if kind == "index":
        return wide(pd.Index(labels, name="t")), {}
    if kind == "long":
        return long(labels), {"time_column": "ds"}
    frame = with_dates(labels)
    return (pl.from_pandas(frame) if kind == "polars" else frame), {"time_column": "date"}


@pytest.mark.parametrize("kind", ["index", "column", "polars", "long"])
def test_one_row_goes_on_by_the_step_of_the_integers_of_fit(kind):
    table, names = counted(kind)
    model = RidgeForecaster(horizon=3, context_length=5, **names).fit(table)
    row = table.groupby("unique_id", sort=False).tail(1) if kind == "long" else table[-1:]
    expected, found = model.predict(), model.predict(row)
    labels = (lambda f: f.index) if kind == "index" else (lambda f: f[model.time_column])
    assert list(labels(found)) == list(labels(expected))
    assert list(labels(found))[:3] == [670, 680, 690]
    if kind != "polars":
        assert list(labels(model.make_future_dataframe(row))) == list(labels(expected))


@pytest.mark.parametrize("kind", ["index", "column", "polars", "long"])
def test_integers_with_another_step_than_those_of_fit_are_refused(kind):
    table, names = counted(kind)
    model = RidgeForecaster(horizon=3, context_length=5, **names).fit(table)
    every = (
        table.groupby("unique_id", sort=False).nth(slice(None, None, 2))
        if kind == "long"
        else table[::2]
    )
    message = r"fitted on labels with a step of 10, but those in .* come every 20 \(the first two"
    with pytest.raises(DataError, match=message):
        model.predict(every)


@pytest.mark.parametrize("kind", ["index", "nullable index", "column", "polars", "long"])
def test_labels_that_outgrow_their_integers_go_on_in_wider_ones(kind):
    labels = np.arange(61, 128, dtype="int8")
    table = with_dates(labels)
    if kind == "long":
        table = long(labels, names=("unique_id", "date", "y"))
    if "index" in kind:
        index = pd.Index(labels, dtype="Int8" if kind == "nullable index" else "int8")
        table = table.drop(columns="date").set_axis(index)
    table = pl.from_pandas(table) if kind == "polars" else table
    names = {} if "index" in kind else {"time_column": "date"}
    model = RidgeForecaster(horizon=3, context_length=5, **names).fit(table)
    after, within = (
        forecast.index if "index" in kind else forecast["date"]
        for forecast in (model.predict(), model.predict(table[:20]))
    )
    assert list(after)[:3] == [128, 129, 130]
    assert str(within.dtype).lower() == "int8"


def test_few_dates_are_read_as_the_many_of_fit_were_written():
    days = pd.date_range("2024-01-01", periods=60)
    table = pd.DataFrame({"date": days.strftime("%d/%m/%Y"), "y": numbers(60)})
    ridge = RidgeForecaster(horizon=2, context_length=16).fit(table, validation=0)
    assert ridge.predict(table[:1])["date"].tolist() == ["02/01/2024", "03/01/2024"]
    assert ridge.predict(table[:8])["date"].tolist() == ["09/01/2024", "10/01/2024"]
    later = RidgeForecaster(horizon=2, context_length=16).fit(table[:57], validation=table[57:])
    assert later.predict()["date"].tolist() == ridge.predict(table[:57])["date"].tolist()
