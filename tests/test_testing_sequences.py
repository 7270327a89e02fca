"""The contract of a module over tokens: the backbone keeps it, and each check catches its flaw."""

import inspect

import pytest
import torch
from torch import nn

from titans_ts.config import VARIANTS, BackboneConfig
from titans_ts.nn.backbone import TitansBackbone
from titans_ts.testing import SEQUENCE_CHECKS, SequenceCase, SequenceContract, check_sequence
from titans_ts.testing.sequence import check_state_size

TOKENS = torch.randn(2, 23, 4, generator=torch.Generator().manual_seed(0))


class Sum(nn.Module):
    """A running sum of tokens: causal, masked, and carried on in a state of fixed size."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(4, 4)

    def forward(self, tokens, state=None, observed=None):
        steps = torch.tanh(self.map(tokens))
        if observed is not None:
            steps = torch.where(observed[..., None], steps, 0.0)
        sums = steps.cumsum(1) + (0 if state is None else state[:, None])
        return sums, sums[:, -1].clone()


class LooksAhead(Sum):
    def forward(self, tokens, state=None, observed=None):
        sums, state = super().forward(tokens, state, observed)
        return sums + sums.mean(1, keepdim=True), state


class ReadsNothing(Sum):
    def forward(self, tokens, state=None, observed=None):
        return super().forward(torch.ones_like(tokens), state, observed)


class RemembersNothing(Sum):
    def forward(self, tokens, state=None, observed=None):
        return torch.tanh(self.map(tokens)), tokens[:, -1]


class ReadsMasked(Sum):
    def forward(self, tokens, state=None, observed=None):
        sums, after = super().forward(tokens, state, observed)
        return sums + tokens.sum(1, keepdim=True) * (observed is not None), after


class IgnoresMask(Sum):
    def forward(self, tokens, state=None, observed=None):
        return super().forward(tokens, state)


class LosesItsState(Sum):
    def forward(self, tokens, state=None, observed=None):
        return super().forward(tokens, None, observed)


class MixesRows(Sum):
    def forward(self, tokens, state=None, observed=None):
        sums, state = super().forward(tokens, state, observed)
        return sums + sums.mean(0, keepdim=True), state


class WritesIntoItsState(Sum):
    def forward(self, tokens, state=None, observed=None):
        sums, after = super().forward(tokens, state, observed)
        if state is not None:
            state.copy_(after)
        return sums, after


class KeepsAStateInside(Sum):
    calls = 0

    def forward(self, tokens, state=None, observed=None):
        self.calls += state is not None
        sums, state = super().forward(tokens, state, observed)
        return sums + self.calls, state


class Grows(Sum):
    def forward(self, tokens, state=None, observed=None):
        kept = None if state is None else state[:, -1]
        sums, after = super().forward(tokens, kept, observed)
        before = sums[:, :0] if state is None else state
        return sums, torch.cat([before, sums[:, :-1], after[:, None]], 1)


class CarriesNothing(Sum):
    def forward(self, tokens, state=None, observed=None):
        return super().forward(tokens, None, observed)[0], None


class HasADeadWeight(Sum):
    def __init__(self):
        super().__init__()
        self.idle = nn.Parameter(torch.zeros(3))


class CutsTheGradient(Sum):
    def forward(self, tokens, state=None, observed=None):
        sums, state = super().forward(tokens, state, observed)
        return sums.detach() + self.map.weight.sum(), state


class GivesOneOutput(Sum):
    def forward(self, tokens, state=None, observed=None):
        sums, state = super().forward(tokens, state, observed)
        return sums[:, -1:], state


def test_a_module_that_keeps_the_contract_passes():
    check_sequence(SequenceCase(Sum(), TOKENS))


@pytest.mark.parametrize(
    ("flawed", "check", "sentence"),
    [
        (LooksAhead, "check_causal", "it sees the future"),
        (ReadsNothing, "check_causal", "does not read them"),
        (RemembersNothing, "check_causal", "nothing is remembered"),
        (GivesOneOutput, "check_causal", "expected an output for each token"),
        (ReadsMasked, "check_masked", "at masked tokens changes the outputs of others"),
        (IgnoresMask, "check_masked", "at masked tokens changes the outputs of others"),
        (LosesItsState, "check_pieces", "Read in pieces, cut at"),
        (MixesRows, "check_batch_rows", "alone than in a batch"),
        (WritesIntoItsState, "check_state_untouched", "changes the state it is given"),
        (KeepsAStateInside, "check_state_untouched", "keeps a state inside"),
        (Grows, "check_state_size", "grows with the tokens read"),
        (CarriesNothing, "check_state_size", "holds no tensor"),
        (HasADeadWeight, "check_gradients", r"No gradient reaches \['idle'\]"),
        (CutsTheGradient, "check_gradients", r"No gradient reaches \['map.bias'\]"),
    ],
    ids=lambda value: value.__name__ if inspect.isclass(value) else "",
)
def test_a_check_catches_the_flaw_that_it_is_for(flawed, check, sentence):
    (found,) = (c for c in SEQUENCE_CHECKS if c.__name__ == check)
    with pytest.raises(AssertionError, match=sentence):
        found(SequenceCase(flawed(), TOKENS))
    found(SequenceCase(Sum(), TOKENS))


@pytest.mark.parametrize(("variant", "window"), [("mac", 64), ("mag", 256)])
def test_what_waits_for_its_segment_s_end_and_a_window_that_fills_are_no_growth(variant, window):
    backbone = TitansBackbone(BackboneConfig(variant=variant, dim=8, window=window))
    tokens = torch.randn(2, 29, 8, generator=torch.Generator().manual_seed(0))
    check_state_size(SequenceCase(backbone, tokens))


def test_every_check_has_a_flaw_that_it_catches():
    marks = test_a_check_catches_the_flaw_that_it_is_for.pytestmark
    (rows,) = (mark.args[1] for mark in marks if mark.name == "parametrize")
    assert {check for _, check, _ in rows} == {check.__name__ for check in SEQUENCE_CHECKS}


def test_ids_are_read_too():
    class Words(Sum):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(7, 4)

        def forward(self, tokens, state=None, observed=None):
            return super().forward(self.table(tokens), state, observed)

    ids = torch.randint(7, (2, 41), generator=torch.Generator().manual_seed(0))
    check_sequence(SequenceCase(Words(), ids))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("check", SEQUENCE_CHECKS, ids=lambda check: check.__name__)
def test_the_backbone_keeps_the_contract(variant, check):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = TitansBackbone(BackboneConfig(variant=variant, dim=4, depth=2))
    check(SequenceCase(backbone, torch.cat([TOKENS, -TOKENS], 1)))


class TestSum(SequenceContract):
    @classmethod
    def make_case(cls):
        return SequenceCase(Sum(), TOKENS)


def test_a_contract_has_a_test_for_every_check():
    tests = {name for name in dir(TestSum) if name.startswith("test_")}
    assert tests == {check.__name__.replace("check_", "test_") for check in SEQUENCE_CHECKS}
