"""The forecast head around a backbone: shapes, who may see what, masks, and the highway."""

import numpy as np
import pytest
import torch

from titans_ts.config import VARIANTS, BackboneConfig
from titans_ts.errors import ParameterError
from titans_ts.heads.base import WindowBatch
from titans_ts.heads.forecast.head import ForecastConfig, ForecastHead
from titans_ts.heads.forecast.model import ForecastModel

BATCH, CHANNELS, HORIZON, PATCH, PATCHES, DIM = 5, 3, 7, 2, 13, 8
TIME = PATCH * PATCHES
ORIGINS = 4
REACH = TIME - (ORIGINS - 1) * PATCH  # what every origin has behind it


def make_batch(seed=0, masked=0.0, time=TIME, channels=CHANNELS):
    """Windows with a level, in units that differ between channels."""
    rng = np.random.default_rng(seed)
    units = 10.0 ** np.arange(channels)
    rows = units * (5 + np.cumsum(rng.normal(size=(BATCH, time + HORIZON, channels)), axis=1))
    seen = rng.random(rows.shape) >= masked
    rows, seen = torch.from_numpy(np.where(seen, rows, 0.0)), torch.from_numpy(seen)
    scale = torch.from_numpy(3 * units)[None]
    return WindowBatch(rows[:, :time], seen[:, :time], rows[:, time:], seen[:, time:], scale)


def make_model(variant="lmm", *, seed=0, dtype=torch.float64, backbone=None, **head):
    """A model whose weights have all been moved, since it starts from a forecast of zero."""
    options = {"horizon": HORIZON, "patch_length": PATCH, "highway_length": REACH}
    config = ForecastConfig(**{**options, "running_memory": 17, **head})
    shape = {"dim": DIM, "n_heads": 2, "chunk_size": 2, "segment_length": 4, **(backbone or {})}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ForecastModel(config, variant and BackboneConfig(variant=variant, **shape))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    return model.to(dtype).eval()


def forecast(model, batch, n_origins=1):
    with torch.no_grad():
        return model.head.to_output(model(batch, n_origins))


# -- shapes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mae", "student_t"])
@pytest.mark.parametrize("normalisation", ["running", "window"])
def test_encoding_makes_a_sequence_of_every_channel_and_decoding_puts_them_back(
    loss, normalisation
):
    config = ForecastConfig(
        horizon=HORIZON,
        patch_length=PATCH,
        highway_length=REACH,
        loss=loss,
        normalisation=normalisation,
    )
    head = ForecastHead(config, DIM)
    encoded = head.encode(make_batch(masked=0.3))
    assert encoded.tokens.shape == (BATCH * CHANNELS, PATCHES, DIM)
    assert encoded.observed.shape == (BATCH * CHANNELS, PATCHES)
    parameters = head.decode(encoded.tokens, encoded, ORIGINS)
    n_parameters = 3 if loss == "student_t" else 1
    assert parameters.values.shape == (BATCH, ORIGINS, HORIZON, CHANNELS, n_parameters)
    assert parameters.location.shape == (BATCH, ORIGINS, 1, CHANNELS)
    assert head.to_output(parameters).shape == (BATCH, ORIGINS, HORIZON, CHANNELS)


def test_quantiles_have_an_axis_of_their_own():
    model = make_model(quantiles=(0.1, 0.5, 0.9))
    parameters = model(make_batch(), ORIGINS)
    quantiles = model.head.to_output(parameters, (0.1, 0.9))
    assert quantiles.shape == (BATCH, ORIGINS, HORIZON, CHANNELS, 2)
    assert (quantiles[..., 0] < quantiles[..., 1]).all()


def test_a_new_model_forecasts_the_level():
    """So nothing has to be unlearnt."""
    config = ForecastConfig(HORIZON, PATCH, highway_length=REACH, normalisation="window")
    model = ForecastModel(config, BackboneConfig(dim=DIM)).eval()
    batch = make_batch()
    level = batch.context.mean(dim=1)[:, None, None].expand(-1, 1, HORIZON, -1)
    torch.testing.assert_close(forecast(model, batch), level)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"horizon": 0}, "horizon must be a whole number of at least 1, got 0"),
        ({"patch_length": 2.5}, "patch_length must be a whole number"),
        ({"highway_length": -1}, "highway_length must be a whole number of at least 0"),
        ({"running_memory": 0}, "running_memory must be"),
        ({"normalisation": "batch"}, "normalisation must be one of 'running', 'window'"),
        ({"channel_mixing": "yes"}, "channel_mixing must be one of True, False"),
        ({"loss": "rmse"}, "loss must be one of"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(bad, message):
    with pytest.raises(ParameterError, match=message):
        ForecastConfig(**{"horizon": HORIZON, **bad})


# -- channels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_changing_one_channel_changes_no_other_channels_forecast(variant):
    model, batch = make_model(variant), make_batch()
    other = batch.context.clone()
    other[..., 1] = 100 * torch.randn(BATCH, TIME, dtype=torch.float64)
    before, after = forecast(model, batch), forecast(model, batch._replace(context=other))
    torch.testing.assert_close(after[..., [0, 2]], before[..., [0, 2]], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(after[..., 1], before[..., 1])


def test_with_channel_mixing_a_channel_matters_to_the_others():
    model, batch = make_model(channel_mixing=True), make_batch()
    other = batch.context.clone()
    other[..., 1] = 100 * torch.randn(BATCH, TIME, dtype=torch.float64)
    before, after = forecast(model, batch), forecast(model, batch._replace(context=other))
    for channel in range(CHANNELS):
        assert not torch.allclose(after[..., channel], before[..., channel], rtol=1e-6)


def test_channels_mix_at_each_origin_and_in_each_window_by_itself():
    model, batch = make_model(channel_mixing=True), make_batch()
    together = forecast(model, batch, ORIGINS)
    for i in range(BATCH):
        alone = WindowBatch(*(part[i : i + 1] for part in batch[:4]), batch.channel_scale)
        torch.testing.assert_close(forecast(model, alone)[0, 0], together[i, -1])


@pytest.mark.parametrize("channel_mixing", [False, True])
def test_swapping_channels_swaps_their_forecasts(channel_mixing):
    model, batch = make_model(channel_mixing=channel_mixing), make_batch()
    order = [2, 0, 1]
    swapped = WindowBatch(*(part[..., order] for part in batch[:5]))
    torch.testing.assert_close(
        forecast(model, swapped), forecast(model, batch)[..., order], rtol=1e-9, atol=1e-9
    )


def test_a_model_with_channel_mixing_takes_any_number_of_channels():
    model = make_model(channel_mixing=True)
    assert forecast(model, make_batch(channels=11)).shape == (BATCH, 1, HORIZON, 11)


# -- highway ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantiles", [None, (0.2, 0.5)])
def test_the_highway_alone_is_a_linear_map_of_the_normalised_context(quantiles):
    model = make_model(None, normalisation="window", highway_length=11, quantiles=quantiles)
    batch = make_batch()
    context = batch.context.numpy()
    level, spread = context.mean(axis=1, keepdims=True), context.std(axis=1, keepdims=True)
    matrix = model.head.highway.weight.detach().numpy()
    recent = ((context - level) / spread)[:, -11:]
    expected = level + spread * np.einsum("hl,blc->bhc", matrix, recent)
    np.testing.assert_allclose(forecast(model, batch)[:, 0], expected, rtol=1e-9)


def test_the_highway_reads_the_steps_before_each_origin():
    model, batch = make_model(None), make_batch()
    matrix = model.head.highway.weight.detach()
    dense = forecast(model, batch, ORIGINS)
    normalised = model.head.encode(batch).normalised
    for j in range(ORIGINS):
        end = TIME - (ORIGINS - 1 - j) * PATCH
        place = normalised.location[:, end // PATCH - 1].view(BATCH, 1, CHANNELS)
        scale = normalised.scale[:, end // PATCH - 1].view(BATCH, 1, CHANNELS)
        recent = (batch.context[:, end - REACH : end] - place) / scale
        line = place + scale * torch.einsum("hl,blc->bhc", matrix, recent)
        torch.testing.assert_close(dense[:, j], line, rtol=1e-9, atol=1e-9)


def test_the_highway_reads_a_line_over_gaps_and_the_level_before_the_first_value():
    model, batch = make_model(None, normalisation="window"), make_batch(masked=0.3)
    batch.observed[1, :9] = False
    normalised = model.head.encode(batch).normalised
    place = normalised.location[:, 0].view(BATCH, 1, CHANNELS)
    scale = normalised.scale[:, 0].view(BATCH, 1, CHANNELS)
    filled = torch.empty_like(batch.context)
    for b in range(BATCH):
        for c in range(CHANNELS):
            seen = np.flatnonzero(batch.observed[b, :, c])
            line = np.interp(np.arange(TIME), seen, batch.context[b, seen, c])
            line[: seen[0]] = place[b, 0, c]
            filled[b, :, c] = torch.from_numpy(line)
    recent = ((filled - place) / scale)[:, -REACH:]
    line = torch.einsum("hl,blc->bhc", model.head.highway.weight.detach(), recent)
    torch.testing.assert_close(forecast(model, batch)[:, 0], place + scale * line)


def test_highway_and_backbone_add_up():
    both = make_model("mac")
    matrix = both.head.highway.weight.detach().clone()
    batch = make_batch()
    zero = forecast_of(both, batch, matrix * 0)
    doubled, single = forecast_of(both, batch, matrix * 2), forecast_of(both, batch, matrix)
    torch.testing.assert_close(doubled - zero, 2 * (single - zero), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(zero, make_level(both, batch))  # the backbone adds something


def forecast_of(model, batch, matrix):
    with torch.no_grad():
        model.head.highway.weight.copy_(matrix)
    return forecast(model, batch)


def make_level(model, batch):
    return model(batch).location.expand(-1, -1, HORIZON, -1)


# -- origins ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", [None, *VARIANTS])
@pytest.mark.parametrize("normalisation", ["running", "window"])
def test_the_last_forecast_is_the_same_however_many_are_asked_for(variant, normalisation):
    model, batch = make_model(variant, normalisation=normalisation), make_batch(masked=0.2)
    one = forecast(model, batch)
    for n in (2, ORIGINS):
        torch.testing.assert_close(forecast(model, batch, n)[:, -1:], one, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("variant", [None, *VARIANTS])
def test_a_forecast_inside_the_context_is_that_of_the_context_up_to_there(variant):
    """Dense training with running statistics sees nothing of what it is asked to forecast."""
    model, batch = make_model(variant), make_batch(masked=0.2)
    dense = forecast(model, batch, ORIGINS)
    for j in range(ORIGINS):
        end = TIME - (ORIGINS - 1 - j) * PATCH
        cut = batch._replace(context=batch.context[:, :end], observed=batch.observed[:, :end])
        torch.testing.assert_close(forecast(model, cut)[:, 0], dense[:, j], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_origins", [1, ORIGINS])
def test_targets_line_up_with_their_forecasts(n_origins):
    model, batch = make_model("mal"), make_batch(masked=0.25)
    forecasts = forecast(model, batch, n_origins)
    rows = torch.cat([batch.context, batch.target], dim=1)
    seen = torch.cat([batch.observed, batch.target_observed], dim=1)
    errors = []
    for i in range(BATCH):
        for j in range(n_origins):
            start = TIME - (n_origins - 1 - j) * PATCH
            for step in range(HORIZON):
                for c in range(CHANNELS):
                    if seen[i, start + step, c]:
                        error = forecasts[i, j, step, c] - rows[i, start + step, c]
                        errors.append(abs(error) / batch.channel_scale[0, c])
    got = model.training_loss(batch, n_origins)
    assert got.item() == pytest.approx(float(sum(errors)) / len(errors), rel=1e-9)


def test_every_row_of_a_batch_can_have_a_scale_of_its_own():
    """As in training by channel, where a batch holds sequences of different channels."""
    model, batch = make_model(None), make_batch(channels=1)
    scale = torch.linspace(1, 9, BATCH, dtype=torch.float64)[:, None]
    together = model.training_loss(batch._replace(channel_scale=scale))
    alone = [
        model.training_loss(WindowBatch(*(p[i : i + 1] for p in batch[:4]), scale[i : i + 1]))
        for i in range(BATCH)
    ]
    assert together.item() == pytest.approx(torch.stack(alone).mean().item(), rel=1e-12)


# -- masks -----------------------------------------------------------------------------------------


def gradients(model, batch):
    model.zero_grad()
    loss = model.training_loss(batch, ORIGINS)
    loss.backward()
    return loss.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("loss", ["mae", "mse", "huber", "pinball", "student_t"])
@pytest.mark.parametrize("garbage", [float("nan"), 1e30])
def test_what_lies_under_the_mask_reaches_neither_loss_nor_gradients(loss, garbage):
    quantiles = (0.1, 0.5) if loss == "pinball" else None
    model, batch = make_model("mac", loss=loss, quantiles=quantiles), make_batch(masked=0.3)
    dirty = batch._replace(
        context=torch.where(batch.observed, batch.context, garbage),
        target=torch.where(batch.target_observed, batch.target, garbage),
    )
    clean_loss, clean = gradients(model, batch)
    dirty_loss, got = gradients(model, dirty)
    assert np.isfinite(clean_loss)
    assert dirty_loss == clean_loss
    for a, b in zip(got, clean, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(forecast(model, dirty), forecast(model, batch))


def test_windows_without_one_observed_target_step_weigh_nothing():
    model, batch = make_model(), make_batch()
    nothing = torch.zeros_like(batch.target_observed)
    empty = batch._replace(target_observed=nothing)
    assert model.training_loss(empty).item() == 0
    part = nothing.clone()
    part[:2] = True
    first = WindowBatch(*(p[:2] for p in batch[:4]), batch.channel_scale)
    assert model.training_loss(batch._replace(target_observed=part)).item() == pytest.approx(
        model.training_loss(first).item(), rel=1e-12
    )


@pytest.mark.parametrize("variant", [None, *VARIANTS])
@pytest.mark.parametrize("normalisation", ["running", "window"])
def test_padding_on_the_left_says_nothing_and_breaks_nothing(variant, normalisation):
    model, batch = make_model(variant, normalisation=normalisation), make_batch()
    n_padded = TIME - 2 * PATCH - 1
    observed = batch.observed.clone()
    observed[:, :n_padded] = False
    results = []
    for fill in (0.0, -1e15):
        context = batch.context.clone()
        context[:, :n_padded] = fill
        results.append(forecast(model, batch._replace(context=context, observed=observed)))
    assert torch.equal(*results)
    assert torch.isfinite(results[0]).all()
    full = forecast(model, batch)
    assert not torch.allclose(results[0], full)


# Chunks of one token and no persistent tokens: elsewhere padding moves where a chunk or a segment
# starts, or comes between persistent tokens and the first of the series.
PLAIN = {"chunk_size": 1, "segment_length": 1, "n_persistent": 0}


@pytest.mark.parametrize("variant", [None, *VARIANTS])
@pytest.mark.parametrize("normalisation", ["running", "window"])
def test_padding_by_whole_patches_is_a_shorter_context(variant, normalisation):
    model = make_model(variant, normalisation=normalisation, backbone=PLAIN)
    batch, n_padded = make_batch(), 6 * PATCH
    observed = batch.observed.clone()
    observed[:, :n_padded] = False
    short = batch._replace(
        context=batch.context[:, n_padded:], observed=batch.observed[:, n_padded:]
    )
    torch.testing.assert_close(
        forecast(model, batch._replace(observed=observed)), forecast(model, short)
    )


@pytest.mark.parametrize("variant", [None, *VARIANTS])
def test_a_context_without_one_observed_step_gives_a_finite_forecast(variant):
    model, batch = make_model(variant), make_batch()
    nothing = batch._replace(observed=torch.zeros_like(batch.observed))
    assert torch.isfinite(forecast(model, nothing)).all()
    assert torch.isfinite(model.training_loss(nothing, ORIGINS))


# -- precision -------------------------------------------------------------------------------------


@pytest.mark.parametrize("highway_length", [0, REACH])
@pytest.mark.parametrize("loss", ["mae", "student_t"])
def test_losses_and_units_are_in_full_precision_under_bfloat16(highway_length, loss):
    model = make_model("mac", dtype=torch.float32, highway_length=highway_length, loss=loss)
    batch = make_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parameters = model(batch, ORIGINS)
        mixed = model.training_loss(batch, ORIGINS)
    assert parameters.values.dtype == torch.float32
    assert mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(model.training_loss(batch, ORIGINS).item(), rel=0.05)
