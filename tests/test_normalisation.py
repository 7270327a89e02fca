"""Both ways to take level and spread out of patches, beside a plain loop."""

import math

import numpy as np
import pytest
import torch

from titans_ts.heads.forecast.normalisation import (
    RunningNormaliser,
    WindowNormaliser,
    make_normaliser,
)

ROWS, PATCHES, PATCH = 5, 11, 7
MEMORY = 23


def problem(masked=0.3, seed=0):
    """Patches with a level far from zero that drifts, and a mask."""
    rng = np.random.default_rng(seed)
    steps = 40 + np.cumsum(rng.normal(size=(ROWS, PATCHES * PATCH)), axis=1)
    steps = torch.from_numpy(steps).unflatten(1, (PATCHES, PATCH))
    observed = torch.from_numpy(rng.random((ROWS, PATCHES, PATCH)) >= masked)
    return torch.where(observed, steps, 0.0), observed


def running_by_loop(row, seen, memory):
    """Weighted mean and deviation up to each patch, every step weighed by its patch's age."""
    keep = math.exp(-PATCH / memory)
    levels, spreads = [], []
    for last in range(len(row)):
        values, weights = [], []
        for patch in range(last + 1):
            for step in range(PATCH):
                if seen[patch, step]:
                    values.append(row[patch, step])
                    weights.append(keep ** (last - patch))
        mean = np.average(values, weights=weights)
        levels.append(mean)
        spreads.append(math.sqrt(np.average((np.array(values) - mean) ** 2, weights=weights)))
    return np.array(levels), np.array(spreads)


def test_window_statistics_are_those_of_all_observed_steps():
    patches, observed = problem()
    (z, location, scale), state = WindowNormaliser().normalise(patches, observed)
    assert state is None
    for row in range(ROWS):
        values = patches[row][observed[row]].numpy()
        np.testing.assert_allclose(location[row], np.full(PATCHES, values.mean()), rtol=1e-12)
        np.testing.assert_allclose(scale[row], np.full(PATCHES, values.std()), rtol=1e-12)
        np.testing.assert_allclose(
            z[row][observed[row]], (values - values.mean()) / values.std(), atol=1e-12
        )
    assert (z[~observed] == 0).all()


def test_running_statistics_are_those_of_a_plain_loop():
    patches, observed = problem()
    (z, location, scale), _ = RunningNormaliser(MEMORY).normalise(patches, observed)
    for row in range(ROWS):
        level, spread = running_by_loop(patches[row].numpy(), observed[row].numpy(), MEMORY)
        np.testing.assert_allclose(location[row], level, rtol=1e-11)
        np.testing.assert_allclose(scale[row], spread, rtol=1e-9)
        expected = (patches[row].numpy() - level[:, None]) / spread[:, None]
        np.testing.assert_allclose(z[row][observed[row]], expected[observed[row]], atol=1e-9)
    assert (z[~observed] == 0).all()


@pytest.mark.parametrize("cuts", [(1,), (10,), (3, 4, 9), tuple(range(1, PATCHES))])
def test_pieces_with_the_state_passed_on_equal_the_whole(cuts):
    patches, observed = problem()
    normaliser = RunningNormaliser(MEMORY)
    whole, after = normaliser.normalise(patches, observed)
    state, pieces = None, []
    for start, stop in zip((0, *cuts), (*cuts, PATCHES), strict=True):
        piece, state = normaliser.normalise(patches[:, start:stop], observed[:, start:stop], state)
        pieces.append(piece)
    for i, expected in enumerate(whole):
        joined = torch.cat([piece[i] for piece in pieces], dim=1)
        torch.testing.assert_close(joined, expected, rtol=1e-9, atol=1e-9)
    for got, expected in zip(state, after, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_a_first_piece_that_is_wholly_masked_changes_nothing():
    patches, observed = problem()
    observed[:, :4] = False
    # A high level, so that sums measured from the padding's zero would lose the signal.
    patches = torch.where(observed, patches + 1e9, 0.0)
    normaliser = RunningNormaliser(MEMORY)
    whole, _ = normaliser.normalise(patches, observed)
    first, state = normaliser.normalise(patches[:, :4], observed[:, :4])
    second, _ = normaliser.normalise(patches[:, 4:], observed[:, 4:], state)
    alone, _ = normaliser.normalise(patches[:, 4:], observed[:, 4:])
    assert (first.z == 0).all()
    assert all(torch.isfinite(part).all() for part in first)
    for i, expected in enumerate(alone):
        torch.testing.assert_close(second[i], expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(whole[i][:, 4:], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_first", [1, 6, 10])
def test_running_statistics_know_nothing_of_later_patches(n_first):
    patches, observed = problem()
    later = patches.clone()
    later[:, n_first:] = -1e6
    normaliser = RunningNormaliser(MEMORY)
    one, _ = normaliser.normalise(patches, observed)
    two, _ = normaliser.normalise(later, observed | (later == -1e6))
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a[:, :n_first], b[:, :n_first], rtol=1e-12, atol=1e-12)
    # The whole window's statistics do know, which is why the two kinds are kept apart.
    known, _ = WindowNormaliser().normalise(later, observed)
    assert not torch.allclose(
        known.z[:, 0], WindowNormaliser().normalise(patches, observed)[0].z[:, 0]
    )


@pytest.mark.parametrize("kind", ["window", "running"])
def test_rows_are_normalised_each_by_itself(kind):
    patches, observed = problem()
    normaliser = make_normaliser(kind, MEMORY)
    together, _ = normaliser.normalise(patches, observed)
    for row in range(ROWS):
        alone, _ = normaliser.normalise(patches[row : row + 1], observed[row : row + 1])
        torch.testing.assert_close(alone.z[0], together.z[row], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["window", "running"])
@pytest.mark.parametrize(("factor", "offset"), [(1e6, 0.0), (1e-12, 0.0), (1e12, 0.0), (-3.0, 5e4)])
def test_normalised_values_do_not_depend_on_units(kind, factor, offset):
    patches, observed = problem()
    normaliser = make_normaliser(kind, MEMORY)
    one, _ = normaliser.normalise(patches, observed)
    two, _ = normaliser.normalise(torch.where(observed, factor * patches + offset, 0.0), observed)
    torch.testing.assert_close(two.z, math.copysign(1, factor) * one.z, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(two.location, factor * one.location + offset, rtol=1e-9, atol=0.0)
    torch.testing.assert_close(two.scale, abs(factor) * one.scale, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("kind", ["window", "running"])
def test_a_level_of_a_billion_under_a_unit_signal_keeps_six_digits(kind):
    # Whole numbers and eighths, which a float64 near 1e9 holds exactly: what is lost, we lost.
    signal = torch.from_numpy(np.random.default_rng(0).integers(-16, 17, (3, PATCHES, PATCH)) / 8.0)
    seen = torch.ones_like(signal, dtype=torch.bool)
    normaliser = make_normaliser(kind, MEMORY)
    plain, _ = normaliser.normalise(signal, seen)
    raised, _ = normaliser.normalise(signal + 1e9, seen)
    torch.testing.assert_close(raised.z, plain.z, rtol=0, atol=1e-6)
    torch.testing.assert_close(raised.scale, plain.scale, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["window", "running"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e12, 3e-12, 1e9 + 0.1])
def test_a_constant_series_becomes_zeros(kind, dtype, value):
    patches = torch.full((2, PATCHES, PATCH), value, dtype=dtype)
    (z, location, scale), _ = make_normaliser(kind, MEMORY).normalise(
        patches, torch.ones_like(patches, dtype=torch.bool)
    )
    # Rounding of the mean, at most, and that in units of the smallest spread there can be.
    assert (z.abs() < 0.01).all()
    assert (scale > 0).all()
    assert torch.isfinite(scale).all()
    torch.testing.assert_close(location, torch.full_like(location, value), rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("kind", ["window", "running"])
def test_rounding_errors_of_a_constant_are_not_blown_up_to_a_signal(kind):
    rng = np.random.default_rng(0)
    jitter = 1 + rng.integers(-2, 3, (1, PATCHES, PATCH)) * np.finfo(np.float64).eps
    patches = torch.from_numpy(1234.5 * jitter)
    (z, _, _), _ = make_normaliser(kind, MEMORY).normalise(
        patches, torch.ones_like(patches, dtype=torch.bool)
    )
    assert (z.abs() < 0.01).all()


def test_an_outlier_before_a_level_leaves_running_statistics_finite():
    """Sums are measured from the first value; here it is far from all that follow."""
    patches = torch.full((1, PATCHES, PATCH), 1e9, dtype=torch.float64)
    patches += torch.linspace(-1, 1, PATCHES * PATCH, dtype=torch.float64).view_as(patches)
    patches[0, 0, 0] = 0.0
    (z, location, _), _ = RunningNormaliser(3).normalise(
        patches, torch.ones_like(patches, dtype=torch.bool)
    )
    assert torch.isfinite(z).all()
    assert location[0, -1].item() == pytest.approx(1e9, rel=1e-6)
    # The outlier is forgotten; what is left of the variance is rounding error, and no unit.
    assert (z[0, -3:].abs() < 3).all()


def test_window_statistics_cannot_go_on_from_a_state():
    patches, observed = problem()
    _, state = RunningNormaliser(MEMORY).normalise(patches, observed)
    with pytest.raises(ValueError, match="cannot go on from a state; use normalisation='running'"):
        WindowNormaliser().normalise(patches, observed, state)
