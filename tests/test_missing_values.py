"""Missing values: what is masked is nowhere seen, and what is seen suffices."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_fits import tiny

from titans_ts import (
    LinearForecaster,
    RidgeForecaster,
    SeasonalNaiveForecaster,
    TitansForecaster,
)
from titans_ts.data.schema import read_table
from titans_ts.data.series import SeriesSet
from titans_ts.errors import DataError
from titans_ts.model_selection import forecast_scorer

HORIZON, CONTEXT, ROWS = 5, 32, 101
QUICK = {"limit_train_batches": 2, "limit_val_batches": 1}


def gappy(rows=ROWS, channels=2, seed=0, part=0.2, block=1):
    """Waves with noise, of which blocks are missing."""
    rng = np.random.default_rng(seed)
    values = np.sin(np.arange(rows)[:, None] / (3 + np.arange(channels)))
    values = values + 0.2 * rng.normal(size=values.shape) + 5
    starts = rng.random((rows, channels)) < part / block
    for shift in range(block):
        values[shift:][starts[: rows - shift]] = np.nan
    return values


def learners():
    common = {"horizon": HORIZON, "context_length": CONTEXT}
    return {
        "titans": tiny(**common, trainer_kwargs=QUICK),
        "mac": tiny(**common, trainer_kwargs=QUICK, variant="mac", normalisation="window"),
        "highway alone": tiny(**common, trainer_kwargs=QUICK, depth=0),
        "mixing": tiny(**common, trainer_kwargs=QUICK, channel_mixing=True),
        "student t": tiny(**common, trainer_kwargs=QUICK, loss="student_t"),
        "ridge": RidgeForecaster(**common),
        "linear": LinearForecaster(**common, max_epochs=1, random_state=0),
        "seasonal naive": SeasonalNaiveForecaster(horizon=HORIZON, season_length=7),
    }


@pytest.fixture(scope="module")
def fitted():
    return {name: learner.fit(gappy()) for name, learner in learners().items()}


@pytest.mark.parametrize("name", learners())
def test_a_table_with_gaps_is_learnt_forecast_and_scored(fitted, name):
    forecaster = fitted[name]
    assert np.isfinite(forecaster.predict()).all()
    assert np.isfinite(forecaster.predict(gappy(seed=1, part=0.4, block=9))).all()
    assert -2 < forecaster.score(gappy(seed=1)) < 0
    if isinstance(forecaster, TitansForecaster):
        assert all(np.isfinite(v) for epoch in forecaster.history_ for v in epoch.values())
        assert all(p.isfinite().all() for p in forecaster.model_.parameters())


@pytest.mark.parametrize("garbage", [0.0, -1e9, 1e300, np.inf, np.nan])
@pytest.mark.parametrize("name", learners())
def test_what_stands_under_a_mask_is_never_seen(fitted, name, garbage):
    values = gappy()
    hidden = np.isnan(values)
    masked = np.ma.MaskedArray(np.where(hidden, garbage, values), mask=hidden)
    expected = fitted[name].predict(values)
    np.testing.assert_array_equal(fitted[name].predict(masked), expected)
    assert fitted[name].score(masked) == fitted[name].score(values)


@pytest.mark.parametrize("name", ["titans", "ridge", "linear"])
def test_training_never_sees_what_stands_under_a_mask(name):
    values = gappy()
    hidden = np.isnan(values)
    garbage = np.ma.MaskedArray(np.where(hidden, 1e9, values), mask=hidden)
    first, second = (learners()[name].fit(X) for X in (values, garbage))
    np.testing.assert_array_equal(first.predict(), second.predict())
    if name == "titans":
        assert first.history_ == second.history_


CONTAINERS = {
    "frame": lambda v: pd.DataFrame(v, columns=["a", "b"]),
    "frame of nullable floats": lambda v: pd.DataFrame(v, columns=["a", "b"]).astype("Float64"),
    "frame of objects": lambda v: (
        pd.DataFrame(v, columns=["a", "b"]).astype(object).where(~np.isnan(v), None)
    ),
    "polars, null": lambda v: pl.DataFrame(
        {"a": v[:, 0], "b": v[:, 1]}, nan_to_null=True, strict=False
    ),
    "polars, NaN": lambda v: pl.DataFrame({"a": v[:, 0], "b": v[:, 1]}),
    "nested lists": lambda v: v.tolist(),
    "3-D array": lambda v: v[None],
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", ["titans", "ridge"])
def test_missing_values_are_the_same_in_every_container(fitted, name, container):
    values = gappy()
    X = CONTAINERS[container](values)
    read = read_table(X)[0]
    np.testing.assert_array_equal(read.observed, ~np.isnan(values))
    found = np.asarray(fitted[name].predict(X), dtype=float)
    np.testing.assert_array_equal(found.reshape(HORIZON, 2), fitted[name].predict(values))


def test_missing_values_of_a_long_table_are_those_of_its_series(fitted):
    values = gappy(channels=1)[:, 0]
    days = pd.date_range("2024-01-01", periods=ROWS)
    table = pd.DataFrame({"unique_id": "a", "ds": days, "y": values})
    other = table.assign(unique_id="b", y=gappy(channels=1, seed=2)[:, 0])
    forecaster = tiny(horizon=HORIZON, context_length=CONTEXT, trainer_kwargs=QUICK)
    forecaster.fit(pd.concat([table, other]))
    expected = forecaster.predict(table)["y"]
    both = forecaster.predict(pl.from_pandas(pd.concat([other, table])))
    found = both.filter(pl.col("unique_id") == "a")["y"]
    np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-6)


# -- contexts of which little or nothing is seen --------------------------------------------------


@pytest.mark.parametrize("name", learners())
def test_a_context_without_one_value_has_a_finite_forecast(fitted, name):
    values = gappy()
    values[-CONTEXT - 17 :, 1] = np.nan
    forecast = fitted[name].predict(values)
    assert np.isfinite(forecast).all()
    # The other channel does not notice, unless channels mix.
    if name != "mixing":
        np.testing.assert_allclose(forecast[:, 0], fitted[name].predict(gappy())[:, 0], rtol=1e-6)


@pytest.mark.parametrize("name", ["titans", "mac", "highway alone", "ridge", "linear"])
def test_one_value_is_enough_to_tell_the_level(fitted, name):
    values = np.full((CONTEXT, 2), np.nan)
    values[-3] = [1000.0, -20.0]
    forecast = fitted[name].predict(values)
    np.testing.assert_allclose(forecast, np.tile(values[-3], (HORIZON, 1)), rtol=0.05)


@pytest.mark.parametrize("name", ["titans", "mac", "highway alone", "ridge", "linear"])
@given(n=st.integers(1, CONTEXT - 1), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=8)
def test_a_short_series_is_one_whose_first_rows_are_missing(fitted, name, n, seed):
    values = gappy(rows=n, seed=seed, part=0.1)
    values[-1] = 5.0
    padded = np.concatenate([np.full((CONTEXT - n, 2), np.nan), values])
    short = fitted[name].predict(values)
    np.testing.assert_allclose(short, fitted[name].predict(padded), rtol=1e-6)
    assert np.isfinite(short).all()


@pytest.mark.parametrize("name", ["titans", "mac", "highway alone", "ridge"])
def test_a_series_shorter_than_the_context_is_learnt_from_beside_longer_ones(name):
    long, short = gappy(rows=97, channels=1, part=0), gappy(rows=19, channels=1, seed=1)
    days = pd.date_range("2024-01-01", periods=97)
    parts = [("long", long), ("short", short)]
    table = pd.concat(
        pd.DataFrame({"unique_id": i, "ds": days[: len(v)], "y": v[:, 0]}) for i, v in parts
    )
    forecast = learners()[name].fit(table).predict()
    assert np.isfinite(forecast["y"]).all()
    # Both stand at five; a padded zero would pull the shorter one down.
    assert forecast["y"].between(3, 7).all()


def test_gaps_move_a_forecast_little_and_zeros_would_move_it_far(fitted):
    values = gappy(part=0)
    holes = values.copy()
    holes[-14:-9] = np.nan
    zeros = values.copy()
    zeros[-14:-9] = 0.0
    for name in ("highway alone", "ridge"):
        full, gap, zero = (fitted[name].predict(X) for X in (values, holes, zeros))
        assert np.abs(gap - full).max() < 0.3 * np.abs(zero - full).max()


# -- scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["titans", "ridge", "seasonal naive"])
def test_a_score_is_that_of_the_observed_targets(fitted, name):
    forecaster, table = fitted[name], gappy(seed=1)
    context = forecaster.context_length_
    errors = []
    for origin in range(context, ROWS - HORIZON + 1):
        target = table[origin : origin + HORIZON]
        errors.append(np.abs(forecaster.predict(table[:origin]) - target))
    assert forecaster.score(table) == pytest.approx(-np.nanmean(errors), rel=1e-5)


def test_a_table_without_one_observed_target_cannot_be_scored(fitted):
    table = gappy()
    table[fitted["titans"].context_length_ :] = np.nan
    with pytest.raises(DataError, match=r"Nothing to score: every value.*is missing"):
        fitted["titans"].score(table)


@pytest.mark.parametrize("metric", ["mae", "mse", "mase"])
def test_scorers_skip_what_is_missing(fitted, metric):
    table = pd.DataFrame(gappy(rows=ROWS + 20, part=0), columns=["a", "b"])
    holes = table.copy()
    holes.loc[ROWS::3, "a"] = np.nan
    forecaster = RidgeForecaster(horizon=HORIZON, context_length=CONTEXT).fit(table[:ROWS])
    scorer = forecast_scorer(metric)
    full, part = (scorer(forecaster, X[ROWS - CONTEXT :]) for X in (table, holes))
    assert part == pytest.approx(full, rel=0.5)
    assert part != full


# -- what is refused ------------------------------------------------------------------------------


def test_a_target_that_is_never_observed_is_refused():
    values = gappy()
    values[:, 1] = np.nan
    with pytest.raises(DataError, match=r"(?i)no value|missing"):
        RidgeForecaster(horizon=HORIZON).fit(pd.DataFrame(values, columns=["a", "b"]))


def test_infinite_values_are_refused_and_not_taken_for_missing(fitted):
    values = gappy()
    values[40, 1] = -np.inf
    for name in ("titans", "ridge"):
        with pytest.raises(DataError, match=r"infinite.*row 40"):
            fitted[name].predict(values)


@pytest.mark.parametrize("name", ["titans", "mac", "mixing", "ridge", "linear"])
def test_rows_of_training_that_are_wholly_missing_are_no_trouble(name):
    """Windows, and whole batches, without one value to learn from."""
    values = gappy(rows=151)
    values[:70] = np.nan
    forecaster = learners()[name].fit(values)
    assert np.isfinite(forecaster.predict()).all()


def test_validation_rows_that_are_wholly_missing_are_no_trouble():
    values = gappy()
    values[-20:] = np.nan
    forecaster = learners()["titans"].fit(values)
    assert np.isfinite(forecaster.predict()).all()
    assert np.isfinite(forecaster.predict(gappy())).all()
    # As without any: no epoch is better than the last.
    assert forecaster.best_epoch_ is None
    assert "validation_loss" not in forecaster.history_[0]


@pytest.mark.parametrize("ended", [slice(3, None), slice(None, -3)], ids=["last", "first"])
def test_series_that_have_ended_do_not_weigh_in_the_validation_loss(ended):
    series = np.random.default_rng(0).normal(size=(43, 61, 1))
    series[ended, -20:] = np.nan
    # Judged in batches of 12, some without one target, and all at once; weights stay about still.
    options = {"horizon": 5, "context_length": 16, "patch_length": 8, "learning_rate": 1e-9}
    few, all_at_once = (
        tiny(batch_size=n, **options).fit(series, validation=20).history_[0]["validation_loss"]
        for n in (3, 128)
    )
    assert few == pytest.approx(all_at_once, rel=1e-5)
    assert few > 0.1


def test_statistics_of_channels_ignore_what_is_missing():
    from titans_ts.data.moments import channel_scale, moments

    values = gappy(part=0.4)
    seen = ~np.isnan(values)
    data = SeriesSet.from_rows(np.where(seen, values, 0), seen, np.array([0, ROWS]), ("a", "b"))
    np.testing.assert_allclose(channel_scale(moments(data))[0], np.nanstd(values, axis=0))
    forecaster = RidgeForecaster(horizon=HORIZON, validation_fraction=0).fit(values)
    np.testing.assert_allclose(forecaster.channel_mean_, np.nanmean(values, axis=0))


@pytest.mark.parametrize("normalisation", ["running", "window"])
@pytest.mark.parametrize("channel_mixing", [False, True])
def test_a_channel_of_which_nothing_is_seen_is_forecast_at_its_typical_level(
    normalisation, channel_mixing, tmp_path
):
    levels, noise = np.array([100.0, -3.0]), np.random.default_rng(0).normal(size=(ROWS, 2))
    titans = tiny(
        horizon=HORIZON,
        context_length=CONTEXT,
        normalisation=normalisation,
        channel_mixing=channel_mixing,
        quantiles=(0.1, 0.5, 0.9),
        trainer_kwargs=QUICK,
    ).fit(levels + noise)
    dead = levels + noise
    dead[-CONTEXT:, 1] = np.nan
    forecast = titans.predict(dead)
    np.testing.assert_allclose(forecast, np.tile(levels, (HORIZON, 1)), atol=3)
    low, _, high = np.moveaxis(titans.predict(dead, quantiles=(0.1, 0.5, 0.9)), -1, 0)
    assert (low[:, 1] < high[:, 1]).all()
    alive = titans.predict(levels + noise)
    if not channel_mixing:
        np.testing.assert_allclose(forecast[:, 0], alive[:, 0], rtol=1e-9)
    titans.save(tmp_path / "model")
    again = TitansForecaster.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(dead), forecast)


@pytest.mark.parametrize("kind", ["frame", "array", "three axes", "map"])
def test_a_channel_that_died_after_fit_is_forecast(fitted, kind, tmp_path):
    """As in the same table with the rows before, of which no context sees any."""
    ridge = fitted["ridge"]
    dead = gappy(seed=1)
    dead[-CONTEXT - 9 :, 1] = np.nan
    later = dead[-CONTEXT - 3 :]
    table = {"frame": pd.DataFrame, "array": np.asarray, "three axes": lambda x: x[None]}.get(kind)
    if kind == "map":
        later.tofile(tmp_path / "rows")
        later = np.memmap(tmp_path / "rows", dtype="float64", shape=later.shape)
    else:
        later = table(later)
    if kind == "frame":
        later.columns = ["0", "1"]
    found = np.asarray(ridge.predict(later)).reshape(HORIZON, 2)
    np.testing.assert_allclose(found, ridge.predict(dead))
    assert np.isfinite(found).all()
    with pytest.raises(DataError, match="no values: all of its 35 rows are missing"):
        ridge.predict(later * np.nan)
