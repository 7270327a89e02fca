"""The baselines: what each one computes, on any scale, and what its quantiles cover."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from titans_ts import (
    DataError,
    LinearForecaster,
    ParameterError,
    RidgeForecaster,
    SeasonalNaiveForecaster,
)
from titans_ts.baselines.common import channel_statistics, fill_edges, thin
from titans_ts.baselines.moments import window_moments
from titans_ts.baselines.ridge import ALPHAS, fit_ridge
from titans_ts.data.seasons import season_candidates
from titans_ts.data.series import SeriesSet
from titans_ts.data.training_windows import TrainingWindows
from titans_ts.data.windows import CutWindows, WindowIndex
from titans_ts.metrics import coverage, mean_absolute_error, pinball_loss

KINDS = {
    "seasonal naive": lambda **kw: SeasonalNaiveForecaster(season_length=12, **kw),
    "ridge": RidgeForecaster,
    "linear": lambda **kw: LinearForecaster(max_epochs=1, random_state=0, **kw),
}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())


def contexts(values, observed):
    """Windows of which only the context is there."""
    nothing = values[:, :0]
    return CutWindows(values, observed, nothing, nothing > 0, np.zeros(len(values), dtype=int))


def waves(n=397, channels=3, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    phase = 2 * np.pi * np.arange(n)[:, None] / 12 + np.arange(channels)
    return np.sin(phase) + noise * rng.normal(size=(n, channels))


def series_set(*arrays):
    return SeriesSet.from_arrays(list(arrays), tuple("abcdefg"[: arrays[0].shape[1]]))


def split(X, n_train, context, horizon):
    joined, n = series_set(X), np.array([n_train])
    return TrainingWindows(
        WindowIndex(joined.head(n), context, horizon),
        WindowIndex(joined, context, horizon, first_origin=n),
    )


# -- what all share --------------------------------------------------------------------------------


@every_kind
def test_a_baseline_continues_a_wave(make):
    X = waves(noise=0.02)
    forecast = make(horizon=7, context_length=29).fit(X[:380]).predict()
    assert forecast.shape == (7, 3)
    assert mean_absolute_error(X[380:387], forecast) < 0.1


@every_kind
def test_forecasts_follow_the_units_of_each_channel(make):
    X = waves()
    units, levels = np.array([1e-12, 1.0, 1e12]), np.array([0.0, 1e9, -3e13])
    plain = make(horizon=7, context_length=29).fit(X)
    scaled = make(horizon=7, context_length=29).fit(X * units + levels)
    np.testing.assert_allclose((scaled.predict() - levels) / units, plain.predict(), atol=1e-2)
    spread = [
        np.diff(f.predict(quantiles=[0.1, 0.9]), axis=-1)[..., 0] / u
        for f, u in ((plain, 1.0), (scaled, units))
    ]
    np.testing.assert_allclose(*spread, atol=2e-2)


@every_kind
@pytest.mark.parametrize(
    "X",
    [
        pytest.param(np.full((97, 2), 0.1 + 1e9), id="constant"),
        pytest.param(np.zeros((97, 2)), id="zero"),
        pytest.param(np.column_stack([np.arange(97.0), np.full(97, -7.3)]), id="one constant"),
        pytest.param(np.where(np.arange(97)[:, None] == 41, 1e12, [[0.0, 1e-12]]), id="a spike"),
        pytest.param(np.where(np.arange(97)[:, None] < 50, 5.0, [[5.0, 8.0]]), id="a late step"),
        pytest.param(np.arange(9.0)[:, None], id="nine rows"),
    ],
)
def test_awkward_series_give_finite_forecasts(make, X):
    forecaster = make(horizon=3, context_length=13)
    if len(X) < 20 and isinstance(forecaster, SeasonalNaiveForecaster):
        forecaster.set_params(season_length=2)
    forecaster.fit(X)
    quantiles = forecaster.predict(quantiles=[0.01, 0.5, 0.99])
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    still = np.ptp(X, axis=0) == 0
    np.testing.assert_allclose(
        forecaster.predict()[:, still], np.broadcast_to(X[-1], (3, X.shape[1]))[:, still]
    )


@every_kind
def test_a_context_shorter_than_in_fit_is_filled_with_its_first_value(make):
    forecaster = make(horizon=7, context_length=29).fit(waves())
    short = waves(seed=1)[:17]
    padded = np.concatenate([np.repeat(short[:1], 12, axis=0), short])
    np.testing.assert_allclose(forecaster.predict(short), forecaster.predict(padded))


@every_kind
def test_gaps_in_a_context_are_filled(make):
    forecaster = make(horizon=7, context_length=29).fit(waves(noise=0.0))
    context = waves(noise=0.0)[None, 24:53]
    observed = np.ones(context.shape, dtype=bool)
    observed[0, 11, 1] = False
    observed[0, :, 2] = False
    spoilt = np.where(observed, context, 0.0)
    forecast = forecaster._forecast(contexts(spoilt, observed))
    whole = forecaster._forecast(contexts(context, np.ones_like(observed)))
    np.testing.assert_array_equal(forecast[..., 0], whole[..., 0])
    assert np.abs(forecast[..., 1] - whole[..., 1]).max() < 0.6
    # A channel of which nothing is known: its mean over the training rows.
    np.testing.assert_allclose(forecast[0, :, 2], forecaster.channel_mean_[2], atol=1e-9)


def test_fill_edges_prefers_the_value_before():
    context = np.array([0.0, 2.0, 0.0, 0.0, 5.0, 0.0])[None, :, None]
    observed = np.array([0, 1, 0, 0, 1, 0], dtype=bool)[None, :, None]
    filled = fill_edges(context, observed, np.array([9.0]))
    np.testing.assert_array_equal(filled.ravel(), [2, 2, 2, 2, 5, 5])


@every_kind
def test_several_series_and_series_never_seen(make):
    X = np.stack([waves(seed=s) * 3 for s in range(5)])
    forecaster = make(horizon=7, context_length=29).fit(X)
    assert forecaster.predict().shape == (5, 7, 3)
    np.testing.assert_allclose(forecaster.predict(X[1:3]), forecaster.predict()[1:3])
    assert forecaster.predict(X[:2] * 1e3).shape == (2, 7, 3)


@every_kind
def test_fitting_reads_no_validation_target_except_to_judge(make):
    X = waves()
    spoilt = X.copy()
    spoilt[-50:] = 1e3
    plain, other = (make(horizon=7, context_length=29).fit(x, validation=50) for x in (X, spoilt))
    np.testing.assert_array_equal(plain.channel_mean_, other.channel_mean_)
    assert not np.array_equal(plain.error_quantiles_, other.error_quantiles_)
    if isinstance(plain, RidgeForecaster):
        plain, other = (
            RidgeForecaster(horizon=7, context_length=29, alpha=0.1).fit(x, validation=50)
            for x in (X, spoilt)
        )
        np.testing.assert_array_equal(plain.coef_, other.coef_)


@every_kind
def test_estimators_clone_and_fit_twice_alike(make):
    forecaster = make(horizon=7, context_length=29)
    first = forecaster.fit(waves()).predict(quantiles=[0.3])
    np.testing.assert_array_equal(clone(forecaster).fit(waves()).predict(quantiles=[0.3]), first)
    np.testing.assert_array_equal(forecaster.fit(waves()).predict(quantiles=[0.3]), first)


# -- quantiles -------------------------------------------------------------------------------------


@every_kind
def test_quantiles_cover_what_they_say(make):
    X = waves(n=4001, channels=2, noise=0.5) * [1.0, 1e3]
    forecaster = make(horizon=7, context_length=29).fit(X[:3000])
    windows = WindowIndex(series_set(X[3000:]), 29, 7)
    cut = windows.cut(np.arange(len(windows)))
    low, mid, high = np.moveaxis(forecaster._forecast(cut, (0.1, 0.5, 0.9)), -1, 0)
    for channel in range(2):
        part = [a[..., channel] for a in (cut.target, low, high)]
        assert coverage(*part) == pytest.approx(0.8, abs=0.04)
    assert np.mean(cut.target < mid) == pytest.approx(0.5, abs=0.04)


@every_kind
def test_quantiles_never_cross_at_any_level(make):
    forecaster = make(horizon=7, context_length=29).fit(waves())
    levels = np.unique(
        np.concatenate([np.linspace(0.0001, 0.9999, 313), [0.005, 0.05, 0.5, 0.995]])
    )
    quantiles = forecaster.predict(quantiles=levels)
    assert quantiles.shape == (7, 3, len(levels))
    assert (np.diff(quantiles, axis=-1) >= 0).all()


def test_quantiles_are_those_of_the_validation_errors():
    rng = np.random.default_rng(0)
    X = rng.exponential(size=(500, 1)) * np.where(np.arange(500) < 400, 1.0, 10.0)[:, None]
    forecaster = SeasonalNaiveForecaster(horizon=1, context_length=5, season_length=1)
    forecaster.fit(X, validation=100)
    errors = X[400:, 0] - X[399:-1, 0]
    offsets = forecaster.predict(quantiles=[0.05, 0.5, 0.975])[0, 0] - X[-1, 0]
    np.testing.assert_allclose(offsets, np.quantile(errors, [0.05, 0.5, 0.975]))
    between = forecaster.predict(quantiles=[0.52])[0, 0, 0] - X[-1, 0]
    low, high = np.quantile(errors, [0.5, 0.55])
    assert between == pytest.approx(low + 0.4 * (high - low))


def test_without_validation_rows_quantiles_come_from_training_errors():
    X = waves()
    forecaster = SeasonalNaiveForecaster(horizon=1, season_length=1, validation_fraction=0).fit(X)
    # The context takes half of the series; a window starts at every row after it.
    errors = np.diff(X, axis=0)[forecaster.context_length_ - 1 :]
    offset = forecaster.predict(quantiles=[0.9])[0, :, 0] - X[-1]
    np.testing.assert_allclose(offset, np.quantile(errors, 0.9, axis=0))


@every_kind
def test_a_channel_that_validation_never_saw_has_quantiles_of_its_training_errors(make):
    X = waves()
    X[-101:, 0] = np.nan
    forecaster = make(horizon=3, context_length=24).fit(X, validation=101)
    width = np.ptp(forecaster.predict(quantiles=[0.1, 0.9]), axis=2)
    np.testing.assert_allclose(width[:, 0], width[:, 1:].mean(axis=1), rtol=0.4)
    if isinstance(forecaster, SeasonalNaiveForecaster):
        learnt = make(horizon=3, context_length=24, validation_fraction=0).fit(X[:-101])
        np.testing.assert_allclose(
            forecaster.error_quantiles_[..., 0], learnt.error_quantiles_[..., 0]
        )


def test_thinned_numbers_are_even_and_keep_both_ends():
    np.testing.assert_array_equal(thin(11, 6), [0, 2, 4, 6, 8, 10])
    np.testing.assert_array_equal(thin(3, 99), [0, 1, 2])


# -- seasonal naive --------------------------------------------------------------------------------


def test_the_last_season_is_repeated():
    X = np.array([[9.0], [9.0], [1.0], [2.0], [5.0]] * 7)
    forecaster = SeasonalNaiveForecaster(horizon=7, season_length=5).fit(X)
    np.testing.assert_array_equal(forecaster.predict().ravel(), [9, 9, 1, 2, 5, 9, 9])


def test_the_context_grows_to_one_season():
    X = waves()
    forecaster = SeasonalNaiveForecaster(horizon=3, context_length=5, season_length=36).fit(X)
    assert forecaster.context_length_ == 36
    np.testing.assert_array_equal(forecaster.predict(), X[-36:-33])


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        pytest.param(24, 24, id="a day"),
        pytest.param(168, 168, id="a week"),
        pytest.param(0, 1, id="a walk"),
    ],
)
def test_the_season_that_does_best_is_chosen(period, expected):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24 * 7 * 6, 2))
    X = X.cumsum(axis=0) if not period else np.tile(X[:period], (len(X) // period, 1)) + 0.1 * X
    frame = pd.DataFrame(X, index=pd.date_range("2024-01-01", periods=len(X), freq="h"))
    forecaster = SeasonalNaiveForecaster(horizon=5).fit(frame)
    assert forecaster.season_length_ == expected
    assert forecaster.context_length_ >= expected


def test_a_season_is_judged_on_training_rows_where_validation_saw_nothing():
    day = np.where(np.arange(480) < 370, np.arange(480.0) % 24, np.nan)
    forecaster = SeasonalNaiveForecaster(horizon=5, context_length=48, freq="h")
    assert forecaster.fit(day[:, None]).season_length_ == 24


def test_an_array_repeats_its_last_value_unless_its_frequency_is_said():
    X = np.tile(np.arange(24.0), 20)[:, None]
    assert SeasonalNaiveForecaster(horizon=5).fit(X).season_length_ == 1
    assert SeasonalNaiveForecaster(horizon=5, freq="h").fit(X).season_length_ == 24


@pytest.mark.parametrize(
    ("freq", "seasons"),
    [
        ("15min", (96, 672)),
        ("h", (24, 168)),
        ("60min", (24, 168)),
        ("7min", (1440,)),
        ("10s", (360, 8640)),
        ("D", (7,)),
        ("24h", (7,)),
        ("2D", ()),
        ("B", (5,)),
        ("W-TUE", (52,)),
        ("ME", (12,)),
        ("MS", (12,)),
        ("BMS", (12,)),
        ("2MS", (6,)),
        ("SME", (24,)),
        ("QE-DEC", (4,)),
        ("YE", ()),
        (None, ()),
    ],
)
def test_seasons_of_a_frequency(freq, seasons):
    assert season_candidates(freq) == seasons


def test_a_missing_value_is_taken_from_the_season_before():
    forecaster = SeasonalNaiveForecaster(horizon=4, context_length=12, season_length=4)
    forecaster.fit(np.arange(60.0)[:, None])
    context = np.arange(12.0)[None, :, None]
    observed = np.ones(context.shape, dtype=bool)
    observed[0, [9, 10, 6]] = False
    forecast = forecaster._forecast(contexts(np.where(observed, context, 0.0), observed))
    np.testing.assert_array_equal(forecast.ravel(), [8, 5, 2, 11])


def test_a_season_longer_than_the_rows_is_refused():
    with pytest.raises(DataError, match=r"season of 90 steps .* need 95 training rows, .* has 80"):
        SeasonalNaiveForecaster(horizon=5, season_length=90).fit(waves(n=100))


# -- ridge -----------------------------------------------------------------------------------------


def plain_ridge(X, n_train, context, horizon, alpha):
    """Ridge by scikit-learn on every window, cut one by one."""
    from sklearn.linear_model import Ridge

    scale = X[:n_train].std(axis=0)
    past, future = [], []
    for channel, s in zip(X.T, scale, strict=True):
        for origin in range(context, n_train - horizon + 1):
            window = channel[origin - context : origin + horizon]
            window = (window - window[:context].mean()) / s
            past.append(window[:context])
            future.append(window[context:])
    past, future = np.array(past), np.array(future)
    penalty = alpha * np.trace(past.T @ past) / context
    return Ridge(alpha=penalty, fit_intercept=False).fit(past, future).coef_.T


@pytest.mark.parametrize("alpha", [1e-3, 0.5])
def test_ridge_is_scikit_learns_ridge_on_every_window(alpha):
    X = waves() * [1.0, 1e5, 1e-5] + [0.0, 3e6, 1.0]
    forecaster = RidgeForecaster(horizon=5, context_length=13, alpha=alpha).fit(X, validation=97)
    assert forecaster.alpha_ == alpha
    expected = plain_ridge(X, 300, 13, 5, alpha)
    np.testing.assert_allclose(forecaster.coef_, expected, rtol=1e-6, atol=1e-9)


def test_ridge_forecasts_the_mean_plus_the_map_of_what_is_left():
    X = waves()
    forecaster = RidgeForecaster(horizon=5, context_length=13).fit(X)
    context = X[-13:]
    mean = context.mean(axis=0)
    np.testing.assert_allclose(forecaster.predict(), mean + forecaster.coef_.T @ (context - mean))


def test_alpha_is_the_one_of_least_squared_error_on_validation_windows():
    X = waves(n=150, noise=1.0)
    windows = split(X, 110, 31, 5)
    mean, scale = channel_statistics(windows.train.series)
    errors = []
    for alpha in ALPHAS:
        coef, _ = fit_ridge(windows, mean, scale, alpha=alpha)
        cut = windows.validation.cut(np.arange(len(windows.validation)))
        level = cut.context.mean(axis=1, keepdims=True)
        forecast = np.einsum("blc,lh->bhc", cut.context - level, coef) + level
        errors.append((((forecast - cut.target) / scale) ** 2).mean())
    assert 0 < np.argmin(errors) < len(ALPHAS)
    assert fit_ridge(windows, mean, scale)[1] == ALPHAS[int(np.argmin(errors))]


def test_alpha_of_zero_solves_noiseless_windows():
    X = waves(noise=0.0, channels=1)
    forecaster = RidgeForecaster(horizon=5, context_length=24, alpha=0).fit(X)
    np.testing.assert_allclose(forecaster.predict(), X[-12:-7], atol=1e-9)


@pytest.mark.parametrize("drift", [0.0, 1e3], ids=["level", "drifting"])
def test_moments_without_windows_equal_those_of_all_windows(drift):
    # 13 rows leave no window; 19 fewer than the context has rows; the others slide.
    sizes = [101, 13, 19, 67]
    arrays = [waves(n=n, seed=n) + drift * np.arange(n)[:, None] for n in sizes]
    data, scale = series_set(*arrays), np.array([0.5, 3.0, 70.0])
    windows = WindowIndex(data, 11, 5, first_origin=np.array([11, 11, 11, 11]))
    got = window_moments(windows, np.zeros(3), scale)
    cut = windows.cut(np.arange(len(windows)))
    past = (cut.context / scale).transpose(0, 2, 1).reshape(-1, 11)
    future = (cut.target / scale).transpose(0, 2, 1).reshape(-1, 5)
    past, future = (a - past.mean(axis=1, keepdims=True) for a in (past, future))
    size = np.trace(past.T @ past)
    np.testing.assert_allclose(got.gram, past.T @ past, atol=1e-11 * size)
    np.testing.assert_allclose(got.cross, past.T @ future, atol=1e-11 * size)
    assert got.energy == pytest.approx((future**2).sum())
    assert got.n_windows == len(past) == 3 * (86 + 0 + 4 + 52)


def test_moments_of_gappy_and_padded_windows_are_added_up_window_by_window():
    data = series_set(waves(n=61), waves(n=17, seed=1), waves(n=43, seed=2))
    observed = np.ones(data.values.shape, dtype=bool)
    observed[20, 1] = observed[100, 0] = False
    observed[30:33, 2] = False  # more than half of some targets
    gappy = SeriesSet.from_rows(
        np.where(observed, data.values, 0.0), observed, data.offsets, data.channels
    )
    scale, fallback = np.array([0.5, 3.0, 70.0]), np.zeros(3)
    # The second series has room for fewer rows of context; its windows are padded.
    windows = WindowIndex(gappy, 13, 5, first_origin=np.array([13, 7, 13]))
    got = window_moments(windows, fallback, scale)
    gram, cross, energy, count = np.zeros((13, 13)), np.zeros((13, 5)), 0.0, 0
    for i in range(len(windows)):
        cut = windows.cut(np.array([i]))
        filled = fill_edges(cut.context, cut.context_observed, fallback)[0] / scale
        for c in range(3):
            if cut.target_observed[0, :, c].sum() > 2:
                past = filled[:, c] - filled[:, c].mean()
                target = fill_edges(cut.target, cut.target_observed, fallback)[0, :, c]
                future = target / scale[c] - filled[:, c].mean()
                gram += np.outer(past, past)
                cross += np.outer(past, future)
                energy, count = energy + (future**2).sum(), count + 1
    np.testing.assert_allclose(got.gram, gram, atol=1e-9)
    np.testing.assert_allclose(got.cross, cross, atol=1e-9)
    assert got.energy == pytest.approx(energy)
    assert got.n_windows == count < 3 * len(windows)


def test_ridge_says_so_when_no_target_is_half_there():
    X = waves(n=61)
    observed = np.arange(61)[:, None] % 4 > np.full(3, 2)
    gappy = SeriesSet.from_rows(
        np.where(observed, X, 0.0), observed, np.array([0, 61]), ("a", "b", "c")
    )
    windows = TrainingWindows(WindowIndex(gappy, 13, 5), None)
    with pytest.raises(
        DataError, match="No stretch of 5 training rows has values in at least half"
    ):
        fit_ridge(windows, np.zeros(3), np.ones(3))


# -- linear ----------------------------------------------------------------------------------------


def test_linear_has_a_smaller_absolute_error_than_ridge_when_there_are_outliers():
    rng = np.random.default_rng(0)
    X = waves(n=2003, noise=0.1)
    X = X + 5 * rng.standard_exponential(X.shape) * (rng.random(X.shape) < 0.05)
    params = {"horizon": 5, "context_length": 24}
    ridge = RidgeForecaster(**params).fit(X[:1600])
    linear = LinearForecaster(**params, random_state=0).fit(X[:1600])
    assert linear.score(X[1600:]) > ridge.score(X[1600:]) * 0.97


def test_linear_keeps_the_weights_of_the_best_epoch():
    X = waves(n=397, noise=0.5)
    params = {"horizon": 5, "context_length": 24, "learning_rate": 0.03, "random_state": 0}
    forecaster = LinearForecaster(**params, max_epochs=4, patience=4).fit(X, validation=97)
    errors = forecaster.validation_errors_
    assert len(errors) == 5
    assert forecaster.best_epoch_ == errors.argmin()
    scale = X[:300].std(axis=0)
    windows = WindowIndex(series_set(X), 24, 5, first_origin=np.array([300]))
    total = np.mean(
        [np.abs((f - c.target) / scale).mean() for c, f in forecaster.iter_forecasts(windows)]
    )
    assert total == pytest.approx(errors.min(), rel=1e-5)


def test_linear_stops_when_validation_gets_no_better():
    X = waves(n=397, noise=0.5)
    forecaster = LinearForecaster(
        horizon=5, context_length=24, learning_rate=3.0, max_epochs=9, patience=2, random_state=0
    ).fit(X)
    assert forecaster.best_epoch_ == 0
    assert len(forecaster.validation_errors_) == 3
    ridge = RidgeForecaster(horizon=5, context_length=24).fit(X)
    np.testing.assert_allclose(forecaster.coef_, ridge.coef_, atol=1e-6)


def test_linear_without_validation_runs_every_epoch():
    forecaster = LinearForecaster(
        horizon=5, context_length=24, max_epochs=2, validation_fraction=0, random_state=0
    ).fit(waves())
    assert forecaster.best_epoch_ == 2
    assert forecaster.validation_errors_.size == 0


def test_validation_rows_without_a_value_judge_no_epoch():
    X = waves()
    X[-101:] = np.nan
    options = {"horizon": 5, "context_length": 24, "max_epochs": 3, "patience": 1}
    forecaster = LinearForecaster(**options, random_state=0).fit(X, validation=101)
    assert forecaster.best_epoch_ == 3
    assert forecaster.validation_errors_.size == 0


@pytest.mark.parametrize(
    "state", [lambda: 3, lambda: np.random.RandomState(3), lambda: np.random.default_rng(3)]
)
def test_linear_is_reproducible_and_leaves_the_global_generator_alone(state):
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = (
        LinearForecaster(horizon=5, context_length=24, max_epochs=1, random_state=state())
        .fit(waves())
        .coef_
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)
    other = LinearForecaster(horizon=5, context_length=24, max_epochs=1, random_state=4).fit(
        waves()
    )
    assert not np.array_equal(one, other.coef_)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_linear_shows_a_bar_only_when_asked(capsys):
    for verbose in (0, 1):
        LinearForecaster(
            horizon=5, context_length=24, max_epochs=1, random_state=0, verbose=verbose
        ).fit(waves())
        output = capsys.readouterr()
        assert ("LinearForecaster" in output.out + output.err) == bool(verbose)


# -- wrong parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forecaster", "message"),
    [
        (RidgeForecaster(alpha=-1), "alpha must be a number between 0 and"),
        (RidgeForecaster(context_length=0), "context_length must be a whole number of at least 1"),
        (SeasonalNaiveForecaster(season_length=0), "season_length must be .* or None, got 0"),
        (LinearForecaster(max_epochs=0), "max_epochs must be a whole number"),
        (LinearForecaster(batch_size=2.5), "batch_size must be a whole number"),
        (LinearForecaster(learning_rate=0), "learning_rate must be a number strictly between"),
        (LinearForecaster(random_state="x"), "random_state must be None, a whole number"),
        (LinearForecaster(random_state=-1), "random_state must be None, a whole number"),
    ],
)
def test_wrong_parameters_get_a_sentence_at_fit(forecaster, message):
    with pytest.raises(ParameterError, match=message):
        forecaster.fit(waves())


# -- real data -------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_quantiles_of_a_baseline_beat_its_point_forecast_on_etth1(real_data):
    from titans_ts.data.csv import read_csv

    X = read_csv(real_data / "forecasting" / "ETTh1.csv.gz").iloc[:14_400]
    forecaster = RidgeForecaster(horizon=24).fit(X.iloc[:11_520])
    windows = WindowIndex(series_set(X.iloc[11_000:].to_numpy()), 336, 24)
    cut = windows.cut(np.arange(0, len(windows), 7))
    levels = (0.1, 0.25, 0.5, 0.75, 0.9)
    quantiles = forecaster._forecast(cut, levels)
    point = np.repeat(forecaster._forecast(cut)[..., None], 5, axis=-1)
    loss, naive = (pinball_loss(cut.target, f, levels) for f in (quantiles, point))
    assert loss < 0.95 * naive
    assert coverage(cut.target, quantiles[..., 0], quantiles[..., -1]) == pytest.approx(
        0.8, abs=0.1
    )
