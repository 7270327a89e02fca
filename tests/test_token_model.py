"""TokenModel: tokens in, probabilities of the next out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from titans_ts.config import VARIANTS, BackboneConfig
from titans_ts.heads.tokens import losses
from titans_ts.heads.tokens.model import TokenModel

CONFIG = BackboneConfig(variant="mag", dim=16, chunk_size=4, segment_length=8, dropout=0.0)


def model_of(n_tokens=23, *, tied=True, **options):
    torch.manual_seed(0)
    return TokenModel(n_tokens, replace(CONFIG, **options), tied=tied)


@pytest.mark.parametrize("tied", [True, False])
def test_a_new_model_guesses_evenly(tied):
    model = model_of(257, tied=tied, dim=128, depth=3)
    tokens = torch.randint(257, (4, 65))
    loss, _ = model.loss(tokens[:, :-1], tokens[:, 1:], need_state=False)
    assert loss.item() == pytest.approx(math.log(257), abs=0.15)


def test_a_new_tied_model_does_not_answer_a_token_with_itself():
    model = model_of(257, dim=128, depth=3)
    tokens = torch.randint(257, (4, 64))
    itself, _ = model.log_probabilities(tokens, tokens, need_state=False)
    assert itself.mean().exp().item() < 0.1


def test_tied_weights_count_once():
    tied, untied = model_of(tied=True), model_of(tied=False)
    assert untied.n_parameters - tied.n_parameters == 23 * 16 - 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_pieces_give_the_probabilities_of_the_whole(variant):
    model = model_of(variant=variant).double()
    tokens = torch.randint(23, (2, 30))
    whole, _ = model.log_probabilities(tokens[:, :-1], tokens[:, 1:])
    first, state = model.log_probabilities(tokens[:, :11], tokens[:, 1:12])
    second, _ = model.log_probabilities(tokens[:, 11:-1], tokens[:, 12:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)


def test_log_probabilities_are_those_of_the_logits():
    model = model_of()
    tokens, targets = torch.randint(23, (2, 3, 7))
    logits, _ = model(tokens)
    logs, _ = model.log_probabilities(tokens, targets)
    expected = logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    torch.testing.assert_close(logs, expected)


@pytest.mark.parametrize("tied", [True, False])
def test_logits_some_at_a_time_have_the_same_loss_and_gradients(tied, monkeypatch):
    model = model_of(tied=tied)
    tokens, targets = torch.randint(23, (2, 3, 7))
    parameters = list(model.parameters())

    def loss_and_gradients():
        loss, _ = model.loss(tokens, targets, need_state=False)
        return loss, torch.autograd.grad(loss, parameters)

    expected = loss_and_gradients()
    monkeypatch.setattr(losses, "MOST_LOGITS", 23 * 5)
    torch.testing.assert_close(loss_and_gradients(), expected)


def test_what_is_masked_changes_neither_loss_nor_state():
    model = model_of()
    tokens, targets = torch.randint(23, (2, 2, 12))
    observed = torch.arange(12).expand(2, 12) < torch.tensor([[12], [7]])
    loss, _ = model.loss(tokens, targets, observed=observed)
    other = torch.where(observed, tokens, (tokens + 1) % 23)
    others, _ = model.loss(other, (targets + ~observed) % 23, observed=observed)
    assert others.item() == loss.item()
    logs, _ = model.log_probabilities(tokens[1:, :7], targets[1:, :7])
    row, _ = model.log_probabilities(tokens, targets, observed=observed)
    torch.testing.assert_close(row[1:, :7], logs)
    assert loss.item() == pytest.approx(-row[observed].mean().item(), rel=1e-5)


def test_a_batch_without_targets_has_no_loss():
    model = model_of()
    tokens = torch.randint(23, (1, 5))
    loss, _ = model.loss(tokens, tokens, mask=torch.zeros(1, 5, dtype=torch.bool))
    assert loss.item() == 0
