"""Batches known to be fully observed: the same forecasts, losses and gradients, with less work."""

import numpy as np
import pytest
import torch
from complete_windows import TIME, make_batch, make_model

from titans_ts.config import VARIANTS
from titans_ts.data.series import SeriesSet
from titans_ts.data.windows import cut_windows
from titans_ts.training.data import to_batch


def results(model, batch, n_origins):
    """Forecasts, loss and every gradient."""
    model.zero_grad()
    loss = model.training_loss(batch, n_origins)
    loss.backward()
    with torch.no_grad():
        forecasts = model.head.to_output(model(batch, n_origins))
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {"forecasts": forecasts, "loss": loss.detach(), **grads}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("normalisation", ["running", "window"])
@pytest.mark.parametrize("extra", [{}, {"known": (0, 0)}, {"channel_mixing": True}])
def test_a_batch_known_to_be_complete_is_worth_the_same(variant, normalisation, extra):
    model = make_model(variant, normalisation=normalisation, **extra)
    batch = make_batch(len(extra.get("known", ())))
    n_origins = 4 if normalisation == "running" else 1
    expected = results(model, batch, n_origins)
    known = batch._replace(context_complete=True, target_complete=True)
    got = results(model, known, n_origins)
    assert len(got) == len(expected) > 10
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)


def test_masks_of_a_batch_known_to_be_complete_are_not_looked_at():
    model, batch = make_model(), make_batch()
    known = batch._replace(context_complete=True, target_complete=True)
    expected = results(model, known, 4)
    nothing = torch.zeros_like(batch.observed), torch.zeros_like(batch.target_observed)
    got = results(model, known._replace(observed=nothing[0], target_observed=nothing[1]), 4)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_a_missing_target_is_left_out_though_the_context_is_complete():
    model, batch = make_model(), make_batch()
    batch.target_observed[:, 2] = False
    batch.target[:, 2] = torch.nan
    expected = results(model, batch, 4)
    got = results(model, batch._replace(context_complete=True), 4)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)
    assert expected["loss"].isfinite()


@pytest.mark.parametrize("highway_length", [TIME + 4, TIME])
def test_a_highway_longer_than_the_context_reads_nothing_before_it(highway_length):
    model, batch = make_model(highway_length=highway_length), make_batch()
    expected = results(model, batch, 3)
    known = batch._replace(context_complete=True, target_complete=True)
    torch.testing.assert_close(results(model, known, 3), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("missing", "complete"),
    [
        pytest.param(None, (True, True), id="nothing"),
        pytest.param(3, (False, True), id="in a context"),
        pytest.param(12, (True, False), id="in a target"),
    ],
)
@pytest.mark.parametrize("broadcast", [False, True])
def test_a_batch_says_itself_whether_it_is_complete(missing, complete, broadcast):
    values = np.arange(13.0)[:, None]
    observed = np.broadcast_to(np.True_, values.shape)
    if missing is not None or not broadcast:
        observed = np.ones(values.shape, dtype=bool)
        observed[missing if missing is not None else []] = False
    data = SeriesSet.from_rows(values, observed, np.array([0, 13]), ("a",))
    batch = to_batch(cut_windows(data, np.array([0]), np.array([11]), 11, 2), np.ones((1, 1)))
    assert (batch.context_complete, batch.target_complete) == complete
    # A window that hangs over an end of the series is not.
    for origin, expected in ((10, (False, True)), (12, (True, False))):
        cut = cut_windows(data.head(np.array([13])), np.array([0]), np.array([origin]), 11, 2)
        batch = to_batch(cut, np.ones((1, 1)))
        if missing is None:
            assert (batch.context_complete, batch.target_complete) == expected
