"""TitansForecaster at its limits: wrong values, few rows, short contexts, and validation rows."""

import numpy as np
import pandas as pd
import pytest
from lightning.pytorch.loggers import CSVLogger
from tiny_fits import tiny, waves

from titans_ts import TitansForecaster, load_model
from titans_ts.errors import DataError, ParameterError


class Untouchable:
    """A table that nobody may look at."""

    def __getattribute__(self, name):
        raise AssertionError(f"the data were touched: {name}")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"horizon": 0}, "horizon must be a whole number of at least 1, got 0"),
        ({"horizon": 7.0}, "horizon must be a whole number of at least 1, got 7.0"),
        ({"horizon": True}, "horizon must be a whole number"),
        ({"context_length": -5}, "context_length must be a whole number of at least 1, got -5"),
        ({"variant": "MAC"}, "variant must be one of 'mac', 'mag', 'mal', 'lmm'; got 'MAC'"),
        ({"quantiles": (0.9, 0.1)}, "quantiles must be increasing fractions strictly between"),
        ({"quantiles": (10, 90)}, "quantiles must be increasing fractions"),
        ({"quantiles": 0.5}, "quantiles must be increasing fractions"),
        ({"patch_length": 0}, "patch_length must be a whole number"),
        ({"dim": 7}, "dim must be a multiple of 2 [*] n_heads"),
        ({"depth": -1}, "depth must be a whole number of at least 0, got -1"),
        ({"n_heads": "two"}, "n_heads must be a whole number of at least 1, got 'two'"),
        ({"memory_depth": 5}, "memory_depth must be one of 1, 2, 3, 4; got 5"),
        ({"chunk_size": 0}, "chunk_size must be"),
        ({"segment_length": None}, "segment_length must be"),
        ({"loss": "rmse"}, "loss must be one of 'mae', 'mse', 'huber'"),
        ({"loss": "mse", "quantiles": (0.1,)}, "loss='mse' has no quantiles"),
        ({"loss": "pinball"}, "loss='pinball' needs quantiles="),
        ({"normalisation": "batch"}, "normalisation must be one of 'running', 'window'"),
        ({"highway": "no"}, "highway must be one of True, False"),
        ({"channel_mixing": None}, "channel_mixing must be one of True, False"),
        ({"depth": 0, "highway": False}, "nothing would be left to learn"),
        ({"depth": 0, "channel_mixing": True}, "channel_mixing=True needs a backbone"),
        ({"backbone_options": 5}, "backbone_options must be a mapping"),
        ({"backbone_options": {"momentun": False}}, r"\['momentun'\] is unknown; expected some of"),
        ({"backbone_options": {"dim": 16}}, r"backbone_options\['dim'\] is a parameter of its own"),
        ({"backbone_options": {"dropout": 2}}, "dropout must be a number between 0 and 0.95"),
        ({"max_epochs": 0}, "max_epochs must be a whole number of at least 1"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"learning_rate": 0}, "learning_rate must be a number strictly between 0 and 10, got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number"),
        ({"validation_fraction": 1.0}, "validation_fraction must be a number between 0 and 0.9"),
        ({"patience": 0}, "patience must be a whole number"),
        ({"accelerator": "abacus"}, "Trainer cannot take accelerator='abacus'.*abacus"),
        ({"devices": -7, "accelerator": "cpu"}, "Trainer cannot take .*devices=-7"),
        ({"precision": "8-bit"}, "Trainer cannot take .*precision='8-bit'"),
        ({"trainer_kwargs": {"precision": "16-true"}}, "precision='16-true' would keep the memory"),
        ({"precision": "bf16-true"}, "would keep the memory in few digits; use 'bf16-mixed'"),
        ({"random_state": "x"}, "random_state must be None, a whole number of at least 0"),
        ({"random_state": -1}, "random_state must be None, a whole number of at least 0"),
        ({"verbose": -1}, "verbose must be a whole number of at least 0"),
    ],
)
def test_a_wrong_value_gets_a_sentence_before_any_data_is_touched(bad, message):
    with pytest.raises(ParameterError, match=message):
        tiny(**bad).fit(Untouchable())


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (5, "trainer_kwargs must be a mapping of arguments of Lightning's Trainer"),
        ({"max_stepz": 5}, "Trainer cannot take .*unexpected keyword argument 'max_stepz'"),
        ({"overfit_batches": 2}, "overfit_batches=2, which has an order of rows .* limit_train"),
        ({"barebones": True}, "barebones=True, which leaves out the judging of epochs"),
        ({"logger": "x"}, "logger='x', expected a Logger of Lightning, or a list"),
        ({"logger": [CSVLogger(".", None, 0), 3]}, "expected a Logger of Lightning"),
        ({"callbacks": "x"}, "callbacks='x', expected a Callback of Lightning, or a list"),
        ({"callbacks": [object]}, "expected a Callback of Lightning"),
        ({"max_epochs": "a"}, "max_epochs in trainer_kwargs must be a whole number"),
        ({"max_steps": 2.5}, "max_steps in trainer_kwargs must be a whole number"),
    ],
)
def test_wrong_arguments_for_the_trainer_get_a_sentence(kwargs, message):
    with pytest.raises(ParameterError, match=message):
        TitansForecaster(trainer_kwargs=kwargs).fit(Untouchable())


# -- few rows --------------------------------------------------------------------------------------


def test_a_series_shorter_than_horizon_and_one_patch_gets_a_sentence():
    forecaster = tiny(validation_fraction=0)
    with pytest.raises(
        DataError,
        match=r"longest series has 9 training rows .*horizon of 7 .* at least 3 needs 10",
    ):
        forecaster.fit(waves(9))
    assert np.isfinite(forecaster.fit(waves(10)).predict()).all()


@pytest.mark.parametrize("variant", ["mac", "mag"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"segment_length": 4, "chunk_size": 8}, (4, 8)),
        ({"segment_length": 10, "chunk_size": 4}, (10, 4)),
        ({"segment_length": 99, "chunk_size": 6}, (12, 6)),
        ({"segment_length": 99, "chunk_size": 99}, (16, 8)),
    ],
)
def test_segments_are_as_asked_for_where_the_context_has_room(variant, options, expected):
    # 64 tokens: at most 16 in a segment, and 8 in a chunk.
    forecaster = tiny(
        variant=variant,
        context_length=128,
        patch_length=2,
        trainer_kwargs={"limit_train_batches": 1, "limit_val_batches": 1},
        **options,
    ).fit(waves())
    config = forecaster.model_.backbone.config
    assert (config.segment_length, config.chunk_size) == expected
    assert np.isfinite(forecaster.predict()).all()


@pytest.mark.parametrize("normalisation", ["running", "window"])
@pytest.mark.parametrize("value", [np.finfo(float).max, -1e160])
def test_a_value_whose_square_is_no_number_is_named(normalisation, value):
    forecaster = tiny(
        normalisation=normalisation,
        trainer_kwargs={"limit_train_batches": 1, "limit_val_batches": 1},
    ).fit(waves())
    X = waves()
    X[-9, 0] = value
    for use in (forecaster.predict, forecaster.score):
        with pytest.raises(DataError, match=r"Column '0' cannot be forecast from values as"):
            use(X)


@pytest.mark.parametrize(
    ("variant", "context_length"),
    [("lmm", 1), ("mac", 3), ("mal", 20), ("mag", 32), ("mac", 33), ("mag", 61), ("mac", 150)],
)
def test_a_short_context_still_has_segments_and_chunks(variant, context_length):
    forecaster = tiny(
        batch_size=11,
        variant=variant,
        context_length=context_length,
        chunk_size=8,
        segment_length=16,
        trainer_kwargs={"limit_train_batches": 1, "limit_val_batches": 1},
    ).fit(waves())
    assert np.isfinite(forecaster.predict()).all()
    context, patch = forecaster.context_length_, forecaster.model_.head.config.patch_length
    assert context_length - patch < context <= context_length
    config = forecaster.model_.backbone.config
    n_tokens = context // patch
    assert context == n_tokens * patch
    assert config.segment_length % config.chunk_size == 0
    if context_length >= 32:
        assert n_tokens // config.segment_length >= 4
        assert n_tokens // config.chunk_size >= 8


@pytest.mark.parametrize(("n", "context"), [(401, 96), (120, 44), (50, 16)])
def test_a_context_is_at_most_half_of_the_training_rows(n, context):
    forecaster = tiny(variant="mal").fit(waves(n))
    assert forecaster.context_length_ == context
    assert np.isfinite(forecaster.predict()).all()


def test_a_horizon_longer_than_the_context_is_no_trouble():
    forecaster = tiny(horizon=53, context_length=11).fit(waves())
    assert forecaster.predict().shape == (53, 2)
    assert np.isfinite(forecaster.predict()).all()


def test_series_of_which_one_is_constant_are_learnt_together():
    X = np.stack([waves(), np.zeros((401, 2)), 3 + waves()])
    forecast = tiny().fit(X).predict()
    assert np.isfinite(forecast).all()
    np.testing.assert_allclose(forecast[1], 0, atol=1e-6)


# -- validation ------------------------------------------------------------------------------------


def frames(n_first, n_second, gap=0):
    index = pd.date_range("2021-03-01", periods=n_first + gap + n_second, freq="h")
    whole = pd.DataFrame(waves(len(index)), index=index, columns=["HUFL", "OT"])
    return whole.iloc[:n_first], whole.iloc[n_first + gap :]


def test_rows_that_follow_are_as_good_as_a_number_of_last_rows():
    first, later = frames(337, 64)
    whole = pd.concat([first, later])
    by_frame = tiny().fit(first, validation=later)
    by_number = tiny().fit(whole, validation=64)
    by_array = tiny().fit(first.to_numpy(), validation=later.to_numpy())
    by_fraction = tiny(validation_fraction=0.16).fit(whole)
    assert by_frame.history_ == by_number.history_ == by_array.history_ == by_fraction.history_
    assert "validation_loss" in by_frame.history_[0]
    # What is kept to forecast from is the end of X, which is later where X held all rows.
    assert by_frame.predict().index[0] == later.index[0]
    assert by_number.predict().index[0] == later.index[-1] + pd.Timedelta(hours=1)


@pytest.mark.parametrize(
    ("validation", "error", "message"),
    [
        (6, ParameterError, r"validation=6 rows .* at least the horizon \(7\)"),
        (401, ParameterError, "validation=401 rows cannot be set aside"),
        (-9, ParameterError, "validation=-9 rows cannot be set aside"),
        (frames(401, 6)[1], DataError, r"validation has 6 rows, fewer than the horizon \(7\)"),
        (frames(401, 50)[1][["OT"]], DataError, "validation has the columns"),
        (frames(401, 50, gap=3)[1], DataError, "follow|starts"),
    ],
)
def test_validation_rows_that_cannot_judge_are_refused(validation, error, message):
    with pytest.raises(error, match=message):
        tiny().fit(frames(401, 0)[0], validation=validation)


def test_the_number_zero_and_the_fraction_zero_set_no_rows_aside():
    by_number = tiny().fit(waves(), validation=0)
    by_fraction = tiny(validation_fraction=0).fit(waves())
    np.testing.assert_array_equal(by_number.predict(), by_fraction.predict())
    assert by_number.best_epoch_ is None


# -- learning --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["mac", "mag", "mal", "lmm"])
def test_a_wave_is_forecast_far_better_than_by_its_level(variant):
    X = waves(1501, noise=0.05)
    forecaster = TitansForecaster(
        horizon=11,
        context_length=128,
        patch_length=4,
        variant=variant,
        highway=False,
        max_epochs=6,
        random_state=0,
    ).fit(X[:1401])
    later = X[1401 - forecaster.context_length_ :]
    level = np.abs(X[1401:] - X[:1401].mean(axis=0)).mean()
    assert -forecaster.score(later) < 0.4 * level


def test_numbers_of_numpy_which_a_grid_sets_are_numbers(tmp_path):
    plain = tiny().get_params(deep=False)
    kinds = {int: np.int64, float: np.float64}
    given = {name: kinds.get(type(value), lambda x: x)(value) for name, value in plain.items()}
    assert isinstance(given["max_epochs"], np.int64)
    one, other = (TitansForecaster(**parameters).fit(waves()) for parameters in (plain, given))
    np.testing.assert_array_equal(one.predict(), other.predict())
    other.save(tmp_path / "model")
    np.testing.assert_array_equal(load_model(tmp_path / "model").predict(), one.predict())


def test_a_calendar_may_be_turned_on_and_off_by_a_boolean_of_numpy():
    table = pd.DataFrame(waves(), index=pd.date_range("2024", periods=401, freq="h"))
    for calendar in (True, False):
        one, other = (tiny(calendar=each).fit(table) for each in (calendar, np.bool_(calendar)))
        np.testing.assert_array_equal(one.predict(), other.predict())
    with pytest.raises(ParameterError, match="calendar is False"):
        tiny(calendar=np.False_, holidays="DE").fit(table)


@pytest.mark.parametrize("freq", [pd.Timedelta("1h"), pd.DateOffset(months=1), 3])
def test_a_frequency_that_is_no_name_is_refused(freq):
    table = pd.DataFrame(waves(), index=pd.date_range("2024", periods=401, freq="h"))
    with pytest.raises(ParameterError, match="freq must be the name of a frequency"):
        tiny(freq=freq).fit(table)
