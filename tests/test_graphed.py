"""A loss that is recorded: what is done again is what would have been computed."""

import pytest
import torch
from complete_windows import make_batch, make_model
from torch import nn

from titans_ts.training.graphed import MOST_RECORDED, UNRECORDED, GraphedLoss, Recorded

N_ORIGINS = 4


class Recorder:
    """A CUDA graph as a CPU can have it: the same places are written to, again and again."""

    def __init__(self, error=None):
        self.error = error
        self.n_recorded = self.n_again = 0

    def __call__(self, work, device):
        self.n_recorded += 1
        if self.error is not None:
            raise self.error
        loss, gradients = work()

        def again():
            self.n_again += 1
            with torch.enable_grad():
                new, found = work()
            loss.copy_(new)
            for place, gradient in zip(gradients, found, strict=True):
                if place is not None:
                    place.copy_(gradient)

        return Recorded(again, loss, gradients)


def complete(seed=0):
    """Windows without a gap; others for another seed."""
    batch = make_batch()._replace(context_complete=True, target_complete=True)
    return batch._replace(context=batch.context + seed, target=batch.target - seed)


def fit(loss_of, model, batches):
    """Losses and weights of some steps."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    losses = []
    for batch in batches:
        loss = loss_of(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return {"losses": torch.stack(losses), **{n: p.detach() for n, p in model.named_parameters()}}


def recorded(model, recorder):
    return GraphedLoss(lambda batch: model.training_loss(batch, N_ORIGINS), model, recorder)


@pytest.mark.parametrize("variant", ["mac", "lmm"])
def test_steps_that_are_done_again_learn_what_others_learn(variant):
    batches = [complete(seed) for seed in range(7)]
    plain, model, recorder = make_model(variant), make_model(variant), Recorder()
    expected = fit(lambda batch: plain.training_loss(batch, N_ORIGINS), plain, batches)
    got = fit(recorded(model, recorder), model, batches)
    # Every loss is its own: all of them were looked at only now.
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
    assert (recorder.n_recorded, recorder.n_again) == (1, len(batches) - UNRECORDED)


def test_gradients_of_several_batches_add_up():
    model, recorder = make_model(), Recorder()
    loss_of = recorded(model, recorder)
    for batch in [complete()] * UNRECORDED:
        loss_of(batch)
    pair = complete(1), complete(2)
    for batch in pair:
        (3 * loss_of(batch)).backward()
    assert recorder.n_again == 2
    got = [p.grad for p in model.parameters()]
    plain = make_model()
    (3 * sum(plain.training_loss(batch, N_ORIGINS) for batch in pair)).backward()
    torch.testing.assert_close(got, [p.grad for p in plain.parameters()], rtol=1e-9, atol=1e-11)


def test_a_batch_of_another_shape_has_a_record_of_its_own_up_to_some():
    model, recorder = make_model(), Recorder()
    loss_of = recorded(model, recorder)
    full = complete()
    for n in (5, 4, 3):
        part = full._map(lambda x, n=n: x[:n] if len(x) > 1 else x)
        expected = model.training_loss(part, N_ORIGINS)
        for _ in range(UNRECORDED + 2):
            torch.testing.assert_close(loss_of(part), expected)
    assert recorder.n_recorded == loss_of.n_recorded == MOST_RECORDED
    assert recorder.n_again == 2 * MOST_RECORDED
    loss_of.forget()
    assert loss_of.n_recorded == 0


def test_what_cannot_be_recorded_is_computed_as_it_comes():
    model, recorder = make_model(), Recorder(RuntimeError("a look at numbers"))
    batches = [complete(seed) for seed in range(5)]
    got = fit(recorded(model, recorder), model, batches)
    plain = make_model()
    expected = fit(lambda batch: plain.training_loss(batch, N_ORIGINS), plain, batches)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)
    assert recorder.n_recorded == 1  # and not tried again


@pytest.mark.parametrize("how", ["no gradients", "hooks", "anomalies", "moved"])
def test_nothing_is_done_again_that_has_to_be_seen_or_has_changed(how):
    model, recorder = make_model(), Recorder()
    loss_of = recorded(model, recorder)
    for _ in range(UNRECORDED + 1):
        loss_of(complete())
    assert recorder.n_again == 1
    if how == "no gradients":
        with torch.no_grad():
            loss_of(complete())
    elif how == "hooks":
        seen = []
        model.head.register_forward_hook(lambda *arguments: seen.append(1))
        for module in model.modules():
            module.register_forward_hook(lambda *arguments: seen.append(1))
        loss_of(complete())
        assert seen
    elif how == "anomalies":
        with pytest.warns(UserWarning, match="Anomaly"), torch.autograd.detect_anomaly():
            loss_of(complete())
    else:
        for parameter in model.parameters():
            parameter.data = parameter.data.clone() + 0.1
        torch.testing.assert_close(loss_of(complete()), model.training_loss(complete(), N_ORIGINS))
    assert recorder.n_again == 1


def test_on_a_cpu_nothing_is_recorded():
    model = nn.Linear(1, 1)
    loss_of = GraphedLoss(lambda batch: model(batch).mean(), model)
    for _ in range(UNRECORDED + 2):
        loss_of(torch.ones(3, 1)).backward()
    assert loss_of.n_recorded == 0
    assert not loss_of.failed
