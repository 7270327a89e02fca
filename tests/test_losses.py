"""Losses of a forecast: hand-computed values, what each is least at, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from titans_ts.errors import ParameterError
from titans_ts.heads.forecast.losses import LOSSES, PinballLoss, StudentT, make_loss

LEVELS = (0.1, 0.5, 0.8)


def scored(loss, parameters, target, weight=1.0):
    """Each step's loss as a list, computed in float64."""
    target = torch.tensor(target, dtype=torch.float64)
    parameters = torch.tensor(parameters, dtype=torch.float64).reshape(*target.shape, -1)
    return loss.loss(parameters, target, torch.full_like(target, weight)).tolist()


# -- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("mae", [0.5, 3.0], id="absolute: |2 - 1.5| and |2 + 1|"),
        pytest.param("mse", [0.25, 9.0], id="squared"),
        pytest.param("huber", [0.125, 2.5], id="half the square below 1, |e| - 1/2 above"),
    ],
)
def test_errors_have_the_value_worked_out_by_hand(name, expected):
    assert scored(make_loss(name, None), [2.0, 2.0], [1.5, -1.0]) == pytest.approx(expected)


def test_pinball_has_the_value_worked_out_by_hand():
    # Raw outputs 0 below and above the median make steps of softplus(0) = log 2.
    step = math.log(2)
    forecasts = (1 - step, 1.0, 1 + step)
    target = 3.0
    each = [q * (target - f) for q, f in zip(LEVELS, forecasts, strict=True)]
    expected = 2 * sum(each) / 3
    assert scored(PinballLoss(LEVELS), [0.0, 1.0, 0.0], [target])[0] == pytest.approx(expected)
    target = -2.0  # now all forecasts are too high, and count 1 - q
    each = [(1 - q) * (f - target) for q, f in zip(LEVELS, forecasts, strict=True)]
    expected = 2 * sum(each) / 3
    assert scored(PinballLoss(LEVELS), [0.0, 1.0, 0.0], [target])[0] == pytest.approx(expected)


def test_pinball_of_the_median_alone_is_the_absolute_error():
    generator = torch.Generator().manual_seed(0)
    parameters = torch.randn(7, 5, 1, generator=generator)
    target, weight = torch.randn(2, 7, 5, generator=generator).unbind()
    one = make_loss("mae", (0.5,)).loss(parameters, target, weight)
    torch.testing.assert_close(one, make_loss("mae", None).loss(parameters, target, weight))


@pytest.mark.parametrize("name", ["mae", "mse", "huber", "pinball"])
def test_a_weight_measures_the_error_in_other_units(name):
    """Weight w and error e score as weight 1 and error w e."""
    loss = make_loss(name, (0.5,) if name == "pinball" else None)
    by_weight = scored(loss, [0.0, 0.0], [2.0, -0.3], weight=5.0)
    assert by_weight == pytest.approx(scored(loss, [0.0, 0.0], [10.0, -1.5]))


def test_a_weight_scales_pinball_as_a_whole():
    loss, parameters = PinballLoss(LEVELS), [[0.3, -1.0, 2.0]]
    assert scored(loss, parameters, [0.7], weight=5.0) == pytest.approx(
        [5 * scored(loss, parameters, [0.7])[0]]
    )


def test_a_likelihood_has_no_units():
    loss, parameters = StudentT(), [[0.3, -1.0, 2.0]]
    assert scored(loss, parameters, [0.7], weight=5.0) == scored(loss, parameters, [0.7])


# -- what each is least at -------------------------------------------------------------------------


def best_output(loss, sample):
    """The constant output of least mean loss over a sample, by gradient descent."""
    parameters = torch.zeros(loss.n_parameters, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([parameters], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    for _ in range(400):
        optimizer.zero_grad()
        each = loss.loss(parameters.expand(len(sample), -1), sample, torch.ones_like(sample))
        each.mean().backward()
        optimizer.step()
        schedule.step()
    return parameters.detach()


@pytest.fixture(scope="module")
def skewed():
    """A sample whose mean, median and quantiles lie well apart."""
    return torch.from_numpy(np.random.default_rng(0).gamma(1.5, 1.0, size=1009))


@pytest.mark.parametrize(("name", "statistic"), [("mae", torch.median), ("mse", torch.mean)])
def test_a_point_loss_is_least_at_its_statistic(skewed, name, statistic):
    loss = make_loss(name, None)
    assert loss.point(best_output(loss, skewed)).item() == pytest.approx(
        statistic(skewed).item(), abs=0.01
    )
    assert abs(skewed.mean() - skewed.median()) > 0.25  # else this could not fail


def test_huber_is_least_between_median_and_mean(skewed):
    loss = make_loss("huber", None)
    best = loss.point(best_output(loss, skewed))
    assert skewed.median() + 0.05 < best < skewed.mean() - 0.05


def test_pinball_is_least_at_the_quantiles(skewed):
    loss = PinballLoss(LEVELS)
    best = loss.quantiles(best_output(loss, skewed), LEVELS)
    expected = torch.quantile(skewed, torch.tensor(LEVELS, dtype=torch.float64))
    torch.testing.assert_close(best, expected, atol=0.03, rtol=0)


def test_student_t_finds_the_distribution_a_sample_came_from():
    sample = stats.t.rvs(4.0, loc=1.5, scale=0.7, size=4999, random_state=1)
    loss = StudentT()
    spread = loss._distribution(best_output(loss, torch.from_numpy(sample)))
    assert spread.loc.item() == pytest.approx(1.5, abs=0.04)
    assert spread.scale.item() == pytest.approx(0.7, abs=0.04)
    assert spread.df.item() == pytest.approx(4.0, abs=0.6)


# -- pinball ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [(0.1, 0.2, 0.5, 0.9), (0.5, 0.9), (0.05, 0.5), (0.7,)])
def test_quantiles_never_cross(levels):
    loss = PinballLoss(levels)
    wild = 20 * torch.randn(997, loss.n_parameters, generator=torch.Generator().manual_seed(0))
    ordered = loss.quantiles(wild, loss.levels)
    assert (ordered.diff(dim=-1) >= 0).all()
    torch.testing.assert_close(loss.quantiles(wild, (0.5,))[..., 0], loss.point(wild))


@pytest.mark.parametrize("levels", [(0.1, 0.9), (0.9,), (0.05, 0.2)])
def test_the_point_forecast_is_the_median_whatever_levels_were_asked_for(skewed, levels):
    loss = PinballLoss(levels)
    best = best_output(loss, skewed)
    assert loss.point(best).item() == pytest.approx(skewed.median().item(), abs=0.02)
    assert loss.quantiles(best, levels).shape == (len(levels),)


def test_some_of_the_trained_quantiles_can_be_asked_for():
    loss = PinballLoss(LEVELS)
    parameters = torch.tensor([[0.3, -1.0, 2.0]])
    torch.testing.assert_close(
        loss.quantiles(parameters, (0.1, 0.8)), loss.quantiles(parameters, LEVELS)[..., [0, 2]]
    )


def test_a_level_is_recognised_whatever_its_last_digit():
    loss = PinballLoss(tuple(np.linspace(0.1, 0.9, 9).tolist()))
    assert 0.3 not in loss.levels  # it is 0.30000000000000004 there
    assert loss.quantiles(torch.zeros(1, 9), (0.3,)).shape == (1, 1)


def test_a_quantile_that_was_not_trained_is_refused():
    with pytest.raises(ParameterError, match=r"quantiles \[0.25\] were not trained.*\(0.1, 0.5"):
        PinballLoss(LEVELS).quantiles(torch.zeros(1, 3), (0.1, 0.25))


# -- Student-t -------------------------------------------------------------------------------------


def student_t_cases():
    parameters = torch.randn(97, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    location, scale, tail = parameters.unbind(-1)
    scipy_names = {
        "df": (2 + F.softplus(tail)).numpy(),
        "loc": location.numpy(),
        "scale": (1e-3 + F.softplus(scale)).numpy(),
    }
    return parameters, scipy_names


def test_the_likelihood_of_student_t_is_scipys():
    parameters, names = student_t_cases()
    target = torch.linspace(-5, 5, 97, dtype=torch.float64)
    torch.testing.assert_close(
        StudentT().loss(parameters, target, torch.ones_like(target)),
        torch.from_numpy(-stats.t.logpdf(target.numpy(), **names)),
    )


def test_quantiles_of_student_t_are_scipys_at_any_level():
    parameters, names = student_t_cases()
    levels = (0.01, 0.3, 0.5, 0.975)
    expected = np.stack([stats.t.ppf(level, **names) for level in levels], axis=-1)
    got = StudentT().quantiles(parameters, levels)
    torch.testing.assert_close(got, torch.from_numpy(expected))
    torch.testing.assert_close(got[:, 2], StudentT().point(parameters))


@pytest.mark.parametrize("target", [1e12, -1e30])
def test_a_target_out_of_all_proportion_leaves_a_finite_gradient(target):
    """In float32 its square is infinite."""
    parameters = torch.zeros(1, 3, requires_grad=True)
    loss = StudentT().loss(parameters, torch.tensor([target]), torch.ones(1))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(parameters.grad).all()


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mae", "mse", "huber"])
def test_a_point_loss_has_no_quantiles(name):
    with pytest.raises(ParameterError, match=r"point forecast only.*\(0.1, 0.9\).*student_t"):
        make_loss(name, None).quantiles(torch.zeros(2, 1), (0.1, 0.9))


@pytest.mark.parametrize(
    ("name", "quantiles", "message"),
    [
        ("rmse", None, "loss must be one of 'mae', 'mse', 'huber', 'student_t', 'pinball'; got"),
        (None, None, "loss must be one of .*; got None"),
        ("pinball", None, "loss='pinball' needs quantiles="),
        ("mse", (0.1, 0.9), r"loss='mse' has no quantiles; with quantiles=\(0.1, 0.9\) use 'mae'"),
        ("huber", (0.1,), "loss='huber' has no quantiles"),
    ],
)
def test_a_loss_that_cannot_be_is_refused(name, quantiles, message):
    with pytest.raises(ParameterError, match=message):
        make_loss(name, quantiles)


def test_quantiles_choose_the_pinball_loss_and_leave_a_likelihood_alone():
    assert isinstance(make_loss("mae", (0.1, 0.9)), PinballLoss)
    assert isinstance(make_loss("pinball", (0.1, 0.9)), PinballLoss)
    assert isinstance(make_loss("student_t", (0.1, 0.9)), StudentT)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_says_how_many_numbers_it_reads_per_step(name):
    loss = make_loss(name, None)
    parameters = torch.zeros(7, 5, 3, loss.n_parameters)
    target = torch.zeros(7, 5, 3)
    assert loss.loss(parameters, target, torch.ones_like(target)).shape == (7, 5, 3)
    assert loss.point(parameters).shape == (7, 5, 3)
