"""Segments that are recorded learn what others learn, memory and all."""

import pytest
import torch
from recorder import Recorder

from titans_ts.config import VARIANTS, BackboneConfig
from titans_ts.heads.tokens.model import TokenModel
from titans_ts.nn.restart import tensors_of
from titans_ts.plugins.language.model import TitansLanguageModel
from titans_ts.plugins.language.streams import segments_of, whole_documents
from titans_ts.plugins.language.texts import read_corpus
from titans_ts.plugins.language.tokenizer import ByteTokenizer
from titans_ts.plugins.language.training import StreamModule
from titans_ts.training import EagerSteps, TrainingSettings
from titans_ts.training.graphed import GraphedLoss

SETTINGS = TrainingSettings(max_epochs=1, batch_size=3, learning_rate=0.01, patience=1)


def learn(variant: str, recorder: Recorder | None):
    """Losses and states of a fit, step by step, and the weights at its end."""
    config = BackboneConfig(
        variant=variant, dim=8, chunk_size=4, segment_length=8, window=6, dropout=0.0
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = TokenModel(257, config).double()
    module = StreamModule(model, SETTINGS)
    if recorder is not None:
        module.graphed = GraphedLoss(module._loss_and_state, model, recorder)
    texts = ["What one reads, " * n + "stays." for n in (20, 14, 9, 5, 3, 1)]
    corpus = read_corpus(texts, ByteTokenizer())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    losses, states, positions = [], [], []
    for batch in segments_of(corpus, iter(whole_documents(corpus)), rows=3, length=16, end=256):
        loss = module.training_loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        states.append(tensors_of(module.trained))
        positions.append(module.trained.position)
    return losses, states, positions, [p.detach() for p in model.parameters()]


@pytest.mark.parametrize("variant", VARIANTS)
def test_segments_that_are_done_again_learn_what_others_learn(variant):
    recorder = Recorder()
    expected, got = learn(variant, None), learn(variant, recorder)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)
    assert recorder.n_recorded > 0
    assert recorder.n_again > len(expected[0]) / 4
    assert expected[2][:2] == [16, 32]


@pytest.mark.gpu
@pytest.mark.parametrize("variant", VARIANTS)
def test_on_the_gpu_recorded_segments_learn_what_others_learn(variant):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")

    def history(**more) -> list[float]:
        model = TitansLanguageModel(
            variant=variant,
            dim=32,
            depth=1,
            accelerator="gpu",
            precision="32-true",
            max_epochs=2,
            random_state=0,
            **more,
        )
        text = "What one reads, " * 400 + "stays. "
        return [epoch["train_loss"] for epoch in model.fit([text] * 4).history_]

    plain = history(trainer_kwargs={"callbacks": EagerSteps()})
    assert history() == pytest.approx(plain, rel=1e-3)
