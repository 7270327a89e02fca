"""Panels: each series is forecast by itself, and what is set aside is never learnt from."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from tiny_fits import tiny

from titans_ts import RidgeForecaster, SeasonalNaiveForecaster, TitansForecaster
from titans_ts.data.windows import WindowIndex
from titans_ts.errors import DataError
from titans_ts.preprocessing import SeriesScaler

HORIZON, CONTEXT = 5, 32
SHORT = {"limit_train_batches": 2, "limit_val_batches": 1}
PROPERTY = settings(deadline=None, max_examples=10)


def panel(lengths, seed=0, scales=None, missing=0.0):
    """Random walks with a covariate of each kind, one below the other."""
    rng = np.random.default_rng(seed)
    parts = []
    for number, length in enumerate(lengths):
        scale = 1.0 if scales is None else scales[number]
        y = scale * (np.sin(np.arange(length) / 2) + 0.3 * rng.normal(size=length).cumsum() + 7)
        y[1:][rng.random(length - 1) < missing] = np.nan
        parts.append(
            pd.DataFrame(
                {
                    "unique_id": f"s{number}",
                    "ds": pd.date_range("2024-01-01", periods=length, freq="h"),
                    "y": y,
                    "heat": rng.normal(size=length),
                    "sale": rng.random(length) < 0.3,
                    "size": float(number),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


ROLES = {"past_covariates": "heat", "future_covariates": "sale", "static_covariates": "size"}


def known_ahead(forecaster, X):
    """What the forecaster needs to know in advance: a sale in the steps after ``X``."""
    if not isinstance(forecaster, TitansForecaster):
        return None
    future = forecaster.make_future_dataframe(X)
    return future.assign(sale=np.arange(len(future)) % HORIZON == 2)


def learner(name):
    if name == "titans":
        return tiny(horizon=HORIZON, context_length=CONTEXT, trainer_kwargs=SHORT, **ROLES)
    return RidgeForecaster(horizon=HORIZON, context_length=CONTEXT, target="y")


@pytest.fixture(scope="module")
def fitted():
    table = panel([67, 53, 41, 71])
    return {name: learner(name).fit(table) for name in ("titans", "ridge")}


def forecasts_by_id(forecaster, X):
    forecast = forecaster.predict(X, future=known_ahead(forecaster, X))
    return {i: part["y"].to_numpy() for i, part in forecast.groupby("unique_id")}


def assert_close(found, expected, rtol=1e-5):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        size = np.abs(values).max()
        np.testing.assert_allclose(found[name], values, rtol=rtol, atol=rtol * size)


random_panels = st.builds(
    panel,
    st.lists(st.integers(1, 61), min_size=1, max_size=5),
    seed=st.integers(0, 2**16),
    scales=st.lists(st.sampled_from([1e-4, 1.0, 1e6]), min_size=5, max_size=5),
    missing=st.sampled_from([0.0, 0.3]),
)


@pytest.mark.parametrize("name", ["titans", "ridge"])
@given(table=random_panels, seed=st.integers(0, 2**16))
@PROPERTY
def test_the_order_of_rows_does_not_matter(fitted, name, table, seed):
    forecaster = fitted[name]
    shuffled = table.sample(frac=1, random_state=seed)
    # Column by column too: a table is known by its names.
    shuffled = shuffled[["ds", "sale", "y", "unique_id", "size", "heat"]]
    expected = forecasts_by_id(forecaster, table)
    assert_close(forecasts_by_id(forecaster, shuffled), expected)


@pytest.mark.parametrize("name", ["titans", "ridge"])
@given(table=random_panels)
@PROPERTY
def test_a_series_alone_is_forecast_as_among_others(fitted, name, table):
    forecaster = fitted[name]
    together = forecasts_by_id(forecaster, table)
    for series, part in table.groupby("unique_id"):
        assert_close(forecasts_by_id(forecaster, part), {series: together[series]})


@pytest.mark.parametrize("name", ["titans", "ridge"])
@given(table=random_panels, others=random_panels)
@PROPERTY
def test_which_other_series_are_there_does_not_matter(fitted, name, table, others):
    forecaster = fitted[name]
    others = others.assign(unique_id="other " + others["unique_id"])
    more = pd.concat([others, table], ignore_index=True)
    expected = forecasts_by_id(forecaster, table)
    found = forecasts_by_id(forecaster, more)
    assert_close({i: found[i] for i in expected}, expected)


@pytest.mark.parametrize("name", ["titans", "ridge"])
@given(table=random_panels, more=st.integers(1, 40))
@PROPERTY
def test_rows_before_the_context_do_not_matter(fitted, name, table, more):
    forecaster = fitted[name]
    table = pd.concat([panel([CONTEXT + more], seed=5).assign(unique_id="long"), table])
    cut = table.groupby("unique_id").tail(CONTEXT)
    assert_close(forecasts_by_id(forecaster, cut), forecasts_by_id(forecaster, table))


def test_a_forecast_does_not_depend_on_being_the_first_of_many(fitted):
    # More sequences than are forecast at a time.
    many = panel([11] * 1031)
    forecast = fitted["titans"].predict(many, future=known_ahead(fitted["titans"], many))
    last = many[many["unique_id"] == "s1030"]
    alone = fitted["titans"].predict(last, future=known_ahead(fitted["titans"], last))
    np.testing.assert_allclose(forecast["y"][-HORIZON:], alone["y"], rtol=1e-5)


# -- what is set aside ----------------------------------------------------------------------------


def upset(table, n):
    """Another table, which differs wildly in the last ``n(length)`` rows of each series."""
    rng = np.random.default_rng(99)
    place = table.groupby("unique_id").cumcount(ascending=False)
    length = table.groupby("unique_id")["unique_id"].transform("size")
    last = place < n(length)
    changed = table.copy()
    changed.loc[last, "y"] = 1e5 * rng.normal(size=last.sum())
    changed.loc[last, "heat"] = 1e5 * rng.normal(size=last.sum())
    changed.loc[last, "sale"] = rng.random(last.sum()) < 0.5
    return changed


def learnt(forecaster):
    """Everything that training left behind, by name; not what is kept to predict from."""
    if isinstance(forecaster, TitansForecaster):
        numbers = {k: v.numpy() for k, v in forecaster.model_.state_dict().items()}
        numbers["loss"] = np.array([epoch["train_loss"] for epoch in forecaster.history_])
    else:
        numbers = {"coef_": forecaster.coef_, "channel_mean_": forecaster.channel_mean_}
    transform = forecaster.target_transform_
    if transform is not None:
        numbers |= transform.to_state()[1]
    return numbers


def learners():
    common = {"horizon": HORIZON, "context_length": CONTEXT}
    quick = {**common, "trainer_kwargs": {"limit_train_batches": 3, "limit_val_batches": 1}}
    return {
        "titans": tiny(**quick, **ROLES),
        "with calendar": tiny(**quick, **ROLES, calendar=True, normalisation="window"),
        "scaled": tiny(**quick, **ROLES, target_transform=SeriesScaler()),
        "scaled by scikit-learn": tiny(**quick, **ROLES, target_transform=StandardScaler()),
        "mixing": tiny(**quick, **ROLES, channel_mixing=True),
        "ridge": RidgeForecaster(**common, alpha=0.1, target="y"),
        "ridge, scaled": RidgeForecaster(
            **common, alpha=0.1, target="y", target_transform=StandardScaler()
        ),
    }


ASIDE = [(name, "fraction") for name in learners()]
ASIDE += [
    (name, how) for name in ("titans", "with calendar", "ridge") for how in ("number", "table")
]


@pytest.mark.parametrize(("name", "aside"), ASIDE)
def test_nothing_is_learnt_from_rows_that_are_set_aside(name, aside):
    table, n = panel([67, 53, 41]), 17
    if aside == "fraction":
        others = upset(table, lambda length: (length * 0.2).astype(int))
        fits = [learners()[name].fit(X) for X in (table, others)]
    elif aside == "number":
        others = upset(table, lambda length: 0 * length + n)
        fits = [learners()[name].fit(X, validation=n) for X in (table, others)]
    else:
        last = table.groupby("unique_id").cumcount(ascending=False) < n
        others = upset(table, lambda length: 0 * length + n)
        fits = [learners()[name].fit(table[~last], validation=v[last]) for v in (table, others)]
    first, second = (learnt(fit) for fit in fits)
    assert first.keys() == second.keys()
    for key, numbers in first.items():
        np.testing.assert_array_equal(numbers, second[key], err_msg=key)
    # They were looked at, though: to judge.
    if name == "titans":
        losses = [fit.history_[0]["validation_loss"] for fit in fits]
        assert losses[1] > 100 * losses[0]


def test_rows_that_are_not_set_aside_are_learnt_from():
    table = panel([67, 53, 41])
    others = upset(table, lambda length: 0 * length + 18)
    first, second = (learnt(learners()["titans"].fit(X, validation=17)) for X in (table, others))
    for key in ("head.covariates.past.mean", "head.highway.weight", "loss"):
        assert (first[key] != second[key]).any(), key


def test_later_rows_of_one_series_do_not_reach_an_earlier_origin_of_it(fitted):
    """Every forecast of a score is that of predict on the rows up to its origin."""
    forecaster, table = fitted["titans"], panel([51, 43], seed=3, missing=0.2)
    windows = WindowIndex(forecaster.read_series(table), forecaster.context_length_, HORIZON)
    ((cut, forecast),) = forecaster.iter_forecasts(windows)
    origins = windows.locate(np.arange(len(windows)))[1]
    for number in range(0, len(windows), 7):
        name = f"s{cut.series[number]}"
        rows = table[table["unique_id"] == name]
        origin = origins[number]
        future = rows[origin : origin + HORIZON][["unique_id", "ds", "sale"]]
        alone = forecaster.predict(rows[:origin], future=future)
        np.testing.assert_allclose(alone["y"], forecast[number, :, 0], rtol=1e-5)


# -- lengths and scales ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["titans", "ridge", "seasonal naive"])
def test_a_series_of_one_row_is_fitted_and_forecast_beside_longer_ones(name):
    forecaster = {
        "titans": tiny(horizon=HORIZON, context_length=CONTEXT, trainer_kwargs=SHORT),
        "ridge": RidgeForecaster(horizon=HORIZON, context_length=CONTEXT),
        "seasonal naive": SeasonalNaiveForecaster(horizon=HORIZON, season_length=1),
    }[name]
    table = panel([67, 1, 53, 2])[["unique_id", "ds", "y"]]
    forecast = forecaster.fit(table).predict()
    one = forecast[forecast["unique_id"] == "s1"]
    assert one["ds"].tolist() == list(pd.date_range("2024-01-01 01:00", periods=5, freq="h"))
    assert np.isfinite(forecast["y"]).all()
    value = table.loc[table["unique_id"] == "s1", "y"].item()
    # All that it says is its level.
    np.testing.assert_allclose(one["y"], value, rtol=0.05)


def test_a_panel_in_which_no_series_is_long_enough_is_refused():
    table = panel([7, 9, 8])[["unique_id", "ds", "y"]]
    with pytest.raises(DataError, match=r"the longest series has 9 training rows.*needs 10"):
        RidgeForecaster(horizon=9, context_length=8).fit(table)


def test_a_series_a_million_times_as_large_does_not_drown_the_others():
    """Series of another shape than that of the large one are learnt, whatever their units."""
    rng = np.random.default_rng(0)

    def table(large):
        parts = []
        for number in range(6):
            steps = np.arange(151) + rng.integers(97)
            shape = np.sin(2 * np.pi * steps / 12) if number else np.cos(np.pi * steps)
            y = (1.0 if number else large) * (shape + 0.05 * rng.normal(size=len(steps)))
            ds = pd.date_range("2024-01-01", periods=len(steps), freq="h")
            parts.append(pd.DataFrame({"unique_id": f"s{number}", "ds": ds, "y": y}))
        return pd.concat(parts, ignore_index=True)

    X = table(1e6)
    forecaster = TitansForecaster(
        horizon=6, context_length=24, depth=0, max_epochs=1, learning_rate=0.01, random_state=0
    ).fit(X)
    small = X[X["unique_id"] != "s0"]
    assert -forecaster.score(small) < 0.1  # their level alone is off by 0.64


def test_thousands_of_small_series_take_moments():
    n, length = 3000, 13
    values = np.random.default_rng(0).normal(size=n * length).cumsum()
    ids = np.repeat([f"item {i}" for i in range(n)], length)
    days = np.tile(pd.date_range("2024-01-01", periods=length).to_numpy(), n)
    table = pd.DataFrame({"unique_id": ids, "ds": days, "y": values, "price": values % 7})
    forecaster = tiny(
        horizon=2,
        context_length=8,
        trainer_kwargs={"limit_train_batches": 2, "limit_val_batches": 2},
        future_covariates="price",
        target_transform=SeriesScaler(),
        calendar=True,
    )
    start = time.process_time()
    forecaster.fit(table)
    future = forecaster.make_future_dataframe().assign(price=1.0)
    forecast = forecaster.predict(table, future=future)
    forecaster.score(table)
    assert time.process_time() - start < 15
    assert forecast["unique_id"].tolist() == future["unique_id"].tolist()
    assert np.isfinite(forecast["y"]).all()


def test_a_forecaster_of_one_series_forecasts_many_and_of_many_forecasts_one():
    many = panel([67, 53])[["unique_id", "ds", "y"]]
    one = many[many["unique_id"] == "s0"]
    wide = one.set_index("ds")[["y"]]
    options = {"horizon": HORIZON, "context_length": CONTEXT}
    by_one = RidgeForecaster(**options).fit(one)
    assert by_one.predict(many)["unique_id"].unique().tolist() == ["s0", "s1"]
    by_many = RidgeForecaster(**options).fit(many)
    assert isinstance(by_many.predict(wide).index, pd.DatetimeIndex)
    expected = by_many.predict(one)["y"]
    np.testing.assert_allclose(by_many.predict(wide)["y"], expected, rtol=1e-12)
