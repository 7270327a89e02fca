"""TitansForecaster: fit, predict, score and save, over containers, variants and options."""

import copy
import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from tiny_fits import tiny, waves

from titans_ts import TitansForecaster
from titans_ts.config import VARIANTS
from titans_ts.errors import DataError, ParameterError, SavedModelError
from titans_ts.nn.memory import NeuralMemory
from titans_ts.persistence.files import signed_text

HORIZON, ROWS, CHANNELS = 7, 401, 3


def frame(n=ROWS, start="2021-03-01"):
    index = pd.date_range(start, periods=n, freq="h", name="date")
    return pd.DataFrame(waves(n, CHANNELS), index=index, columns=["HUFL", "OT", "MULL"])


@pytest.fixture(scope="module")
def fitted():
    """One forecaster for the tests that only use it."""
    return tiny(variant="mac", quantiles=(0.1, 0.5, 0.9)).fit(frame())


# -- what goes in comes out ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "shape"),
    [
        pytest.param(waves(ROWS, CHANNELS), (HORIZON, CHANNELS), id="2-D array"),
        pytest.param(np.stack([waves(ROWS, CHANNELS)] * 5), (5, HORIZON, CHANNELS), id="3-D array"),
        pytest.param(frame()["OT"], (HORIZON,), id="Series"),
        pytest.param(frame(), (HORIZON, CHANNELS), id="wide frame"),
        pytest.param(frame().reset_index(), (HORIZON, CHANNELS + 1), id="time column"),
    ],
)
def test_fit_predict_score_save_and_load_go_together(X, shape, tmp_path):
    forecaster = tiny()
    assert forecaster.fit(X) is forecaster
    forecast = forecaster.predict()
    assert type(forecast) is type(X)
    assert forecast.shape == shape
    pd.testing.assert_frame_equal(flat(forecaster.predict(X)), flat(forecast))
    score = forecaster.score(X)
    assert -10 < score < 0
    forecaster.save(tmp_path / "model")
    loaded = TitansForecaster.load(tmp_path / "model")
    pd.testing.assert_frame_equal(flat(loaded.predict()), flat(forecast), check_exact=True)
    assert loaded.score(X) == score
    assert loaded.history_ == forecaster.history_
    assert loaded.get_params() == forecaster.get_params()


def flat(forecast):
    if isinstance(forecast, np.ndarray):
        forecast = forecast.reshape(-1, forecast.shape[-1])
    return pd.DataFrame(forecast)


def test_a_frames_forecast_starts_where_the_frame_ends(fitted):
    forecast = fitted.predict()
    expected = pd.date_range(frame().index[-1], periods=HORIZON + 1, freq="h", name="date")[1:]
    pd.testing.assert_index_equal(forecast.index, expected)
    assert list(forecast.columns) == ["HUFL", "OT", "MULL"]
    assert list(fitted.feature_names_in_) == ["HUFL", "OT", "MULL"]
    assert fitted.n_features_in_ == CHANNELS


def test_only_the_targets_are_forecast():
    forecaster = tiny(target=["OT"]).fit(frame())
    assert list(forecaster.predict().columns) == ["OT"]
    other = frame()
    other["HUFL"] = 1e6
    pd.testing.assert_frame_equal(forecaster.predict(other), forecaster.predict())


# -- every way to build it -------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("normalisation", ["running", "window"])
@pytest.mark.parametrize("highway", [True, False])
def test_every_variant_learns_forecasts_and_is_saved(variant, normalisation, highway, tmp_path):
    forecaster = tiny(variant=variant, normalisation=normalisation, highway=highway)
    forecaster.fit(waves())
    assert np.isfinite(forecaster.predict()).all()
    assert (forecaster.model_.head.highway is not None) == highway
    assert forecaster.model_.backbone.config.variant == variant
    forecaster.save(tmp_path / "model")
    loaded = TitansForecaster.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(), forecaster.predict())


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"depth": 0}, id="highway alone"),
        pytest.param({"depth": 2, "n_heads": 2}, id="two blocks"),
        pytest.param({"channel_mixing": True}, id="channel mixing"),
        pytest.param({"loss": "mse"}, id="mse"),
        pytest.param({"loss": "huber"}, id="huber"),
        pytest.param({"loss": "student_t"}, id="student_t"),
        pytest.param({"backbone_options": {"memory_writes": False}}, id="memory off"),
        pytest.param({"backbone_options": {"momentum": False, "conv_width": 0}}, id="ablations"),
        pytest.param({"precision": "64-true"}, id="float64"),
    ],
)
def test_options_survive_a_save(options, tmp_path):
    forecaster = tiny(**options).fit(waves())
    forecaster.save(tmp_path / "model")
    state = torch.get_rng_state()
    loaded = TitansForecaster.load(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(loaded.predict(), forecaster.predict())
    assert (loaded.model_.backbone is None) == (options.get("depth") == 0)


def test_the_highway_alone_is_a_linear_forecaster():
    """With depth=0, forecasts of a sum of series on one level and spread are the sum of theirs."""
    forecaster = tiny(depth=0, normalisation="window", max_epochs=2).fit(waves())
    time = np.arange(96)
    one, two = np.sin(2 * np.pi * time / 16)[:, None], np.cos(2 * np.pi * time / 12)[:, None]
    # Whole periods: mean 0 and deviation sqrt(1/2) each; that of the sum is 1.
    pair = np.concatenate([one, two], axis=1)
    both = forecaster.predict(np.repeat(one + two, 2, axis=1))[:, 0]
    np.testing.assert_allclose(forecaster.predict(pair).sum(axis=1), both, atol=1e-5)


# -- quantiles -------------------------------------------------------------------------------------


def test_quantiles_are_ordered_columns_and_the_median_is_the_point_forecast(fitted):
    quantiles = fitted.predict(quantiles=(0.1, 0.5, 0.9))
    assert list(quantiles.columns[:3]) == ["HUFL_q0.1", "HUFL_q0.5", "HUFL_q0.9"]
    cube = quantiles.to_numpy().reshape(HORIZON, CHANNELS, 3)
    assert (np.diff(cube, axis=-1) > 0).all()
    np.testing.assert_allclose(cube[..., 1], fitted.predict().to_numpy())
    pd.testing.assert_frame_equal(fitted.predict(quantiles=[0.9]), quantiles.iloc[:, 2::3])


def test_the_point_forecast_is_the_median_even_where_it_was_not_asked_for():
    # Of 1 and 0, the median is 1 and the quantile 0.1 is 0.
    X = (np.random.default_rng(0).random((997, 1)) < 0.8).astype(float)
    options = {"limit_train_batches": 40, "limit_val_batches": 1}
    forecaster = tiny(
        quantiles=(0.1, 0.9), learning_rate=3e-2, context_length=32, trainer_kwargs=options
    )
    forecast = forecaster.fit(X).predict()
    assert forecast.mean() > 0.7
    assert forecaster.predict(quantiles=(0.1,)).mean() < 0.3


def test_student_t_has_quantiles_at_any_level():
    forecaster = tiny(loss="student_t").fit(waves())
    quantiles = forecaster.predict(quantiles=(0.025, 0.3, 0.5, 0.99))
    assert quantiles.shape == (HORIZON, 2, 4)
    assert (np.diff(quantiles, axis=-1) > 0).all()
    np.testing.assert_allclose(quantiles[..., 2], forecaster.predict(), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "trained for a point forecast only.*Construct it with quantiles="),
        ({"quantiles": (0.1, 0.9)}, r"quantiles \[0.2\] were not trained"),
    ],
)
def test_quantiles_that_were_not_trained_are_refused(options, message):
    forecaster = tiny(**options).fit(waves())
    with pytest.raises(ParameterError, match=message):
        forecaster.predict(quantiles=(0.2,))
    with pytest.raises(ParameterError, match="quantiles must be increasing fractions"):
        forecaster.predict(quantiles=(0.9, 0.1))


# -- predict ---------------------------------------------------------------------------------------


def test_predicting_twice_gives_the_same_and_changes_nothing(fitted):
    weights = {k: v.clone() for k, v in fitted.model_.state_dict().items()}
    names = set(vars(fitted))
    kept = copy.deepcopy(fitted.context_)
    first = fitted.predict()
    fitted.predict(frame(53, start="2022-01-01"))
    pd.testing.assert_frame_equal(fitted.predict(), first, check_exact=True)
    assert set(vars(fitted)) == names
    assert all(torch.equal(v, weights[k]) for k, v in fitted.model_.state_dict().items())
    np.testing.assert_array_equal(kept.values, fitted.context_.values)
    assert not fitted.model_.training


def test_only_the_last_context_length_rows_count(fitted):
    X = frame()
    pd.testing.assert_frame_equal(
        fitted.predict(X.iloc[-fitted.context_length_ :]), fitted.predict(X)
    )
    changed = X.copy()
    changed.iloc[-fitted.context_length_] += 5.0
    assert not np.allclose(fitted.predict(changed), fitted.predict(X), rtol=1e-6)


@pytest.mark.parametrize("n", [2, 5, 31, 95])
def test_a_shorter_table_is_enough_to_predict(fitted, n):
    forecast = fitted.predict(frame().iloc[-n:])
    assert np.isfinite(forecast.to_numpy()).all()
    assert len(forecast) == HORIZON


def test_series_never_seen_are_forecast_each_by_itself():
    forecaster = tiny(variant="mac").fit(waves())
    many = np.random.default_rng(1).normal(size=(11, 97, 2)).cumsum(axis=1)
    together = forecaster.predict(many)
    assert together.shape == (11, HORIZON, 2)
    for one, forecast in zip(many, together, strict=True):
        np.testing.assert_allclose(forecaster.predict(one), forecast, rtol=1e-4, atol=1e-5)


def test_other_columns_than_in_fit_are_refused(fitted):
    with pytest.raises(DataError, match="2 features, but TitansForecaster is expecting 3 features"):
        fitted.predict(frame()[["OT", "HUFL"]])
    with pytest.raises(DataError, match="same columns in the same order"):
        fitted.predict(frame()[["OT", "HUFL", "MULL"]])


def test_the_score_is_minus_the_mean_absolute_error_of_every_origin(fitted):
    X = frame(131, start="2022-01-01")
    context = fitted.context_length_
    errors = []
    for origin in range(context, len(X) - HORIZON + 1):
        forecast = fitted.predict(X.iloc[origin - context : origin])
        errors.append(np.abs(forecast.to_numpy() - X.iloc[origin : origin + HORIZON].to_numpy()))
    assert fitted.score(X) == pytest.approx(-np.mean(errors), rel=1e-5)
    assert fitted.score(X, X.to_numpy()) == fitted.score(X)
    with pytest.raises(DataError, match="Nothing to score: the longest series has 102 rows"):
        fitted.score(X.iloc[:102])


# -- scikit-learn's rules --------------------------------------------------------------------------


def test_fitting_twice_is_fitting_once():
    forecaster = tiny().fit(frame())
    first = forecaster.predict()
    pd.testing.assert_frame_equal(forecaster.fit(frame()).predict(), first, check_exact=True)
    array = waves(ROWS, 2)
    refitted = forecaster.fit(array)
    np.testing.assert_array_equal(refitted.predict(), tiny().fit(array).predict())
    assert not hasattr(refitted, "feature_names_in_")


def test_parameters_are_stored_as_given_cloned_and_set():
    forecaster = tiny(quantiles=[0.1, 0.9], backbone_options={"momentum": False})
    copied = clone(forecaster)
    assert copied.get_params() == forecaster.get_params()
    assert copied.set_params(horizon=11).horizon == 11
    assert TitansForecaster().get_params().keys() == copied.get_params().keys()
    before = dict(vars(forecaster))
    forecaster.fit(waves())
    for name, value in before.items():
        assert vars(forecaster)[name] is value
    assert not hasattr(clone(forecaster), "model_")


def test_a_pickle_forecasts_the_same(fitted):
    copied = pickle.loads(pickle.dumps(fitted))
    pd.testing.assert_frame_equal(copied.predict(), fitted.predict(), check_exact=True)


def test_nothing_is_forecast_before_fit():
    for use in ("predict", "score", "save"):
        with pytest.raises(NotFittedError, match="TitansForecaster instance is not fitted yet"):
            getattr(tiny(), use)(*(() if use == "predict" else (waves(),)))


def test_y_of_as_many_rows_as_x_changes_nothing():
    X = waves()
    expected = tiny().fit(X).predict()
    for y in (X, X[:, 0], np.zeros(ROWS), pd.Series(np.zeros(ROWS))):
        np.testing.assert_array_equal(tiny().fit(X, y).predict(), expected)


def test_y_that_says_something_else_than_x_is_refused():
    with pytest.raises(
        DataError, match=r"y has the shape \(398,\), but X has 401 rows.*leave y out"
    ):
        tiny().fit(waves(), np.zeros(ROWS - 3))
    frame = pd.DataFrame(waves(), columns=["load", "price"])
    forecaster = tiny(target="load").fit(frame, frame["load"])
    with pytest.raises(DataError, match=r"'price', which is none of X's target columns \['load'\]"):
        forecaster.fit(frame, frame["price"])
    with pytest.raises(DataError, match="y is no array"):
        tiny().fit(waves(), [[1.0], [2.0, 3.0]])
    with pytest.raises(DataError, match="y is called 'price'"):
        forecaster.score(frame, frame[["load", "price"]])


# -- saving ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["forecaster.json", "arrays.safetensors"])
@pytest.mark.parametrize("spoil", ["truncated", "garbage"])
def test_a_damaged_save_is_refused(fitted, tmp_path, name, spoil):
    fitted.save(tmp_path / "model")
    file = tmp_path / "model" / name
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if spoil == "truncated" else b"{}" * 99)
    with pytest.raises(SavedModelError, match=r"truncated|no JSON|not describe"):
        TitansForecaster.load(tmp_path / "model")


def test_a_save_of_a_newer_version_is_refused(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    file = tmp_path / "model" / "forecaster.json"
    text = file.read_text()
    assert '"format_version": 2,' in text
    file.write_text(text.replace('"format_version": 2,', '"format_version": 99,'))
    with pytest.raises(SavedModelError, match=r"format 99.*Upgrade titans_ts"):
        TitansForecaster.load(tmp_path / "model")


def test_weights_that_do_not_fit_their_description_are_refused(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    file = tmp_path / "model" / "forecaster.json"
    header = json.loads(file.read_text())
    header["state"]["backbone"]["dim"] = 16
    file.write_text(signed_text(header))
    with pytest.raises(SavedModelError, match="does not fit its own description"):
        TitansForecaster.load(tmp_path / "model")


# -- the memory at work ----------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_with_default_settings_stopping_the_writes_changes_the_forecast(variant):
    """So the memory learns while it predicts; that it has enough chunks to do so is a default."""
    X = waves(2003)
    forecaster = TitansForecaster(
        horizon=HORIZON,
        variant=variant,
        max_epochs=1,
        random_state=0,
        trainer_kwargs={"limit_train_batches": 3, "limit_val_batches": 1},
    ).fit(X)
    learning = forecaster.predict()
    memories = [m for m in forecaster.model_.modules() if isinstance(m, NeuralMemory)]
    assert memories
    for memory in memories:
        memory.writes = False
    change = np.abs(forecaster.predict() - learning)
    assert change.max() > 1e-4  # of a signal of size 1, after three steps of training


# -- units -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [2.0**20, 2.0**-40, 1e6])
def test_a_channel_in_other_units_has_the_same_forecast_in_those_units(factor):
    X = waves()
    plain = tiny(variant="mac", max_epochs=2).fit(X).predict()
    scaled = tiny(variant="mac", max_epochs=2).fit(X * np.array([1.0, factor])).predict()
    # A power of two changes no digit; another factor rounds, and training carries that on.
    rtol = 1e-3 if factor == 1e6 else 0
    np.testing.assert_allclose(scaled, plain * np.array([1.0, factor]), rtol=rtol)
