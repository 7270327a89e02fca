"""Search spaces in Optuna's and scikit-learn's terms, and the way from a draw to an estimator."""

import json

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial
from scipy import stats
from sklearn.base import clone

from titans_ts import (
    LinearForecaster,
    RidgeForecaster,
    SeasonalNaiveForecaster,
    TitansForecaster,
)
from titans_ts.errors import ParameterError
from titans_ts.preprocessing import Difference
from titans_ts.tuning import default_space
from titans_ts.tuning.choices import read_choice
from titans_ts.tuning.space import candidate, fixed_values, own_values, read_space

TITANS = TitansForecaster(horizon=24)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([1, 2, 5], CategoricalDistribution((1, 2, 5))),
        (("mae", None), CategoricalDistribution(("mae", None))),
        (np.array([1.5, 2.5]), CategoricalDistribution((1.5, 2.5))),
        (range(3), CategoricalDistribution((0, 1, 2))),
        (stats.uniform(2, 3), FloatDistribution(2, 5)),
        (stats.loguniform(1e-4, 1e-2), FloatDistribution(1e-4, 1e-2, log=True)),
        (stats.randint(3, 7), IntDistribution(3, 6)),
        (IntDistribution(1, 9, log=True), IntDistribution(1, 9, log=True)),
    ],
)
def test_choices_become_distributions_of_optuna(given, expected):
    assert read_choice("x", given).distribution == expected


def test_any_other_distribution_of_scipy_is_drawn_by_its_quantiles():
    choice = read_choice("x", stats.norm(10, 2))
    assert choice.decode(0.5) == pytest.approx(10)
    assert choice.kept(12.0) == pytest.approx(stats.norm.cdf(1))
    with pytest.raises(ValueError, match="not in"):
        choice.kept(1e9)


def test_a_shifted_loguniform_is_drawn_as_it_is():
    choice = read_choice("x", stats.loguniform(0.1, 10, loc=5))
    assert choice.decode(0.5) == pytest.approx(6)
    scaled = read_choice("x", stats.loguniform(0.1, 10, scale=3)).distribution
    assert (scaled.low, scaled.high, scaled.log) == (pytest.approx(0.3), pytest.approx(30), True)


def test_a_function_that_makes_something_else_of_a_draw_does_not_start_from_it():
    ridge = RidgeForecaster(alpha=1.0)
    space = read_space(lambda trial: {"alpha": 10.0 ** trial.suggest_int("alpha", -2, 3)}, ridge)
    assert space.queued({"alpha": 1.0}, strict=False) == ({}, {})
    with pytest.raises(ParameterError, match=r"start_from has alpha=1.0, which the function"):
        space.queued({"alpha": 1.0}, strict=True)
    plain = read_space(lambda trial: {"alpha": trial.suggest_float("alpha", 0.5, 3)}, ridge)
    assert plain.queued({"alpha": 1.0}, strict=True)[0] == {"alpha": 1.0}


@pytest.mark.parametrize("turned", [False, True])
def test_an_option_is_set_on_the_mapping_that_was_drawn_in_whatever_order(turned):
    drawn = {"backbone_options": {"chunk_size": 4}, "backbone_options__dropout": 0.3}
    if turned:
        drawn = dict(reversed(drawn.items()))
    made = candidate(TITANS, drawn)
    assert made.backbone_options == {"chunk_size": 4, "dropout": 0.3}
    of_none = candidate(
        TitansForecaster(backbone_options={"chunk_size": 4}), drawn | {"backbone_options": None}
    )
    assert of_none.backbone_options == {"dropout": 0.3}


def test_objects_are_kept_by_what_repr_says_of_them():
    choice = read_choice("target_transform", [None, Difference(lag=24)])
    assert choice.distribution.choices == ("None", "Difference(lag=24)")
    assert choice.decode("Difference(lag=24)").lag == 24
    assert choice.kept(Difference(lag=24)) == "Difference(lag=24)"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param([], "an empty list", id="no choice"),
        pytest.param(3, "must be a list of values", id="a number"),
        pytest.param("mae", "must be a list of values", id="a word"),
        pytest.param([object(), 1], "hold no address", id="no stable name"),
        pytest.param([{}, {}], "which must differ", id="equal names"),
        pytest.param(stats.poisson(3), "only randint is known", id="other whole numbers"),
    ],
)
def test_choices_that_cannot_be_kept_are_refused(given, message):
    with pytest.raises(ParameterError, match=message):
        read_choice("x", given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nothing to search"),
        ([{"dim": [8]}], "must be a mapping .* or a function .* got list"),
        ({"learning_rates": [1]}, "no parameter of TitansForecaster. Did you mean 'learning_rate'"),
        ({"backbone_options__drop": [1]}, "Did you mean 'backbone_options__dropout'"),
        ({"dim__x": [1]}, "'dim__x', which is no parameter"),
        (lambda trial: {"dims": trial.suggest_int("d", 1, 2)}, "Did you mean 'dim'"),
        (lambda trial: trial.suggest_int("dim", 1, 2), "must return a mapping"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(given, message):
    with pytest.raises(ParameterError, match=message):
        read_space(given, TITANS)


def test_a_candidate_is_a_copy_with_what_was_drawn():
    estimator = TitansForecaster(
        backbone_options={"momentum": False}, target_transform=Difference()
    )
    made = candidate(
        estimator,
        {"dim": 8, "backbone_options__dropout": 0.3, "target_transform__lag": 7},
    )
    assert made.dim == 8
    assert made.backbone_options == {"momentum": False, "dropout": 0.3}
    assert made.target_transform.lag == 7
    assert estimator.backbone_options == {"momentum": False}
    assert estimator.target_transform.lag == 1


def test_own_values_see_the_defaults_of_options():
    names = ["dim", "backbone_options__dropout", "unknown"]
    estimator = TitansForecaster(backbone_options={"dropout": 0.4})
    assert own_values(estimator, names) == {"dim": 32, "backbone_options__dropout": 0.4}
    assert own_values(TITANS, names)["backbone_options__dropout"] == 0.1


def test_a_function_draws_what_depends_on_what_was_drawn_before():
    def space(trial):
        depth = trial.suggest_int("depth", 1, 3)
        return {"depth": depth, "dim": trial.suggest_categorical("dim", [8 * depth, 64])}

    read = read_space(space, TITANS)
    assert read.suggest(FixedTrial({"depth": 2, "dim": 16})) == {"depth": 2, "dim": 16}
    kept, distributions = read.queued({"depth": 3, "dim": 64, "loss": "mae"}, strict=False)
    assert kept == {"depth": 3, "dim": 64}
    assert distributions["dim"] == CategoricalDistribution((24, 64))
    with pytest.raises(ParameterError, match="dim=99, which the function"):
        read.queued({"depth": 3, "dim": 99}, strict=True)


@pytest.mark.parametrize(
    "estimator",
    [
        TITANS,
        TitansForecaster(horizon=5, context_length=7, patch_length=5, dim=6, learning_rate=1e-5),
        TitansForecaster(horizon=5, loss="student_t", n_heads=4),
        TitansForecaster(horizon=5, quantiles=(0.1, 0.9), depth=0),
        TitansForecaster(horizon=5, backbone_options={"dropout": 0.8}),
    ],
)
def test_the_default_space_holds_the_estimator_s_own_values(estimator):
    space = read_space(default_space(estimator, 8000), estimator)
    kept, _ = space.queued(own_values(estimator, space.choices), strict=True)
    assert set(kept) == set(space.choices)


def test_numbers_of_numpy_are_kept_as_those_of_python():
    estimator = TitansForecaster(horizon=24, dim=np.int64(48), patch_length=np.int32(8))
    given = {**default_space(estimator, 4000), "loss": ["mae", "mse"]}
    kept, _ = read_space(given, estimator).queued(
        {"dim": np.int64(48), "learning_rate": np.float32(0.5**9), "loss": np.str_("mse")},
        strict=True,
    )
    assert json.dumps(kept) == '{"dim": 48, "learning_rate": 0.001953125, "loss": "mse"}'
    assert all(type(n) is int for n in given["patch_length"].choices + given["dim"].choices)
    drawn = read_space(lambda trial: {"dim": trial.suggest_int("dim", 8, 64)}, estimator)
    assert json.dumps(drawn.queued({"dim": np.int64(48)}, strict=True)[0]) == '{"dim": 48}'


@pytest.mark.parametrize("own", [Difference(lag=1), [Difference(lag=1)], np.inf])
def test_a_function_may_draw_the_number_of_a_choice_under_the_name_of_its_parameter(own):
    estimator = RidgeForecaster(horizon=4, target_transform=own)
    transforms = [None, Difference(lag=24)]
    space = read_space(
        lambda trial: {"target_transform": transforms[trial.suggest_int("target_transform", 0, 1)]},
        estimator,
    )
    assert space.queued(own_values(estimator, None), strict=False) == ({}, {})


def test_the_default_space_leaves_out_what_would_change_nothing():
    linear = default_space(TitansForecaster(depth=0), 8000)
    assert not {"dim", "backbone_options__dropout"} & set(linear)
    assert "alpha" not in default_space(RidgeForecaster(), 8000)
    assert "alpha" in default_space(RidgeForecaster(alpha=3.0), 8000)
    assert "context_length" not in default_space(TITANS, 100)


def test_the_default_space_stays_near_the_estimator_s_own_values():
    space = default_space(
        TitansForecaster(horizon=24, context_length=400), 8000, also=["context_length"]
    )
    assert space["context_length"] == IntDistribution(100, 800, log=True)
    assert space["learning_rate"] == FloatDistribution(5e-4, 8e-3, log=True)
    # Short contexts may grow to some weeks; those of short data stay within them.
    assert default_space(RidgeForecaster(context_length=24), 8000)["context_length"].high == 512
    assert default_space(RidgeForecaster(context_length=24), 400)["context_length"].high == 188


def test_context_and_loss_are_varied_where_asked_for():
    forecaster = TitansForecaster(horizon=24)
    assert not {"context_length", "loss"} & set(default_space(forecaster, 8000))
    space = default_space(forecaster, 8000, also=["loss", "context_length"])
    assert space["loss"] == CategoricalDistribution(("huber", "mae", "mse"))
    assert "context_length" in space
    for other in (TitansForecaster(quantiles=(0.5,)), TitansForecaster(loss="student_t")):
        with pytest.raises(ParameterError, match="default space, 'context_length' can be"):
            default_space(other, 8000, also=["loss"])
    with pytest.raises(ParameterError, match=r"'dim' cannot be varied .* 8000 rows"):
        default_space(forecaster, 8000, also=["dim"])
    with pytest.raises(ParameterError, match="for this RidgeForecaster"):
        default_space(RidgeForecaster(), 8000, also=["loss"])


def test_the_context_is_varied_where_rows_are_too_few_for_the_estimator_s_own():
    # Half of the rows, less the horizon, are 1,000: fewer than its own 1,024.
    space = default_space(TitansForecaster(horizon=24), 2024)
    assert space["context_length"] == IntDistribution(250, 1000, log=True)


@pytest.mark.parametrize(
    ("n_rows", "fractions"), [(8000, (0.05, 0.1, 0.2)), (600, (0.1, 0.2)), (200, None)]
)
def test_fewer_rows_may_be_judged_on_where_two_horizons_are_left(n_rows, fractions):
    choice = default_space(TITANS, n_rows).get("validation_fraction")
    assert (choice and choice.choices) == fractions


def test_where_there_is_no_default_space_the_user_is_asked_for_one():
    with pytest.raises(ParameterError, match="no default search space for SeasonalNaive"):
        default_space(SeasonalNaiveForecaster(), 1000)
    with pytest.raises(ParameterError, match="100 rows are too few"):
        default_space(RidgeForecaster(), 100)


def test_what_is_not_varied_tells_searches_apart_option_by_option():
    space = read_space({"backbone_options__dropout": [0.0, 0.1]}, TitansForecaster(horizon=2))

    def fixed(**options):
        return fixed_values(TitansForecaster(horizon=2, **options), space)

    plain = fixed()
    assert fixed(backbone_options={"dropout": 0.3}) == plain
    assert fixed(backbone_options={"momentum": False}) != plain
    assert fixed(trainer_kwargs={"max_steps": 3}) != plain
    assert fixed(trainer_kwargs={"callbacks": [], "num_nodes": 2}, verbose=1) == plain
    whole = read_space({"backbone_options": [{"dropout": 0.1}, None]}, TitansForecaster(horizon=2))
    named = fixed_values(TitansForecaster(horizon=2), whole)
    assert not any(name.startswith("backbone_options") for name in named)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (TitansForecaster(learning_rate=-1.0), "learning_rate must be"),
        (TitansForecaster(n_heads=0), "n_heads"),
        (TitansForecaster(patch_length="16"), "patch_length must be a whole number"),
        (LinearForecaster(learning_rate=0.0), "learning_rate must be"),
        (RidgeForecaster(alpha="much"), "alpha must be"),
    ],
)
def test_no_ranges_are_made_of_values_that_make_no_sense(estimator, message):
    with pytest.raises(ParameterError, match=message):
        default_space(estimator, 8000)


def test_the_default_space_needs_rows():
    with pytest.raises(ParameterError, match="n_rows must be a whole number"):
        default_space(TITANS, 0)


@pytest.mark.parametrize(
    ("context_length", "patch_length", "expected"),
    [
        (1024, 32, (16, 24, 32, 48)),
        (168, 32, (2, 3, 32)),  # which is 5 there
        (512, 8, (8, 12, 16)),
        (40, 32, None),
    ],
)
def test_patches_to_choose_from_differ_in_the_estimator_s_context(
    context_length, patch_length, expected
):
    forecaster = TitansForecaster(
        horizon=24, context_length=context_length, patch_length=patch_length
    )
    choices = default_space(forecaster, 8000).get("patch_length")
    assert (choices and choices.choices) == expected
    if expected:
        used = {
            clone(forecaster).set_params(patch_length=p)._patch_length(context_length)
            for p in expected
        }
        assert len(used) >= min(len(expected), 3)
