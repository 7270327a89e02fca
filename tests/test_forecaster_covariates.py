"""Covariates: they help where they should, reach nothing else, and are asked for when missing."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from tiny_fits import tiny

from titans_ts import RidgeForecaster, TitansForecaster
from titans_ts.data.windows import WindowIndex
from titans_ts.errors import DataError, ParameterError
from titans_ts.model_selection import RollingOriginSplit, forecast_scorer

HORIZON, CONTEXT = 5, 32
QUICK = {"limit_train_batches": 2, "limit_val_batches": 1}
LENGTHS = (67, 53, 41)
PAST = ["heat", "open", "wind"]
KNOWN = ["price", "sale", "event"]
STATIC = ["size", "new", "region"]
EVENTS = np.array(["none", "easter", "strike"], dtype=object)


def panel(lengths=LENGTHS, seed=0):
    """Series with covariates of each role and kind."""
    rng = np.random.default_rng(seed)
    parts = []
    for number, n in enumerate(lengths):
        columns = {
            "unique_id": f"s{number}",
            "ds": pd.date_range("2024-03-25", periods=n, freq="h", tz="Europe/Berlin"),
            "y": np.sin(np.arange(n) / 3) + 0.1 * rng.normal(size=n) + number,
            "heat": rng.normal(size=n),
            "open": rng.random(n) < 0.5,
            "wind": EVENTS[rng.integers(3, size=n)],
            "price": 10 + rng.normal(size=n),
            "sale": rng.random(n) < 0.3,
            "event": EVENTS[rng.integers(3, size=n)],
            "size": 10.0 * number,
            "new": number == 1,
            "region": ["north", "south", "east"][number],
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def split(table, n=HORIZON):
    last = table.groupby("unique_id").cumcount(ascending=False) < n
    return table[~last].reset_index(drop=True), table[last].reset_index(drop=True)


def ahead(later, names=KNOWN):
    return later[["unique_id", "ds", *names]]


def learner(**options):
    options = {"horizon": HORIZON, "context_length": CONTEXT, "trainer_kwargs": QUICK, **options}
    return tiny(**options)


EVERYTHING = {"past_covariates": PAST, "future_covariates": KNOWN, "static_covariates": STATIC}


@pytest.fixture(scope="module")
def fitted():
    return learner(**EVERYTHING).fit(split(panel())[0])


@pytest.fixture(scope="module")
def tables():
    return split(panel())


# -- each role and kind ---------------------------------------------------------------------------

ONE_EACH = {
    "past, numeric": {"past_covariates": "heat"},
    "past, boolean": {"past_covariates": "open"},
    "past, categorical": {"past_covariates": "wind"},
    "known, numeric": {"future_covariates": "price"},
    "known, boolean": {"future_covariates": "sale"},
    "known, categorical": {"future_covariates": "event"},
    "static, numeric": {"static_covariates": "size"},
    "static, boolean": {"static_covariates": "new"},
    "static, categorical": {"static_covariates": "region"},
}


def changed(table, name):
    """The table with other values in one column; of a static one, those of another series."""
    table = table.copy()
    if name in STATIC:
        turned = dict(zip(table[name].unique(), table[name].unique()[::-1], strict=True))
        table[name] = table[name].map(turned)
    elif table[name].dtype == bool:
        table[name] = ~table[name]
    elif table[name].dtype.kind == "f":
        table[name] = table[name] + 3
    else:
        table[name] = table[name].map({"none": "strike", "easter": "none", "strike": "easter"})
    return table


CASES = [(case, layout) for case in ONE_EACH for layout in ("long", "wide")]
# One series alone has one value of what is static: nothing to compare with.
CASES = [c for c in CASES if not (c[0].startswith("static") and c[1] == "wide")]
CASES += [(case, "polars long") for case in ("past, boolean", "known, categorical")]


@pytest.mark.parametrize(("case", "layout"), CASES)
def test_a_covariate_of_each_role_and_kind_matters_to_the_forecast(case, layout):
    ((role, name),) = ONE_EACH[case].items()
    table = panel()[["unique_id", "ds", "y", name]]
    if layout == "wide":
        table = table[table["unique_id"] == "s1"].drop(columns="unique_id")
        before, later = table[:-HORIZON].set_index("ds"), table[-HORIZON:].set_index("ds")
    else:
        before, later = split(table)
    other, other_later = changed(before, name), changed(later, name)
    frames = [before, later, other, other_later]
    if layout == "polars long":
        before, later, other, other_later = (pl.from_pandas(frame) for frame in frames)
    known = role == "future_covariates"
    forecaster = learner(**ONE_EACH[case]).fit(before)
    forecast = forecaster.predict(future=later if known else None)
    assert name not in forecast.columns
    moved = forecaster.predict(other, future=later if known else None)
    assert np.isfinite(np.asarray(forecast["y"])).all()
    assert (np.asarray(forecast["y"]) != np.asarray(moved["y"])).any()
    if known:  # each step ahead has its own
        moved = forecaster.predict(future=other_later)
        assert (np.asarray(forecast["y"]) != np.asarray(moved["y"])).all()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"variant": "mac"}, id="mac"),
        pytest.param({"variant": "mag"}, id="mag"),
        pytest.param({"variant": "mal"}, id="mal"),
        pytest.param({"variant": "lmm"}, id="lmm"),
        pytest.param({"depth": 0}, id="highway alone"),
        pytest.param({"highway": False}, id="backbone alone"),
        pytest.param({"normalisation": "window"}, id="window"),
        pytest.param({"channel_mixing": True}, id="mixing"),
        pytest.param({"quantiles": [0.1, 0.5, 0.9]}, id="quantiles"),
        pytest.param({"loss": "student_t"}, id="student t"),
        pytest.param({"calendar": True}, id="calendar"),
    ],
)
def test_all_covariates_together_go_with_every_kind_of_model(options, tables, tmp_path):
    before, later = tables
    # Two targets, one of which goes down where the other goes up.
    before = before.assign(z=-before["y"])
    forecaster = learner(**EVERYTHING, target=["y", "z"], **options).fit(before)
    forecast = forecaster.predict(future=ahead(later))
    assert list(forecast.columns) == ["unique_id", "ds", "y", "z"]
    assert np.isfinite(forecast[["y", "z"]].to_numpy()).all()
    moved = forecaster.predict(future=ahead(changed(later, "price")))
    assert (moved["y"] != forecast["y"]).all()
    forecaster.save(tmp_path / "model")
    loaded = TitansForecaster.load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.predict(future=ahead(later)), forecast)
    assert loaded.score(before) == forecaster.score(before)


# -- what cannot matter ---------------------------------------------------------------------------


def test_covariates_of_other_series_do_not_matter(fitted, tables):
    before, later = tables
    forecast = fitted.predict(before, future=ahead(later))
    mine = before["unique_id"] == "s1", later["unique_id"] == "s1"
    for name in (*PAST, *KNOWN):
        others = before.where(mine[0], changed(before, name)).infer_objects()
        future = later.where(mine[1], changed(later, name)).infer_objects()
        moved = fitted.predict(others, future=ahead(future))
        of_mine = forecast["unique_id"] == "s1"
        found, expected = moved.loc[of_mine, "y"], forecast.loc[of_mine, "y"]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert (moved.loc[~of_mine, "y"] != forecast.loc[~of_mine, "y"]).any()


def test_forecasts_inside_a_table_know_no_more_than_those_at_its_end(fitted):
    """What is past beyond the origin, and known beyond the horizon, cannot matter."""
    table = panel(seed=3)
    windows = WindowIndex(fitted.read_series(table), fitted.context_length_, HORIZON)
    ((cut, forecast),) = fitted.iter_forecasts(windows)
    origins = windows.locate(np.arange(len(windows)))[1]
    for number in range(0, len(windows), 13):
        rows = table[table["unique_id"] == f"s{cut.series[number]}"]
        origin = origins[number]
        future = ahead(rows[origin : origin + HORIZON])
        alone = fitted.predict(rows[:origin], future=future)
        np.testing.assert_allclose(alone["y"], forecast[number, :, 0], rtol=1e-5)


def test_rows_of_the_future_that_are_not_asked_for_do_not_matter(fitted, tables):
    before, later = tables
    expected = fitted.predict(before, future=ahead(later))
    # All rows there are, in any order, and other series, and other columns.
    another = panel(seed=7)[: LENGTHS[0]].assign(unique_id="another")
    everything = pd.concat([panel(), another])
    future = everything.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(fitted.predict(before, future=future), expected)


def test_the_target_in_the_future_is_not_looked_at(fitted, tables):
    before, later = tables
    expected = fitted.predict(before, future=later.assign(y=np.nan, heat=np.inf))
    pd.testing.assert_frame_equal(fitted.predict(before, future=later), expected)


# -- what is asked for ----------------------------------------------------------------------------


def test_a_forecast_without_the_future_asks_for_it(fitted):
    message = r"predict needs future=.*\['price', 'sale', 'event'\].*5 steps"
    with pytest.raises(DataError, match=message):
        fitted.predict()


def test_a_future_that_nothing_is_known_of_is_refused(tables):
    forecaster = learner(past_covariates="heat", target="y").fit(tables[0])
    with pytest.raises(DataError, match=r"has no future_covariates"):
        forecaster.predict(future=tables[1])
    ridge = RidgeForecaster(horizon=HORIZON, target="y").fit(tables[0])
    with pytest.raises(DataError, match=r"this RidgeForecaster has no future_covariates"):
        ridge.predict(future=tables[1])


def test_missing_steps_of_the_future_are_named_and_listed(fitted, tables):
    before, later = tables
    future = ahead(later).drop(index=[2, 7, 8])
    with pytest.raises(DataError, match=r"lacks 3 of the 15 rows.*'s0' at 2024-03-27 16:00.*'s1'"):
        fitted.predict(before, future=future)
    lacking = fitted.get_missing_future(future, before)
    pd.testing.assert_frame_equal(
        lacking, later.loc[[2, 7, 8], ["unique_id", "ds"]].reset_index(drop=True)
    )
    filled = pd.concat([future, lacking.merge(later[["unique_id", "ds", *KNOWN]])])
    assert not len(fitted.get_missing_future(filled))
    expected = fitted.predict(before, future=ahead(later))
    pd.testing.assert_frame_equal(fitted.predict(before, future=filled), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda f: f.drop(columns="sale"), r"'sale'", id="column"),
        pytest.param(
            lambda f: f.assign(ds=f["ds"] + pd.Timedelta("30min")), r"between", id="between steps"
        ),
        pytest.param(lambda f: f.assign(unique_id="elsewhere"), r"elsewhere", id="ids"),
        pytest.param(
            lambda f: f.assign(event="flood"), r"category 'flood'.*not seen", id="category"
        ),
        pytest.param(lambda f: pd.concat([f, f[:1]]), r"duplicate|twice", id="twice"),
        pytest.param(lambda f: f.assign(price=np.inf), r"infinite", id="infinite"),
        pytest.param(lambda f: f.assign(price="dear"), r"'price'", id="kind"),
        pytest.param(
            lambda f: f.to_numpy(), r"future is a ndarray, expected a DataFrame", id="array"
        ),
    ],
)
def test_a_future_that_does_not_fit_is_refused(fitted, tables, change, message):
    with pytest.raises(DataError, match=message):
        fitted.predict(future=change(ahead(tables[1])))


def test_the_rows_to_be_known_are_those_of_the_forecast(fitted, tables):
    rows = fitted.make_future_dataframe()
    forecast = fitted.predict(future=ahead(tables[1]))
    pd.testing.assert_frame_equal(rows, forecast[["unique_id", "ds"]])
    pd.testing.assert_frame_equal(rows, tables[1][["unique_id", "ds"]])
    one = tables[0][tables[0]["unique_id"] == "s2"][:-3]
    assert fitted.make_future_dataframe(one)["ds"].iloc[0] == one["ds"].iloc[-1] + pd.Timedelta(
        hours=1
    )


def test_covariates_are_asked_for_in_fit_and_predict_by_name(tables):
    with pytest.raises(DataError, match=r"'rain'"):
        learner(future_covariates="rain").fit(tables[0])
    forecaster = learner(target="y", future_covariates="price").fit(tables[0])
    with pytest.raises(DataError, match=r"'price'"):
        forecaster.predict(tables[0].drop(columns="price"), future=tables[1])


def test_every_table_codes_categories_as_fit_did(tables):
    """Of a table that holds only some categories, their codes would start at zero again."""
    forecaster = learner(target="y", future_covariates="event").fit(tables[0])
    one = tables[0][tables[0]["unique_id"] == "s0"]
    strike = one.assign(event="strike")
    future = tables[1][tables[1]["unique_id"] == "s0"]
    forecasts = {
        name: forecaster.predict(strike, future=future.assign(event=name))["y"].to_numpy()
        for name in ("none", "easter", "strike")
    }
    assert len({values.tobytes() for values in forecasts.values()}) == 3
    both = pd.concat([strike, tables[0][tables[0]["unique_id"] == "s1"]])
    later = pd.concat([future.assign(event="strike"), tables[1][tables[1]["unique_id"] == "s1"]])
    among = forecaster.predict(both, future=later)["y"][:HORIZON]
    np.testing.assert_allclose(among, forecasts["strike"], rtol=1e-6)


def test_a_score_reads_covariates_from_the_table_and_searches_can_use_it(fitted):
    table = panel()
    assert fitted.score(table) != fitted.score(changed(table, "price"))
    one = table[table["unique_id"] == "s0"].set_index("ds").drop(columns="unique_id")
    forecaster = learner(target="y", past_covariates="heat", future_covariates=["price", "event"])
    splitter = RollingOriginSplit(n_splits=2, horizon=HORIZON, context_length=CONTEXT)
    scorer = forecast_scorer("mae")
    for train, test in splitter.split(one):
        fit = forecaster.fit(one.iloc[train])
        score = scorer(fit, one.iloc[test])
        assert -2 < score < 0
        assert score != scorer(fit, changed(one.iloc[test], "price"))


# -- missing values -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PAST, *KNOWN])
def test_missing_covariates_say_nothing_whatever_stood_there(fitted, tables, name):
    before, later = (t.astype({name: object}) for t in tables)
    before.loc[3::7, name] = None
    later.loc[1::4, name] = None
    forecast = fitted.predict(before, future=ahead(later))
    assert np.isfinite(forecast["y"]).all()
    full = fitted.predict(tables[0], future=ahead(tables[1]))
    assert (forecast["y"] != full["y"]).any()
    # Polars' null and pandas' NaN are the same hole.
    frames = (pl.from_pandas(t.infer_objects()) for t in (before, ahead(later)))
    by_polars = fitted.predict(next(frames), future=next(frames))
    np.testing.assert_array_equal(by_polars["y"].to_numpy(), forecast["y"].to_numpy())


def test_a_covariate_that_is_wholly_missing_gives_a_finite_forecast(fitted, tables):
    before, later = (t.copy() for t in tables)
    for name in (*PAST, *KNOWN, *STATIC):
        before[name] = None
    for name in KNOWN:
        later[name] = None
    assert np.isfinite(fitted.predict(before, future=ahead(later))["y"]).all()


def test_training_with_missing_covariates_stays_finite(tables):
    before = tables[0].copy()
    rng = np.random.default_rng(0)
    for name in (*PAST, *KNOWN):
        before[name] = before[name].astype(object).where(rng.random(len(before)) < 0.7)
    for name in STATIC:
        before[name] = before[name].astype(object).where(before["unique_id"] != "s1")
    forecaster = learner(**EVERYTHING).fit(before)
    assert np.isfinite(forecaster.predict(future=ahead(tables[1]))["y"]).all()
    assert all(np.isfinite(v) for epoch in forecaster.history_ for v in epoch.values())


# -- what covariates are for ----------------------------------------------------------------------


def learnt_error(table, known=(), **options):
    """Mean absolute error on the last fifth, of the highway with and without covariates."""
    settings = {"horizon": HORIZON, "context_length": 12, "depth": 0, "max_epochs": 3}
    settings |= {"learning_rate": 0.02, "batch_size": 32, "random_state": 0, "target": "y"}
    n = int(0.8 * len(table)) if "unique_id" not in table else None
    if n is None:
        place = table.groupby("unique_id").cumcount(ascending=False)
        train, test = table[place >= 60], table[place < 80]
    else:
        train, test = table[:n], table[n - 12 :]
    forecaster = TitansForecaster(**{**settings, **options}).fit(train)
    return -forecaster.score(test)


def switching(effects, n=401, seed=0):
    """A level that follows what nobody can tell from the past."""
    rng = np.random.default_rng(seed)
    which = rng.integers(len(effects), size=n)
    index = pd.date_range("2024-01-01", periods=n, freq="h")
    y = 5 + np.asarray(effects, dtype=float)[which] + 0.1 * rng.normal(size=n)
    return pd.DataFrame({"y": y, "which": which}, index=index)


def test_a_known_switch_is_learnt():
    table = switching([-1, 1])
    without = learnt_error(table.drop(columns="which"))
    assert without > 0.9
    assert learnt_error(table, future_covariates="which") < 0.3 * without


def test_a_known_category_is_learnt():
    # In no order that a number could follow.
    table = switching([0, 2, -1, 1], n=501).astype({"which": str})
    without = learnt_error(table.drop(columns="which"))
    assert without > 0.8
    assert learnt_error(table, future_covariates="which") < 0.5 * without


def test_a_known_switch_is_learnt_by_the_backbone_too():
    table = switching([-1, 1], n=301)
    model = {"depth": 1, "dim": 8, "highway": False, "variant": "lmm", "max_epochs": 1}
    error = learnt_error(table, future_covariates="which", **model)
    assert error < 0.5 * learnt_error(table.drop(columns="which"))


def test_a_static_covariate_tells_two_groups_apart():
    """The same event lifts the series of one group and lowers those of the other.

    The highway alone cannot tell from a context which of the two it has before it.
    """
    rng = np.random.default_rng(0)
    parts = []
    for number in range(4):
        event = rng.random(151) < 0.4
        sign = 1 if number % 2 else -1
        ds = pd.date_range("2024-01-01", periods=151, freq="h")
        y = 5 + sign * event + 0.1 * rng.normal(size=151)
        columns = {"unique_id": f"s{number}", "ds": ds, "y": y, "event": event}
        parts.append(pd.DataFrame({**columns, "group": "up" if sign > 0 else "down"}))
    table = pd.concat(parts, ignore_index=True)
    known = {"future_covariates": "event"}
    without = learnt_error(table.drop(columns="group"), **known)
    assert learnt_error(table, **known, static_covariates="group") < 0.6 * without


# -- the calendar ---------------------------------------------------------------------------------


def weekly(n=401, freq="D", tz=None):
    """A pattern of the week, of which a context of four days shows too little."""
    index = pd.date_range("2024-01-01", periods=n, freq=freq, tz=tz, name="day")
    levels = np.array([0.0, 2.0, -1.0, 1.0, -2.0, 3.0, 0.5])
    noise = 0.1 * np.random.default_rng(0).normal(size=n)
    return pd.DataFrame({"y": levels[index.day_of_week] + noise}, index=index)


def test_a_pattern_of_the_week_is_learnt_from_the_calendar():
    short = {"context_length": 4, "horizon": 7}
    without = learnt_error(weekly(), **short)
    assert learnt_error(weekly(), **short, calendar=["day_of_week"]) < 0.6 * without


def test_the_calendar_needs_no_future_table_and_goes_with_one():
    table = weekly().assign(price=1.0)
    options = {"horizon": 3, "context_length": 14, "depth": 0, "max_epochs": 1, "random_state": 0}
    alone = TitansForecaster(**options, calendar=True, target="y").fit(table)
    assert np.isfinite(alone.predict()["y"]).all()
    both = TitansForecaster(**options, calendar=True, future_covariates="price").fit(table)
    with pytest.raises(DataError, match=r"predict needs future=.*\['price'\]"):
        both.predict()
    future = both.make_future_dataframe().assign(price=2.0)
    assert np.isfinite(both.predict(future=future)["y"]).all()


@pytest.fixture(scope="module")
def by_the_hour():
    """Fitted in Berlin, where the hour of day repeats over two changes of the clock."""
    index = pd.date_range("2024-01-01", periods=2231, freq="h", tz="Europe/Berlin", name="time")
    y = np.sin(index.hour * np.pi / 12) + 0.3 * np.random.default_rng(0).normal(size=2231)
    table = pd.DataFrame({"y": y}, index=index)
    forecaster = TitansForecaster(
        horizon=13, context_length=8, depth=0, calendar=["hour_of_day"], random_state=0
    )
    return forecaster.set_params(max_epochs=1, learning_rate=0.02).fit(table), table


def test_hours_are_counted_in_the_time_zone_of_fit(by_the_hour):
    forecaster, table = by_the_hour
    for zone in ("UTC", "Asia/Kolkata"):
        there = forecaster.predict(table.tz_convert(zone))
        assert str(there.index.tz) == zone
        back = there.tz_convert("Europe/Berlin")
        pd.testing.assert_frame_equal(back, forecaster.predict(), check_freq=False)
        assert forecaster.score(table.tz_convert(zone)[-97:]) == forecaster.score(table[-97:])


def test_hours_are_those_of_the_clock_on_the_wall(by_the_hour):
    def forecast(start):
        index = pd.date_range(start, periods=8, freq="h", tz="Europe/Berlin")
        return forecaster.predict(pd.DataFrame({"y": np.tile([0.3, -0.3], 4)}, index=index))["y"]

    forecaster, _ = by_the_hour
    winter = forecast("2024-03-29 00:00").to_numpy()
    np.testing.assert_allclose(forecast("2024-04-02 00:00"), winter, atol=1e-9)
    assert np.abs(forecast("2024-04-02 01:00") - winter).max() > 0.01


def test_validation_rows_in_another_time_zone_change_nothing(by_the_hour):
    forecaster, table = by_the_hour
    table = table[-240:]
    zones = ("Europe/Berlin", "Asia/Tokyo")
    fits = [
        clone(forecaster).fit(table[:200], validation=table[200:].tz_convert(zone))
        for zone in zones
    ]
    assert fits[0].history_ == fits[1].history_


def test_a_calendar_without_time_stamps_or_with_half_a_time_zone_is_refused(by_the_hour):
    forecaster, table = by_the_hour
    with pytest.raises(DataError, match=r"needs time stamps"):
        learner(calendar=True).fit(np.zeros((67, 1)))
    with pytest.raises(DataError, match=r"without time zone.*in Europe/Berlin"):
        forecaster.predict(table.tz_localize(None)[:11])


def test_unknown_calendar_features_are_refused():
    with pytest.raises(ParameterError, match=r"'phase_of_moon'"):
        learner(calendar=["phase_of_moon"]).fit(weekly())


def test_holidays_are_known_in_advance():
    pytest.importorskip("holidays")
    days = pd.date_range("2017-01-01", periods=3 * 365)
    holidays = pytest.importorskip("holidays").country_holidays("DE", years=range(2015, 2022))
    dates = pd.DatetimeIndex([pd.Timestamp(day) for day in holidays])
    noise = 0.1 * np.random.default_rng(0).normal(size=len(days))
    table = pd.DataFrame({"y": 5.0 - 3 * days.isin(dates) + noise}, index=days)
    forecaster = TitansForecaster(
        horizon=7, context_length=14, depth=0, max_epochs=2, learning_rate=0.02, random_state=0
    )
    forecaster.set_params(calendar=["day_of_week"], holidays="DE").fit(table)
    eve = pd.date_range("2020-12-01", "2020-12-21")  # Christmas on the fourth and fifth day
    table = pd.DataFrame({"y": 5 + 0.1 * np.cos(np.arange(21))}, index=eve)
    forecast = forecaster.predict(table)["y"]
    assert forecast["2020-12-25":"2020-12-26"].max() < forecast["2020-12-22":"2020-12-24"].min()


def test_covariates_holidays_and_calendar_survive_a_save(tmp_path):
    pytest.importorskip("holidays")
    before, later = split(panel())
    options = {**EVERYTHING, "calendar": ["hour_of_day", "day_of_week"], "holidays": "DE-BY"}
    forecaster = learner(**options).fit(before)
    forecaster.save(tmp_path / "model")
    json.loads((tmp_path / "model" / "forecaster.json").read_text())
    loaded = TitansForecaster.load(tmp_path / "model")
    rows = loaded.make_future_dataframe()
    pd.testing.assert_frame_equal(rows, forecaster.make_future_dataframe())
    future = rows.merge(ahead(later))
    forecast = forecaster.predict(future=future)
    pd.testing.assert_frame_equal(loaded.predict(future=future), forecast)
    pd.testing.assert_frame_equal(loaded.predict(before, future=future), forecast)
    assert loaded.score(panel()) == forecaster.score(panel())
    with pytest.raises(DataError, match=r"category 'flood'"):
        loaded.predict(future=future.assign(event="flood"))
