"""A loss that is recorded: what is done again is what would have been computed."""

import copy
import pickle
import weakref

import pytest
import torch
from complete_windows import make_batch, make_model
from lightning.pytorch import Callback
from recorder import Recorder
from tiny_fits import tiny, waves
from torch import nn

from titans_ts.training import EagerSteps, TrainingSettings, graphed
from titans_ts.training.graphed import MOST_RECORDED, UNRECORDED, GraphedLoss
from titans_ts.training.module import TrainingModule

N_ORIGINS = 4


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
    """The loss alone, of a model of forecasts."""
    graphed = GraphedLoss(
        lambda batch: (model.training_loss(batch, N_ORIGINS), None), model, recorder
    )
    return graphed, lambda batch: graphed(batch)[0]


@pytest.mark.parametrize("variant", ["mac", "lmm"])
def test_steps_that_are_done_again_learn_what_others_learn(variant):
    batches = [complete(seed) for seed in range(7)]
    plain, model, recorder = make_model(variant), make_model(variant), Recorder()
    expected = fit(lambda batch: plain.training_loss(batch, N_ORIGINS), plain, batches)
    got = fit(recorded(model, recorder)[1], model, batches)
    # Every loss is its own: all of them were looked at only now.
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
    assert (recorder.n_recorded, recorder.n_again) == (1, len(batches) - UNRECORDED)


def test_what_a_step_hands_on_is_its_own():
    model, recorder = nn.Linear(2, 2), Recorder()
    graphed = GraphedLoss(lambda x: (model(x).mean(), (x + 1, (x[0], None))), model, recorder)
    numbers = [torch.full((3, 2), float(i)) for i in range(5)]
    found = [graphed(x)[1] for x in numbers]
    assert recorder.n_again == 3
    for x, (more, (first, nothing)) in zip(numbers, found, strict=True):
        assert torch.equal(more, x + 1)
        assert torch.equal(first, x[0])
        assert nothing is None


def test_gradients_of_several_batches_add_up():
    model, recorder = make_model(), Recorder()
    _, loss_of = recorded(model, recorder)
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
    graphed, loss_of = recorded(model, recorder)
    full = complete()
    for n in (5, 4, 3):
        part = full._map(lambda x, n=n: x[:n] if len(x) > 1 else x)
        expected = model.training_loss(part, N_ORIGINS)
        for _ in range(UNRECORDED + 2):
            torch.testing.assert_close(loss_of(part), expected)
    assert recorder.n_recorded == graphed.n_recorded == MOST_RECORDED
    assert recorder.n_again == 2 * MOST_RECORDED
    graphed.forget()
    assert graphed.n_recorded == 0


def test_what_cannot_be_recorded_is_computed_as_it_comes():
    model, recorder = make_model(), Recorder(RuntimeError("a look at numbers"))
    batches = [complete(seed) for seed in range(5)]
    got = fit(recorded(model, recorder)[1], model, batches)
    plain = make_model()
    expected = fit(lambda batch: plain.training_loss(batch, N_ORIGINS), plain, batches)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)
    assert recorder.n_recorded == 1  # and not tried again


@pytest.mark.parametrize(
    "how",
    [
        "no gradients",
        "hooks",
        "anomalies",
        "moved",
        "one layer in another mode",
        "half precision",
        "a compiled layer",
    ],
)
def test_nothing_is_done_again_that_has_to_be_seen_or_has_changed(how, monkeypatch):
    model, recorder = make_model(), Recorder()
    _, loss_of = recorded(model, recorder)
    for _ in range(UNRECORDED + 1):
        loss_of(complete())
    assert recorder.n_again == 1
    if how == "no gradients":
        with torch.no_grad():
            loss_of(complete())
    elif how == "hooks":
        seen = []
        model.backbone.register_forward_hook(lambda *arguments: seen.append(1))
        loss_of(complete())
        assert seen
    elif how == "one layer in another mode":
        model.backbone.blocks[0].feed_forward.train()
        loss_of(complete())
    elif how == "half precision":
        monkeypatch.setattr(graphed, "_autocast_dtype", lambda: torch.float16)
        loss_of(complete())
    elif how == "a compiled layer":
        model.head._compiled_call_impl = model.head._call_impl
        loss_of(complete())
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
    loss_of = GraphedLoss(lambda batch: (model(batch).mean(), None), model)
    for _ in range(UNRECORDED + 2):
        loss_of(torch.ones(3, 1))[0].backward()
    assert loss_of.n_recorded == 0
    assert not loss_of.failed


def test_what_cannot_be_recorded_keeps_nothing_of_it():
    model, kept = nn.Linear(2, 2), []

    def loss_of(x):
        y = model(x)
        kept.append(weakref.ref(y))
        return y.mean(), None

    class Halfway(Recorder):
        def __call__(self, work, device):
            work()
            raise RuntimeError("no more memory")

    loss_of_batch = GraphedLoss(loss_of, model, Halfway())
    for _ in range(UNRECORDED + 2):
        loss_of_batch(torch.ones(3, 2))
    assert "no more memory" in loss_of_batch.failed
    assert [ref() for ref in kept] == [None] * len(kept)


def test_a_look_at_numbers_is_noticed_before_anything_is_recorded():
    x = torch.ones(3, requires_grad=True)
    with graphed._NoLooks():
        (2 * x).sum().backward()
        for look in (lambda: x.sum().item(), lambda: bool(x[0] > 0), lambda: x[x > 0]):
            with pytest.raises(RuntimeError, match="looks at numbers"):
                look()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


def test_a_batch_of_unknown_make_is_not_recorded():
    model, recorder = nn.Linear(2, 2), Recorder()
    loss_of = GraphedLoss(lambda batch: (model(batch[0]).mean(), None), model, recorder)
    for _ in range(UNRECORDED + 2):
        loss_of((torch.ones(3, 2), {"a": [1]}))[0].backward()
    assert recorder.n_recorded == 0


def test_second_derivatives_of_what_is_done_again_are_refused():
    model = nn.Linear(2, 2)
    loss_of = GraphedLoss(lambda x: (model(x).square().mean(), None), model, Recorder())
    for _ in range(UNRECORDED + 1):
        loss, _ = loss_of(torch.ones(3, 2))
    with pytest.raises(RuntimeError, match="create_graph"):
        torch.autograd.grad(loss, [model.weight], create_graph=True)


def test_a_module_of_training_is_pickled_and_copied():
    settings = TrainingSettings(max_epochs=1, batch_size=5, learning_rate=1e-3, patience=1)
    module = TrainingModule(make_model(), settings, n_origins=2, n_validation_origins=1)
    expected = module.training_loss(complete())
    for other in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        torch.testing.assert_close(other.training_loss(complete()), expected)
        assert other.graphed._model is other.model
        assert other.graphed._loss_of.__self__ is other


def test_steps_are_eager_where_that_is_asked_for():
    seen = []

    class Look(Callback):
        def on_train_start(self, trainer, pl_module):
            seen.append(pl_module.graphed.enabled)

    for callbacks in ([Look()], [EagerSteps(), Look()]):
        tiny(trainer_kwargs={"callbacks": callbacks}).fit(waves(60))
    assert seen == [True, False]
