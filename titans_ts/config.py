"""BackboneConfig: the shape of a Titans backbone. Every default is written here, once."""

from __future__ import annotations

from dataclasses import dataclass

from titans_ts.errors import ParameterError
from titans_ts.parameters import check_choice, check_int, check_number

__all__ = ["VARIANTS", "BackboneConfig"]

VARIANTS = ("mac", "mag", "mal", "lmm")

# Wider memory heads do not fit a GPU's on-chip memory.
MAX_MEMORY_HEAD = 64


@dataclass(frozen=True)
class BackboneConfig:
    """The shape of a Titans backbone, and a switch for every ablation of the paper.

    Lengths are in tokens. The switches of the paper's table 5: linear memory is
    ``memory_depth=1``; no convolution ``conv_width=0``; no momentum ``momentum=False``; no weight
    decay ``forgetting=False``; no persistent memory ``n_persistent=0``; and memory off (same
    modules, nothing is ever written) ``memory_writes=False``.

    Parameters
    ----------
    variant : {"mac", "mag", "mal", "lmm"}
        Memory as context, as gate, as layer, or alone.
    dim : int
        Width of a token.
    depth : int
        Number of blocks.
    n_heads : int
        Heads of attention.
    n_memory_heads : int or None
        Heads of the memory; None: as many as attention has, or more, so that none is wider than
        64, which is what a GPU can keep on its chip. Must divide ``dim``.
    memory_depth : int
        Layers of the memory's MLP, 1 (a matrix) to 4.
    memory_expansion : int
        Hidden width of that MLP, in multiples of the head's width.
    memory_residual : bool
        The memory net is ``x + LayerNorm(mlp(x))`` instead of ``mlp(x)``.
    chunk_size : int
        Tokens whose inner gradients are taken at the same weights; a part of the model, so the
        same in training and use. In MAC a segment starts a new chunk.
    segment_length : int
        Tokens that one attention sees in MAC.
    window : int or None
        Tokens that sliding-window attention sees in MAG and MAL; None: two segments.
    n_persistent : int
        Learnt tokens that every attention and memory sees first; in MAC, attention alone.
    conv_width : int
        Width of the causal convolutions on queries, keys and values; 0 for none.
    attention_every : int
        In MAC, MAG and MAL, attention stands in every so many-th block, and the other blocks are
        memory alone, as in LMM. Fewer blocks with attention leave weights and time for more blocks.
        At most ``depth``.
    attention_conv : bool
        Whether attention has such convolutions too, as the memory has them.
    rotary : bool
        Whether attention knows how far apart two tokens are, by rotary positions. Without them,
        what a token matches counts alike anywhere in the window or segment.
    recall : bool
        Whether queries and keys start as a pair, each key as the query of the token before it: the
        memory, and attention with ``attention_conv``, then answer at first with what followed the
        last tokens like these (the induction heads of arXiv:2209.11895, which are otherwise found
        late or never). A matter of the initial weights only. Needs ``conv_width`` of 2 or more.
    max_step_size : float
        theta_max. A token's step size is
        ``max_step_size * (1 - momentum) * sigmoid(.) / chunk_size``: with gradients taken at the
        chunk's start, larger ones blow up on smooth series.
    momentum, forgetting : bool
        Whether surprise is carried on, and whether old memory fades.
    initial_momentum : float
        Share of the last step that a memory carries into the next before it has learnt how much
        to, 0.001 to 0.999. The default is what series have been tried with; text, token by
        token, was learnt better from very little.
    coarse_memory : bool
        One step a chunk: its tokens read the memory that the chunk found, and do not see, through
        it, the tokens before them in their chunk; momentum and forgetting act once, as its first
        token says. About half the arithmetic.
    first_order : bool
        Training treats the weights at which a chunk's gradients are taken as constants: cheaper,
        and calmer where gradients through many updates grow.
    memory_writes : bool
        False turns the memory off: it is read, and never written.
    memory_skip : bool
        In MAL, whether what the memory answers also goes past attention, as behind any layer with a
        residual of its own; the paper's equations send it through attention alone.
    mac_mode : {"causal", "literal"}
        Causal: no output sees a later token. Literal: the paper's order, in which the outputs of
        a segment may see that segment's end.
    mlp_expansion : float
        Hidden width of the SwiGLU layers, in multiples of ``dim``.
    dropout : float
        After each mixer and each SwiGLU layer, in training.
    """

    variant: str = "mac"
    dim: int = 32
    depth: int = 1
    n_heads: int = 1
    n_memory_heads: int | None = None
    memory_depth: int = 2
    memory_expansion: int = 4
    memory_residual: bool = False
    chunk_size: int = 4
    segment_length: int = 8
    window: int | None = None
    n_persistent: int = 4
    conv_width: int = 4
    attention_every: int = 1
    attention_conv: bool = False
    rotary: bool = True
    recall: bool = False
    max_step_size: float = 1.0
    momentum: bool = True
    forgetting: bool = True
    initial_momentum: float = 0.5
    coarse_memory: bool = False
    first_order: bool = False
    memory_writes: bool = True
    memory_skip: bool = False
    mac_mode: str = "causal"
    mlp_expansion: float = 2.0
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_choice("variant", self.variant, VARIANTS)
        check_choice("mac_mode", self.mac_mode, ("causal", "literal"))
        for name in ("dim", "depth", "n_heads", "memory_expansion", "chunk_size", "segment_length"):
            check_int(name, getattr(self, name))
        check_int("memory_depth", self.memory_depth)
        check_choice("memory_depth", self.memory_depth, (1, 2, 3, 4))
        check_int("window", self.window, optional=True)
        check_int("n_memory_heads", self.n_memory_heads, optional=True)
        check_int("n_persistent", self.n_persistent, minimum=0)
        check_int("conv_width", self.conv_width, minimum=0)
        check_int("attention_every", self.attention_every)
        check_number("max_step_size", self.max_step_size, minimum=0, maximum=1)
        check_number("initial_momentum", self.initial_momentum, minimum=0.001, maximum=0.999)
        check_number("mlp_expansion", self.mlp_expansion, minimum=0.25, maximum=64)
        check_number("dropout", self.dropout, minimum=0, maximum=0.95)
        memory = ("memory_residual", "momentum", "forgetting", "memory_writes", "memory_skip")
        attention = ("attention_conv", "rotary", "recall")
        for name in (*memory, "coarse_memory", "first_order", *attention):
            check_choice(name, getattr(self, name), (True, False))
        if self.variant != "lmm" and self.attention_every > self.depth:
            raise ParameterError(
                "attention_every must be at most depth, or no block has attention; got "
                f"attention_every={self.attention_every} and depth={self.depth}. For memory alone "
                "use variant='lmm'."
            )
        if self.recall and self.conv_width < 2:
            raise ParameterError(
                "recall=True needs conv_width of 2 or more, since a convolution makes a key of the "
                f"token before; got {self.conv_width}. Use a wider one, or recall=False."
            )
        if self.dim % (2 * self.n_heads):
            raise ParameterError(
                f"dim must be a multiple of 2 * n_heads (rotary positions turn pairs), "
                f"got dim={self.dim} and n_heads={self.n_heads}."
            )
        if self.n_memory_heads is not None and self.dim % self.n_memory_heads:
            raise ParameterError(
                f"dim must be a multiple of n_memory_heads, got dim={self.dim} and "
                f"n_memory_heads={self.n_memory_heads}."
            )

    @property
    def attention_window(self) -> int:
        return 2 * self.segment_length if self.window is None else self.window

    @property
    def memory_heads(self) -> int:
        """As asked for, or as many as attention heads, or more, so that each is at most 64 wide."""
        if self.n_memory_heads is not None:
            return self.n_memory_heads
        heads = self.n_heads
        while self.dim // heads > MAX_MEMORY_HEAD or self.dim % heads:
            heads += 1
        return heads
