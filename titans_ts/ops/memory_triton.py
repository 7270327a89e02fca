"""The scan over chunks as one Triton kernel, for two-layer memories of small heads on CUDA.

One program scans one row (a head of a sequence) from the first chunk to the last, so that a scan
is one launch instead of dozens a chunk. States are float32; products round their operands to
``product_dtype`` and sum in float32. What the kernels do not cover stays with ``memory_chunks``,
which computes the same. The arithmetic is that of README.md, its backward pass by hand.

Checked in Triton's interpreter on a CPU (values, states and all gradients, against the
token-by-token reference), and on an H200 with Triton 3.6. Two things are the interpreter's alone
for what was seen there: chunks of 64, which ended in illegal memory accesses or, compiled for half
as many warps, in wrong numbers, for a reason that is not known; and products in float32, which a
GPU makes in TF32, a thousandth apart, where less is asked for. Both stay with ``memory_chunks`` on
a GPU. ``num_warps``, blocks and ``num_stages`` follow from counting registers, not from measuring.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from titans_ts.ops.memory_state import MemoryGates
from titans_ts.ops.memory_tables import GateTables, gate_tables
from titans_ts.ops.once import first_derivatives_only

__all__ = ["supports", "triton_available", "triton_scan"]

WIDTHS = (16, 32, 64)
CHUNK_SIZES = (16, 32)
# Up to here the states before all chunks are kept for the backward pass, on a device that holds
# a hundred times as much.
KEEP_BYTES = 2**30


def triton_available(device: torch.device) -> bool:
    """Whether kernels can run for tensors on ``device``.

    On CUDA devices from Ampere on, where Triton is installed; on others only in Triton's
    interpreter, which the environment variable ``TRITON_INTERPRET=1`` asks for.
    """
    if find_spec("triton") is None:
        return False
    if _interpreting():
        return True
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _interpreting() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def supports(
    weights: list[Tensor],
    chunk_size: int,
    *,
    residual: bool = False,
    coarse: bool = False,
    first_order: bool = False,
    product_dtype: torch.dtype = torch.bfloat16,
) -> bool:
    """Whether the kernels cover a memory; the tokens must be whole chunks besides.

    Parameters
    ----------
    weights : list of Tensor of shape (..., width_in, width_out)
    chunk_size : int
    residual, coarse, first_order : bool
        As in ``memory_chunks.ScanOptions``; none of them is covered.
    product_dtype : torch.dtype, default torch.bfloat16
        Of the products' operands; float32 is covered in Triton's interpreter alone.
    """
    dtypes = (torch.bfloat16, torch.float32) if _interpreting() else (torch.bfloat16,)
    if product_dtype not in dtypes:
        return False
    sizes = (*CHUNK_SIZES, 64) if _interpreting() else CHUNK_SIZES
    if residual or coarse or first_order or len(weights) != 2 or chunk_size not in sizes:
        return False
    width, hidden = weights[0].shape[-2:]
    fits = width in WIDTHS and hidden % 16 == 0 and weights[1].shape[-2:] == (hidden, width)
    return fits and all(weight.dtype == torch.float32 for weight in weights)


def triton_scan(
    weights: list[Tensor],
    momentum: list[Tensor],
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    gates: MemoryGates,
    *,
    chunk_size: int,
    need_state: bool,
    save_every: int | None = None,
    product_dtype: torch.dtype = torch.bfloat16,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Scan a whole number of chunks, as ``memory_chunks.scan_chunks`` does.

    Parameters
    ----------
    weights, momentum : list of Tensor of shape (rows, width_in, width_out), float32
        The state at a chunk's start; ``momentum`` empty where it is zero.
    queries, keys, values : Tensor of shape (rows, time, width)
    gates : MemoryGates
        Of shapes (rows, layers, time), and (rows, 1, time) for ``observed``.
    chunk_size : int
        One of ``CHUNK_SIZES``; divides time.
    need_state : bool
        False: return empty lists for the state.
    save_every : int, optional
        Chunks between the states that are kept for the backward pass; those between are made
        again. By default all are kept while they fit ``KEEP_BYTES``.
    product_dtype : torch.dtype, default torch.bfloat16
        Of the products' operands: bfloat16, or in Triton's interpreter float32.

    Returns
    -------
    reads : Tensor of shape (rows, time, width)
        In the dtype of the queries.
    weights, momentum : list of Tensor
        State after the last token; ``momentum`` empty where the gates have none.

    Raises
    ------
    ValueError
        If the kernels do not cover the memory, the chunks are not whole, or ``product_dtype`` is
        another.
    """
    n_time = queries.shape[1]
    covered = supports(weights, chunk_size, product_dtype=product_dtype)
    if not covered or n_time == 0 or n_time % chunk_size:
        shapes = [tuple(weight.shape) for weight in weights]
        raise ValueError(
            f"triton_scan expects two float32 layers of width in {WIDTHS} and a hidden width "
            f"that 16 divides, whole chunks of a size in {CHUNK_SIZES}, and products in bfloat16 "
            f"(float32 in Triton's interpreter); got weights of shapes {shapes}, "
            f"{weights[0].dtype}, {n_time} tokens in chunks of {chunk_size} and products in "
            f"{product_dtype}. Use scan_chunks for others."
        )
    has_momentum = gates.log_momentum is not None
    parts = list(weights)
    if has_momentum:
        parts += momentum or [torch.zeros_like(weight) for weight in weights]
    tokens = [x.to(torch.float32) for x in (queries, keys, values)]
    step, log_momentum, log_keep, observed = gates
    layout = _Layout(
        chunk_size, weights[0].shape[1], weights[0].shape[2], has_momentum, product_dtype
    )
    reads, after = _TritonScan.apply(
        layout,
        save_every,
        torch.is_grad_enabled(),  # Inside of apply gradients are always off.
        observed,
        *tokens,
        step,
        log_momentum,
        log_keep,
        torch.stack([part.flatten(1) for part in parts], 1),
    )
    found: list[Tensor] = []
    if need_state:
        found = [
            flat.view_as(like)
            for flat, like in zip(after.unbind(1), [*weights, *weights], strict=False)
        ]
    return reads.to(queries.dtype), found[:2], found[2:]


class _Layout(NamedTuple):
    """What a kernel is compiled for."""

    chunk: int
    width: int
    hidden: int
    momentum: bool
    product_dtype: torch.dtype

    @property
    def is_large(self) -> bool:
        """Whether a (chunk, width) matrix fills many registers of each thread."""
        return max(self.chunk, self.width) == 64

    def constants(self) -> dict[str, Any]:
        """Compile-time arguments of both kernels."""
        language = importlib.import_module("triton.language")
        # Of the hidden width: what is left for a block beside the matrices that a chunk keeps.
        block = 32 if self.is_large else 64
        while self.hidden % block:
            block //= 2
        in_half = self.product_dtype == torch.bfloat16
        return {
            "C": self.chunk,
            "D": self.width,
            "M": self.hidden,
            "BLOCK": block,
            "MOMENTUM": self.momentum,
            "PRODUCT": language.bfloat16 if in_half else language.float32,
            "INTERPRETED": _interpreting(),
            "num_warps": 8 if self.is_large else 4,
            "num_stages": 1,
            # All that a thread can have. Not asked, NVIDIA's assembler (13.4) settles for 32 in
            # some of these kernels, and spills the rest.
            "maxnreg": 255,
        }


def _group_size(n_chunks: int, chunk_bytes: int, save_every: int | None) -> int:
    """Chunks between kept states; all chunks where all states are kept."""
    if save_every is None:
        if n_chunks * chunk_bytes <= KEEP_BYTES:
            return n_chunks
        # As many groups as chunks in a group, so that neither outgrows the other.
        return max(round(n_chunks**0.5), 1)
    return n_chunks if save_every <= 1 else save_every


def _tables(gates: MemoryGates, chunks: range, size: int) -> GateTables:
    """Tables of some chunks, as the kernels index them."""
    cut = [None if g is None else g[..., chunks.start * size : chunks.stop * size] for g in gates]
    step = cut[0]
    assert step is not None
    # Products of decays in half precision would be of no use to float32 states.
    with torch.autocast(step.device.type, enabled=False):
        tables = gate_tables(MemoryGates(step, *cut[1:]), n_tiles=len(chunks))
    return GateTables(*(None if table is None else table.contiguous() for table in tables))  # type: ignore[arg-type]


def _pointers(tables: GateTables) -> Iterator[Tensor]:
    """Tensors of all tables; where there is none, the kernel never follows the pointer."""
    for table in tables:
        yield tables.start if table is None else table.detach()


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Triton launches on the current device, which need not be that of the tensors."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _kernels() -> Any:
    return importlib.import_module("titans_ts.ops.memory_triton_kernels")


def scan_forward(
    layout: _Layout,
    tokens: tuple[Tensor, Tensor, Tensor],
    reads: Tensor | None,
    errors: Tensor,
    slots: Tensor,
    tables: GateTables,
    chunks: range,
) -> None:
    """Scan some chunks.

    Parameters
    ----------
    tokens : tuple of Tensor of shape (rows, time, width)
        Queries, keys and values of all chunks.
    reads : Tensor of shape (rows, time, width) or None
        Written for these chunks; None: nothing is read.
    errors : Tensor of shape (rows, time, width)
        Of the last layer, before they are bounded; written for these chunks.
    slots : Tensor of shape (1 or chunks + 1, rows, parts, width * hidden)
        Starts with the state before; written with those after each chunk, or with the last.
    tables : GateTables
        Of these chunks.
    chunks : range
    """
    queries, keys, values = tokens
    n_rows, n_time, _ = queries.shape
    with _on(queries.device):
        _kernels().forward_kernel[(n_rows,)](
            queries,
            keys,
            values,
            errors if reads is None else reads,
            errors,
            slots,
            *_pointers(tables),
            n_rows,
            n_time,
            chunks.start,
            len(chunks),
            int(len(slots) > 1),
            READ=reads is not None,
            **layout.constants(),
        )


def scan_backward(
    layout: _Layout,
    tokens: tuple[Tensor, Tensor, Tensor],
    errors: Tensor,
    reads_bar: Tensor,
    slots: Tensor,
    token_bars: list[Tensor],
    state_bar: Tensor,
    tables: GateTables,
    chunks: range,
) -> GateTables:
    """Cotangents of the tables of some chunks.

    ``token_bars`` (of queries, keys and values) are written for these chunks, and ``state_bar``
    (rows, parts, width * hidden), of the state after them, with that of the state before.
    """
    queries, keys, _ = tokens
    n_rows, n_time, _ = queries.shape
    table_bars = GateTables(
        *(None if table is None else torch.empty_like(table) for table in tables)  # type: ignore[arg-type]
    )
    with _on(queries.device):
        _kernels().backward_kernel[(n_rows,)](
            queries,
            keys,
            errors,
            reads_bar,
            slots,
            *token_bars,
            state_bar,
            queries.new_empty(n_rows, layout.chunk, layout.hidden),
            queries.new_empty(n_rows, 2, layout.chunk, layout.chunk),
            *_pointers(tables),
            *_pointers(table_bars),
            n_rows,
            n_time,
            chunks.start,
            len(chunks),
            **layout.constants(),
        )
    return table_bars


class _TritonScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        layout: _Layout,
        save_every: int | None,
        training: bool,
        observed: Tensor | None,
        *tensors: Any,
    ) -> tuple[Tensor, Tensor]:
        training = training and any(ctx.needs_input_grad)
        tokens = tuple(x.contiguous() for x in tensors[:3])
        step, log_momentum, log_keep, state = tensors[3:]
        gates = MemoryGates(step, log_momentum, log_keep, observed)
        n_chunks = tokens[0].shape[1] // layout.chunk
        chunk_bytes = state.numel() * state.element_size()
        size = _group_size(n_chunks, chunk_bytes, save_every)
        groups = [range(at, min(at + size, n_chunks)) for at in range(0, n_chunks, size)]
        keep_all = training and len(groups) == 1
        slots = state.new_empty(n_chunks + 1 if keep_all else 1, *state.shape)
        slots[0] = state
        reads, errors = torch.empty_like(tokens[0]), torch.empty_like(tokens[0])
        starts = []
        for chunks in groups:
            if training and not keep_all:
                starts.append(slots[0].clone())
            tables = _tables(gates, chunks, layout.chunk)
            scan_forward(layout, tokens, reads, errors, slots, tables, chunks)
        if training:
            ctx.layout, ctx.groups = layout, groups
            kept = (slots,) if keep_all else starts
            ctx.save_for_backward(observed, *tokens, step, log_momentum, log_keep, errors, *kept)
        return reads, slots[-1].clone()

    @staticmethod
    @first_derivatives_only
    def backward(ctx: Any, reads_bar: Tensor, after_bar: Tensor) -> Any:
        layout: _Layout = ctx.layout
        observed, queries, keys, values, step, log_momentum, log_keep, errors, *kept = (
            ctx.saved_tensors
        )
        tokens = queries, keys, values
        reads_bar = reads_bar.contiguous()
        state_bar = after_bar.clone(memory_format=torch.contiguous_format)
        token_bars = [torch.empty_like(x) for x in tokens]
        leaves: list[Any] = [
            None if gate is None else gate.detach().requires_grad_()
            for gate in (step, log_momentum, log_keep)
        ]
        gates = MemoryGates(leaves[0], leaves[1], leaves[2], observed)
        wanted = [leaf for leaf in leaves if leaf is not None]
        totals = [torch.empty_like(leaf) for leaf in wanted]
        for number in range(len(ctx.groups) - 1, -1, -1):
            chunks = ctx.groups[number]
            with torch.enable_grad():
                tables = _tables(gates, chunks, layout.chunk)
            if len(ctx.groups) == 1:
                slots = kept[0]
            else:
                slots = state_bar.new_empty(len(chunks) + 1, *state_bar.shape)
                slots[0] = kept[number]
                scan_forward(layout, tokens, None, errors, slots, tables, chunks)
            table_bars = scan_backward(
                layout, tokens, errors, reads_bar, slots, token_bars, state_bar, tables, chunks
            )
            reached = [
                (table, bar)
                for table, bar in zip(tables, table_bars, strict=True)
                if table is not None and table.requires_grad
            ]
            found = torch.autograd.grad(
                [table for table, _ in reached], wanted, [bar for _, bar in reached]
            )
            time = slice(chunks.start * layout.chunk, chunks.stop * layout.chunk)
            for total, bar in zip(totals, found, strict=True):
                total[..., time] = bar[..., time]
        bars = iter(totals)
        gate_bars = [None if leaf is None else next(bars) for leaf in leaves]
        return (None, None, None, None, *token_bars, *gate_bars, state_bar)
