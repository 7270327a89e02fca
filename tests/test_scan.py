"""A fading sum is its own definition, at any length and cut."""

from __future__ import annotations

import pytest
import torch

from titans_ts.ops.scan import BLOCK, fading_sum

LONG = 2 * BLOCK + 3


def make_terms(time=LONG, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 5, time, generator=generator, dtype=torch.float64).to(dtype)


def one_by_one(terms, keep, initial=None):
    total = torch.zeros_like(terms[..., 0]) if initial is None else initial
    sums = []
    for t in range(terms.shape[-1]):
        total = keep * total + terms[..., t]
        sums.append(total)
    return torch.stack(sums, -1)


@pytest.mark.parametrize("keep", [0.0, 1e-9, 0.5, 0.998, 1.0])
@pytest.mark.parametrize("time", [1, BLOCK - 1, BLOCK, LONG])
def test_a_fading_sum_is_a_loop(time, keep):
    terms = make_terms(time)
    torch.testing.assert_close(fading_sum(terms, keep), one_by_one(terms, keep), rtol=0, atol=1e-11)
    initial = make_terms(1)[..., 0]
    torch.testing.assert_close(
        fading_sum(terms, keep, initial), one_by_one(terms, keep, initial), rtol=0, atol=1e-11
    )


@pytest.mark.parametrize("cuts", [[0, 1, 2], [BLOCK - 1, BLOCK, BLOCK], [5, LONG]], ids=str)
def test_pieces_of_a_fading_sum_equal_the_whole(cuts):
    terms, last, pieces = make_terms(), None, []
    for start, stop in zip([0, *cuts], [*cuts, LONG], strict=True):
        pieces.append(fading_sum(terms[..., start:stop], 0.9, last))
        last = pieces[-1][..., -1] if stop > start else last
    torch.testing.assert_close(torch.cat(pieces, -1), fading_sum(terms, 0.9), rtol=0, atol=1e-12)


def test_a_later_term_never_changes_an_earlier_sum():
    terms = make_terms()
    other = terms.clone()
    other[..., 131:] += 1e6
    before, after = fading_sum(terms, 0.99), fading_sum(other, 0.99)
    assert torch.equal(after[..., :131], before[..., :131])
    assert (after - before)[..., 131:].min() > 1


def test_gradients_of_a_fading_sum_match_finite_differences():
    terms = make_terms(7).requires_grad_()
    initial = make_terms(1)[..., 0].requires_grad_()
    assert torch.autograd.gradcheck(lambda x, s: fading_sum(x, 0.7, s), (terms, initial))


def test_a_fading_sum_keeps_its_dtype():
    assert fading_sum(make_terms(dtype=torch.float32), 0.5).dtype == torch.float32
