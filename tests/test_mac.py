"""Memory as context follows its order: read, attend, write the attention output, gate."""

from __future__ import annotations

from types import MethodType

import pytest
import torch
from backbone_oracle import Oracle
from backbone_problems import (
    SEGMENT,
    SWITCHES,
    VARIANTS,
    close,
    make_backbone,
    make_observed,
    make_tokens,
)

from titans_ts.ops.memory_chunked import TILE_SIZE

MODES = pytest.mark.parametrize("name", ["mac", "mac literal"])


def make_block(name, **changes):
    """One block and its oracle."""
    backbone = make_backbone(name, depth=1, **changes)
    block = backbone.blocks[0]
    weights = {place: weight.detach() for place, weight in block.named_parameters()}
    return block, Oracle(backbone.config, weights)


@pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_block_equals_its_oracle(name, switch):
    block, oracle = make_block(name, **switch)
    tokens, observed = make_tokens(), make_observed()
    actual, _ = block(tokens, None, observed)
    close(actual[observed], oracle(tokens, observed)[observed])


@pytest.mark.parametrize("name", VARIANTS)
def test_a_block_equals_its_oracle_beyond_a_memory_tile_and_without_a_mask(name):
    block, oracle = make_block(name, chunk_size=4)
    tokens = make_tokens(TILE_SIZE + 3 * SEGMENT + 2)
    close(block(tokens)[0], oracle(tokens))


# Each of these is MACBlock's order with one thing wrong, a mistake that a change of the block could
# make. The oracle must tell every one of them from the block.


def look(block, tokens, reads):
    """What attention makes of a segment and of what the memory answered to it."""
    seen = block.attention.see(tokens, reads)
    return block.attention.attend(tokens, seen), seen


def write(block, session, x, tokens):
    return block.memory.write_and_read(session, x, tokens.observed, after_each=block.causal)


def in_order(block, x, tokens, queries, session):
    """The right one: what the mutants are measured against must itself pass."""
    y, seen = look(block, tokens, block.memory.read(session, queries))
    gate, session = write(block, session, y, tokens)
    return block.gate(y, gate), session, seen


def writes_the_input(block, x, tokens, queries, session):
    y, seen = look(block, tokens, block.memory.read(session, queries))
    gate, session = write(block, session, x, tokens)
    return block.gate(y, gate), session, seen


def gates_the_input(block, x, tokens, queries, session):
    y, seen = look(block, tokens, block.memory.read(session, queries))
    gate, session = write(block, session, y, tokens)
    return block.gate(x, gate), session, seen


def reads_after_the_write(block, x, tokens, queries, session):
    y, _ = look(block, tokens, block.memory.read(session, queries))
    gate, session = write(block, session, y, tokens)
    y, seen = look(block, tokens, block.memory.read(session, queries))
    return block.gate(y, gate), session, seen


def gates_by_the_old_memory(block, x, tokens, queries, session):
    y, seen = look(block, tokens, block.memory.read(session, queries))
    block.memory.writes = False
    gate, _ = write(block, session, y, tokens)
    block.memory.writes = True
    _, session = write(block, session, y, tokens)
    return block.gate(y, gate), session, seen


def gates_by_the_context_read(block, x, tokens, queries, session):
    reads = block.memory.read(session, queries)
    y, seen = look(block, tokens, reads)
    _, session = write(block, session, y, tokens)
    return block.gate(y, reads), session, seen


def asks_for_no_context(block, x, tokens, queries, session):
    y, seen = look(block, tokens, torch.zeros_like(x))
    gate, session = write(block, session, y, tokens)
    return block.gate(y, gate), session, seen


def forgets_between_segments(block, x, tokens, queries, session):
    y, _, seen = in_order(block, x, tokens, queries, session)
    return y, session, seen


ORDERS = [
    writes_the_input,
    gates_the_input,
    reads_after_the_write,
    gates_by_the_old_memory,
    gates_by_the_context_read,
    asks_for_no_context,
    forgets_between_segments,
]


def difference(name, change):
    """Largest difference to the oracle, of a block that was changed."""
    block, oracle = make_block(name)
    change(block)
    tokens, observed = make_tokens(), make_observed()
    return (block(tokens, None, observed)[0] - oracle(tokens, observed))[observed].abs().max()


@MODES
def test_the_order_written_out_equals_the_oracle(name):
    assert (
        difference(name, lambda block: setattr(block, "_segment", MethodType(in_order, block)))
        < 1e-9
    )


@MODES
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.__name__.replace("_", " "))
def test_another_order_is_told_from_the_oracle(name, order):
    def change(block):
        block._segment = MethodType(order, block)

    assert difference(name, change) > 1e-6


def swap_gate(block):
    block.causal = not block.causal


def swap_reads(block):
    block.attention.causal_reads = not block.attention.causal_reads


def swap_both(block):
    swap_gate(block)
    swap_reads(block)


def drop_persistent_tokens(block):
    block.attention.persistent = None


def longer_segments(block):
    block.segment_length += 1
    block.attention.segment_length += 1


def forget_the_query_tail(block):
    whole = block._queries

    def by_segment(x, tail, *, n_again=0):
        parts = [whole(part, None)[0] for part in x.split(block.segment_length, dim=1)]
        return torch.cat(parts, dim=2), tail

    block._queries = by_segment


CHANGES = [
    swap_gate,
    swap_reads,
    swap_both,
    drop_persistent_tokens,
    longer_segments,
    forget_the_query_tail,
]


@MODES
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.replace("_", " "))
def test_another_mode_or_context_is_told_from_the_oracle(name, change):
    assert difference(name, change) > 1e-6
