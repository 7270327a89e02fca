"""A plain function looks on while a forecaster trains, and may end it."""

from lightning.pytorch import Callback
from tiny_fits import tiny, waves

from titans_ts.training.watch import ValidationWatch, watching


def test_the_function_sees_every_validation_loss_and_ends_the_training():
    seen = []

    def look(epoch, loss):
        seen.append((epoch, loss))
        return epoch == 2

    forecaster = tiny(max_epochs=5, trainer_kwargs=watching(None, look)).fit(waves())
    assert [epoch for epoch, _ in seen] == [0, 1, 2]
    assert [loss for _, loss in seen] == [e["validation_loss"] for e in forecaster.history_]
    assert forecaster.predict().shape == (7, 2)


def test_nothing_is_seen_in_lightning_s_own_trial_batches():
    seen = []
    kwargs = watching({"num_sanity_val_steps": 1}, lambda epoch, loss: seen.append(epoch))
    tiny(max_epochs=2, trainer_kwargs=kwargs).fit(waves())
    assert seen == [0, 1]


def test_other_callbacks_stay_and_what_was_given_is_left_alone():
    one, two = Callback(), Callback()
    for given, before in ((None, []), (one, [one]), ([one, two], [one, two])):
        kwargs = {"callbacks": given, "max_steps": 3}
        made = watching(kwargs, lambda epoch, loss: False)
        assert made["callbacks"][:-1] == before
        assert isinstance(made["callbacks"][-1], ValidationWatch)
        assert kwargs == {"callbacks": given, "max_steps": 3}
