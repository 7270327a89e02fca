"""The four blocks once more, from the paper and slowly: plain matrices, explicit masks, loops.

Shares no code with ``titans_ts.nn``, and of ``titans_ts.ops`` only the token-by-token memory, which
is held to autograd elsewhere. Weights are looked up by name in a block's parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from titans_ts.config import BackboneConfig
from titans_ts.ops.memory_reference import memory_reference
from titans_ts.ops.memory_state import MemoryGates, MemoryState


def rms_norm(x: Tensor, gain: Tensor) -> Tensor:
    mean_square = (x * x).sum(-1, keepdim=True) / x.shape[-1]
    return gain * x / torch.sqrt(mean_square + torch.finfo(x.dtype).eps)


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def unit(x: Tensor) -> Tensor:
    return x / torch.sqrt((x * x).sum(-1, keepdim=True)).clamp(min=1e-12)


def split(x: Tensor, n_heads: int) -> Tensor:
    """(batch, time, dim) -> (batch, heads, time, width)."""
    return torch.stack(x.split(x.shape[-1] // n_heads, dim=-1), dim=1)


def join(x: Tensor) -> Tensor:
    return torch.cat(list(x.unbind(1)), dim=-1)


def turn(x: Tensor, positions: list[int]) -> Tensor:
    """Rotary positions: feature i and feature i + width / 2 are one complex number."""
    half = x.shape[-1] // 2
    number = torch.complex(x[..., :half], x[..., half:])
    rate = [10_000.0 ** (-2 * i / x.shape[-1]) for i in range(half)]
    angle = torch.tensor([[p * r for r in rate] for p in positions], dtype=torch.float64)
    number = number * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([number.real, number.imag], dim=-1)


@dataclass
class Oracle:
    """A block's function over a whole sequence.

    ``observed`` (batch, time) masks tokens; results at masked tokens mean nothing.
    """

    config: BackboneConfig
    weights: dict[str, Tensor]

    def __call__(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        if observed is None:
            observed = torch.ones(x.shape[:2], dtype=torch.bool)
        normed = rms_norm(x, self.weights["mixer_norm.weight"])
        normed = torch.where(observed[..., None], normed, 0.0)
        x = x + getattr(self, self.config.variant)(normed, observed)
        inside = rms_norm(x, self.weights["feed_forward_norm.weight"])
        gate, value = self.linear(inside, "feed_forward.expand").chunk(2, dim=-1)
        return x + self.linear(silu(gate) * value, "feed_forward.contract")

    def lmm(self, x: Tensor, observed: Tensor) -> Tensor:
        return self.memory(x, observed)

    def mag(self, x: Tensor, observed: Tensor) -> Tensor:
        return self.gate(self.window_attention(x, observed), self.memory(x, observed))

    def mal(self, x: Tensor, observed: Tensor) -> Tensor:
        read = self.memory(x, observed)
        x = rms_norm(x + read, self.weights["attention_norm.weight"])
        y = self.window_attention(x, observed)
        return y + read if self.config.memory_skip else y

    def mac(self, x: Tensor, observed: Tensor) -> Tensor:
        """One segment after another: read, attend, write the attention output, gate."""
        causal, size = self.config.mac_mode == "causal", self.config.segment_length
        n_heads = self.config.n_heads
        asked = self.linear(x, "query")
        if self.config.conv_width:
            asked = self.convolve(asked, self.weights["query_conv.weight"])
        asked = split(unit_heads(silu(asked), n_heads), n_heads)
        own = self.attention_projections(x)
        state = self.initial_state(len(x))
        written, outputs = x[:, :0], []
        for start in range(0, x.shape[1], size):
            now = slice(start, start + size)
            seen = observed[:, now]
            # 1. Read what the memory held before the segment.
            reads = self.read(state, asked[:, :, now])
            # 2. Attend over [persistent | reads | segment].
            y = self.segment_attention([part[:, :, now] for part in own], reads, seen, causal)
            # 3. Write the attention output; a segment starts a chunk.
            y_seen = torch.where(seen[..., None], y, 0.0)
            written = torch.cat([written, y_seen], 1)
            q, k, v = (part[:, :, now] for part in self.queries_keys_values(written))
            state = state._replace(anchor=state.weights, position=0)
            after_each, state = memory_reference(
                state,
                q,
                k,
                v,
                self.gates(y_seen, seen),
                chunk_size=self.config.chunk_size,
                residual=self.config.memory_residual,
            )
            # 4. Gate by the updated memory.
            gate = self.normed_reads(after_each) if causal else self.read(state, q)
            outputs.append(self.gate(y, self.answer(gate, y_seen)))
        return torch.cat(outputs, 1)

    # -- parts ------------------------------------------------------------------------------------

    def linear(self, x: Tensor, name: str) -> Tensor:
        y = x @ self.weights[f"{name}.weight"].T
        bias = self.weights.get(f"{name}.bias")
        return y if bias is None else y + bias

    def gate(self, branch: Tensor, memory: Tensor) -> Tensor:
        branch = rms_norm(branch, self.weights["gate.branch_norm.weight"])
        memory = rms_norm(memory, self.weights["gate.memory_norm.weight"])
        return self.linear(branch / (1 + torch.exp(-memory)), "gate.out")

    @staticmethod
    def convolve(x: Tensor, kernel: Tensor) -> Tensor:
        """The last tap is for the token itself; nothing comes before the sequence."""
        out = torch.zeros_like(x)
        for t in range(x.shape[1]):
            for back in range(min(kernel.shape[1], t + 1)):
                out[:, t] = out[:, t] + kernel[:, -1 - back] * x[:, t - back]
        return out

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mixed = self.linear(x, "memory.qkv")
        if self.config.conv_width:
            mixed = self.convolve(mixed, self.weights["memory.conv.weight"])
        q, k, v = silu(mixed).chunk(3, dim=-1)
        n = self.config.n_heads
        return split(unit_heads(q, n), n), split(unit_heads(k, n), n), split(v, n)

    def gates(self, x: Tensor, observed: Tensor) -> MemoryGates:
        """theta = theta_max / chunk * (1 - eta) * sigmoid, per head and memory layer."""
        config = self.config
        logits = self.linear(x, "memory.gates").transpose(1, 2)
        shape = (len(x), config.n_heads, config.memory_depth, -1)
        theta, eta, alpha = (torch.sigmoid(part).reshape(shape) for part in logits.chunk(3, 1))
        theta = theta * config.max_step_size / config.chunk_size
        if config.momentum:
            theta = theta * (1 - eta)
        if not config.memory_writes:
            observed = torch.zeros_like(observed)
        seen = observed[:, None, None, :]
        return MemoryGates(
            torch.where(seen, theta, 0.0),
            torch.where(seen, eta, 1.0).log() if config.momentum else None,
            torch.where(seen, 1 - alpha, 1.0).log() if config.forgetting else None,
            seen,
        )

    def initial_state(self, n_rows: int) -> MemoryState:
        names = [f"memory.initial_weights.{layer}" for layer in range(self.config.memory_depth)]
        weights = tuple(torch.stack([self.weights[name]] * n_rows) for name in names)
        return MemoryState(weights, (), weights, 0)

    def read(self, state: MemoryState, queries: Tensor) -> Tensor:
        hidden = queries @ state.weights[0]
        for weight in state.weights[1:]:
            hidden = silu(hidden) @ weight
        if self.config.memory_residual:
            centred = hidden - hidden.mean(-1, keepdim=True)
            spread = torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5)
            hidden = queries + centred / spread
        return self.normed_reads(hidden)

    def normed_reads(self, reads: Tensor) -> Tensor:
        return join(rms_norm(reads, self.weights["memory.read_norm.weight"]))

    def answer(self, reads: Tensor, x: Tensor) -> Tensor:
        return self.linear(reads * silu(self.linear(x, "memory.out_gate")), "memory.out")

    def memory(self, x: Tensor, observed: Tensor) -> Tensor:
        """Write, then read, token by token; persistent tokens come first."""
        n_first = self.config.n_persistent
        if n_first:
            x = torch.cat([torch.stack([self.weights["memory.persistent"]] * len(x)), x], 1)
            always = torch.ones(len(x), n_first, dtype=torch.bool)
            observed = torch.cat([always, observed], 1)
        x = torch.where(observed[..., None], x, 0.0)
        reads, _ = memory_reference(
            self.initial_state(len(x)),
            *self.queries_keys_values(x),
            self.gates(x, observed),
            chunk_size=self.config.chunk_size,
            residual=self.config.memory_residual,
        )
        return self.answer(self.normed_reads(reads), x)[:, n_first:]

    def segment_attention(
        self, own: list[Tensor], reads: Tensor, observed: Tensor, causal: bool
    ) -> Tensor:
        """``own`` are queries, keys and values of the segment's tokens."""
        n, size = reads.shape[1], self.config.segment_length
        earlier = torch.tensor([[j <= i for j in range(n)] for i in range(n)])
        itself = torch.tensor([[j == i for j in range(n)] for i in range(n)])
        seen = observed[:, None, :]
        visible_reads = seen & (earlier if causal else torch.ones_like(earlier))
        visible = torch.cat([visible_reads, (seen & earlier) | itself], dim=-1)
        # A segment's reads stand where the segment before it stood.
        positions = [*range(-size, n - size), *range(n)]
        queries, keys, values = own
        # Reads come from the memory, one apart from another, and convolutions leave them alone.
        read_keys, read_values = self.keys_values(reads)
        keys, values = torch.cat([read_keys, keys], 2), torch.cat([read_values, values], 2)
        return self.attention(queries, keys, values, list(range(n)), positions, visible)

    def window_attention(self, x: Tensor, observed: Tensor) -> Tensor:
        time, window = range(x.shape[1]), self.config.attention_window
        near = torch.tensor([[0 <= i - j < window for j in time] for i in time])
        itself = torch.tensor([[j == i for j in time] for i in time])
        visible = (near & observed[:, None, :]) | itself
        return self.attention(*self.attention_projections(x), list(time), list(time), visible)

    def keys_values(self, x: Tensor) -> list[Tensor]:
        parts = self.linear(x, "attention.key_value").chunk(2, dim=-1)
        return [split(part, self.config.n_heads) for part in parts]

    def attention_projections(self, x: Tensor) -> list[Tensor]:
        """Queries, keys and values of a whole sequence, each (batch, heads, time, width)."""
        parts = [self.linear(x, "attention.query")]
        parts += self.linear(x, "attention.key_value").chunk(2, dim=-1)
        if "attention.conv.weight" in self.weights:
            taps = self.weights["attention.conv.weight"].chunk(3)
            parts = [self.convolve(y, t) for y, t in zip(parts, taps, strict=True)]
        return [split(part, self.config.n_heads) for part in parts]

    def attention(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        query_positions: list[int],
        key_positions: list[int],
        visible: Tensor,
    ) -> Tensor:
        """From queries to [persistent | keys].

        Persistent tokens have no position, and meet the queries as they were before turning.
        """
        n_first = self.config.n_persistent
        queries = queries / math.sqrt(queries.shape[-1])
        if not self.config.rotary:
            query_positions, key_positions = [0] * len(query_positions), [0] * len(key_positions)
        scores = turn(queries, query_positions) @ turn(keys, key_positions).transpose(-1, -2)
        if n_first:
            first = torch.stack([self.weights["attention.persistent"]] * len(queries))
            first_keys, first_values = self.keys_values(first)
            scores = torch.cat([queries @ first_keys.transpose(-1, -2), scores], -1)
            values = torch.cat([first_values, values], dim=2)
            always = torch.ones(*visible.shape[:2], n_first, dtype=torch.bool)
            visible = torch.cat([always, visible], dim=-1)
        weight = torch.where(visible[:, None], scores.exp(), 0.0)
        return self.linear(join(weight / weight.sum(-1, keepdim=True) @ values), "attention.out")


def unit_heads(x: Tensor, n_heads: int) -> Tensor:
    return torch.cat([unit(head) for head in x.split(x.shape[-1] // n_heads, dim=-1)], dim=-1)
