"""ColumnEncoder and CovariateReader: what covariates become inside the model."""

import numpy as np
import pytest
import torch

from titans_ts.config import BackboneConfig
from titans_ts.heads.base import WindowBatch
from titans_ts.heads.forecast.covariates import ColumnEncoder, CovariateReader, squash
from titans_ts.heads.forecast.head import ForecastConfig
from titans_ts.heads.forecast.model import ForecastModel

BATCH, TIME, CHANNELS, HORIZON, PATCH = 3, 28, 2, 5, 4


# -- columns --------------------------------------------------------------------------------------


def test_numbers_are_standardised_and_told_from_missing_ones():
    encoder = ColumnEncoder((0, 0))
    encoder.set_statistics(np.array([10.0, 0.0]), np.array([2.0, 1.0]))
    values = torch.tensor([[12.0, 0.0], [14.0, 7.0]], dtype=torch.float64)
    seen = torch.tensor([[True, True], [True, False]])
    first, second = encoder(values, seen)
    assert first.tolist() == pytest.approx([5 * np.tanh(0.2), 0.0, 0.0, 0.0])
    assert second.tolist() == pytest.approx([5 * np.tanh(0.4), 0.0, 0.0, 1.0])


def test_statistics_belong_to_their_columns_among_categories():
    encoder = ColumnEncoder((3, 0, 2, 0))
    mean, scale = np.array([99.0, 10.0, 99.0, -1.0]), np.array([99.0, 2.0, 99.0, 4.0])
    encoder.set_statistics(mean, scale)
    assert encoder.mean.tolist() == [10.0, -1.0]
    assert encoder.scale.tolist() == [2.0, 4.0]


def test_every_category_and_a_missing_one_has_a_vector_of_its_own():
    torch.manual_seed(0)
    encoder = ColumnEncoder((3,))
    values = torch.tensor([[0.0], [1.0], [2.0], [0.0]], dtype=torch.float64)
    seen = torch.tensor([[True], [True], [True], [False]])
    features = encoder(values, seen)
    assert features.shape == (4, encoder.width)
    assert len({tuple(row) for row in features.tolist()}) == 4


@pytest.mark.parametrize("garbage", [-7.0, 1e30, float("nan"), float("inf")])
def test_what_is_missing_may_be_anything(garbage):
    encoder = ColumnEncoder((3, 0))
    values = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    seen = torch.tensor([[False, False]])
    expected = encoder(values, seen)
    found = encoder(torch.full_like(values, garbage), seen)
    assert torch.equal(found, expected)
    assert found.isfinite().all()


def test_a_wild_number_is_bounded():
    x = torch.tensor([0.0, 1.0, -1e9, 1e300], dtype=torch.float64)
    assert squash(x).tolist() == pytest.approx([0.0, 1.0, -5.0, 5.0], rel=0.02)


# -- windows --------------------------------------------------------------------------------------

PAST, KNOWN, STATIC = (0, 3), (0, 2, 0), (4, 0)


def columns(cardinalities, *shape, generator=None):
    parts = [
        torch.randint(n, shape, generator=generator).double()
        if n
        else torch.randn(shape, generator=generator, dtype=torch.float64)
        for n in cardinalities
    ]
    return torch.stack(parts, dim=-1)


def a_batch(seed=0, missing=0.0, past=PAST, known=KNOWN, static=STATIC):
    draw = torch.Generator().manual_seed(seed)
    context = torch.randn(BATCH, TIME, CHANNELS, generator=draw, dtype=torch.float64)
    target = torch.randn(BATCH, HORIZON, CHANNELS, generator=draw, dtype=torch.float64)
    over_time = columns(past, BATCH, TIME, generator=draw) if past else None
    ahead = columns(known, BATCH, TIME + HORIZON, generator=draw) if known else None
    fixed = columns(static, BATCH, generator=draw) if static else None

    def seen(x):
        return None if x is None else torch.rand(x.shape, generator=draw) >= missing

    return WindowBatch(
        context,
        seen(context),
        target,
        seen(target),
        torch.ones(1, CHANNELS, dtype=torch.float64),
        torch.arange(CHANNELS)[None],
        over_time,
        seen(over_time),
        ahead,
        seen(ahead),
        fixed,
    )


def a_model(seed=0, past=PAST, known=KNOWN, static=STATIC, **options):
    """A model whose every weight matters."""
    torch.manual_seed(seed)
    head = ForecastConfig(
        horizon=HORIZON,
        patch_length=PATCH,
        highway_length=8,
        running_memory=8,
        past=past,
        known=known,
        static=static,
        n_channels=CHANNELS,
        **options,
    )
    backbone = BackboneConfig(
        variant="lmm", dim=8, depth=1, n_heads=1, chunk_size=2, segment_length=4
    )
    model = ForecastModel(head, backbone).eval()
    for weight in model.head.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model


def forecast(model, batch, n_origins=1):
    with torch.no_grad():
        return model.head.to_output(model(batch, n_origins))


def without_target(batch):
    nothing = torch.full_like(batch.target, torch.nan)
    return batch._replace(target=nothing, target_observed=torch.zeros_like(batch.target_observed))


@pytest.mark.parametrize("normalisation", ["running", "window"])
def test_the_last_origin_is_forecast_alike_however_many_are_asked_for(normalisation):
    model, batch = a_model(normalisation=normalisation), a_batch()
    one, three = forecast(model, batch), forecast(model, batch, 3)
    torch.testing.assert_close(three[:, -1:], one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_an_origin_inside_the_context_knows_its_own_horizon_and_nothing_later(missing):
    model, batch = a_model(), a_batch(missing=missing)
    inside = forecast(model, batch, 3)
    for back in (1, 2):
        n = TIME - back * PATCH
        earlier = batch._replace(
            context=batch.context[:, :n],
            observed=batch.observed[:, :n],
            past=batch.past[:, :n],
            past_observed=batch.past_observed[:, :n],
            known=batch.known[:, : n + HORIZON],
            known_observed=batch.known_observed[:, : n + HORIZON],
        )
        alone = forecast(model, earlier)[:, 0]
        torch.testing.assert_close(inside[:, -1 - back], alone, rtol=1e-5, atol=1e-5)


def test_a_step_ahead_is_corrected_by_its_own_covariates_only():
    model, batch = a_model(), a_batch()
    before = forecast(model, batch)
    known = batch.known.clone()
    known[:, TIME + 2, 0] += 1.0
    after = forecast(model, batch._replace(known=known))
    moved = (after != before).any(dim=3).any(dim=0)[0]
    assert moved.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("role", ["past", "known", "static"])
def test_each_window_has_its_own_covariates(role):
    model, batch = a_model(), a_batch()
    before = forecast(model, batch)
    column = getattr(batch, role).clone()
    column[1, ..., 0 if role != "static" else 1] += 1.0
    after = forecast(model, batch._replace(**{role: column}))
    assert (after[1] != before[1]).any()
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("garbage", [1e30, float("nan"), float("-inf")])
def test_what_lies_under_the_mask_reaches_neither_forecast_nor_gradients(garbage):
    model, batch = a_model(), a_batch(missing=0.3)

    def loss(filled):
        model.zero_grad()
        value = model.training_loss(filled, 3)
        value.backward()
        return value.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None]

    names = ("context", "target", "past", "known")
    masks = (batch.observed, batch.target_observed, batch.past_observed, batch.known_observed)
    fills = []
    for value in (0.0, garbage):
        hidden = {
            name: torch.where(mask, getattr(batch, name), value)
            for name, mask in zip(names, masks, strict=True)
        }
        fills.append(batch._replace(**hidden))
    (first, gradients), (second, others) = (loss(fill) for fill in fills)
    assert np.isfinite(first)
    assert second == first
    for gradient, other in zip(gradients, others, strict=True):
        assert torch.equal(gradient, other)
    assert torch.equal(forecast(model, fills[0]), forecast(model, fills[1]))


def test_a_missing_static_covariate_is_not_a_zero():
    model, batch = a_model(), a_batch()
    static = batch.static.clone()
    static[:, 1] = 0.0
    zero = forecast(model, batch._replace(static=static))
    static = static.clone()
    static[:, 1] = torch.nan
    missing = forecast(model, batch._replace(static=static))
    assert missing.isfinite().all()
    assert (missing != zero).any(dim=3).all()


def test_channels_are_told_apart_by_their_numbers():
    """One channel of a window alone is forecast as beside the others."""
    model, batch = a_model(), a_batch()
    together = forecast(model, batch)
    for channel in range(CHANNELS):
        pick = slice(channel, channel + 1)
        alone = batch._replace(
            context=batch.context[..., pick],
            observed=batch.observed[..., pick],
            target=batch.target[..., pick],
            target_observed=batch.target_observed[..., pick],
            channel=torch.full((1, 1), channel),
        )
        found = forecast(model, alone)[..., 0]
        torch.testing.assert_close(found, together[..., channel], rtol=1e-5, atol=1e-5)
    same = batch._replace(context=batch.context[..., :1].expand(-1, -1, 2), observed=batch.observed)
    both = forecast(model, same)
    assert (both[..., 0] != both[..., 1]).all()


@pytest.mark.parametrize(
    "roles",
    [
        pytest.param({"known": (), "static": ()}, id="past alone"),
        pytest.param({"past": (), "static": ()}, id="known alone"),
        pytest.param({"past": (), "known": ()}, id="static alone"),
        pytest.param({"past": (), "known": (3,), "static": ()}, id="one known category"),
    ],
)
def test_each_role_goes_alone(roles):
    model, batch = a_model(**roles), a_batch(**roles)
    assert forecast(model, batch).shape == (BATCH, 1, HORIZON, CHANNELS)
    model.training_loss(batch, 3).backward()
    # Nothing is there that is never used.
    assert all(p.grad is not None for p in model.head.parameters())


def test_learning_starts_at_the_forecast_without_covariates():
    reader = CovariateReader(
        (), KNOWN, (), n_channels=1, patch_length=PATCH, horizon=HORIZON, dim=8, n_parameters=1
    )
    assert (reader.correct.weight == 0).all()
    assert (reader.correct.bias == 0).all()


def test_a_covariate_as_usual_corrects_as_one_that_repeats_itself():
    """Relative to its own past, a covariate's unit and level say nothing."""
    model = a_model(past=(), known=(0,), static=())
    reader, batch = model.head.covariates, a_batch(past=(), known=(0,), static=())
    other = batch._replace(known=batch.known * 1e3 - 50)
    numbers = [
        reader._ahead(b, 2, model.head.normaliser, model.head.highway)[..., 2:]
        for b in (batch, other)
    ]
    torch.testing.assert_close(numbers[0], numbers[1], rtol=1e-6, atol=1e-6)


def test_a_batch_gives_the_same_forecast_with_and_without_its_target():
    model, batch = a_model(), a_batch(missing=0.2)
    assert torch.equal(forecast(model, batch), forecast(model, without_target(batch)))
