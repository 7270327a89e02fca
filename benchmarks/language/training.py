"""Training of one contender: a run that is killed ends as it would have without that."""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.language.contenders import configuration, make
from benchmarks.language.corpora import Splits
from benchmarks.language.records import Record
from benchmarks.recipes import same_recipe
from titans_ts.config import BackboneConfig
from titans_ts.heads.tokens.model import TokenModel
from titans_ts.nn.restart import detach

__all__ = [
    "CARRIED",
    "JUDGED_BYTES",
    "ROWS_A_STEP",
    "Run",
    "bits_per_byte",
    "in_rows",
    "make_optimizer",
    "outcome_of",
    "rate_at",
    "train",
]

SAVE_EVERY = 60.0  # seconds
N_JUDGED = 10  # times that a run is judged, on so many bytes of validation:
JUDGED_BYTES = 2**17
# Rows that a text is read in, each from its own start; fewer where they would be short.
ROWS, ROW_BYTES = 32, 2**14
ROWS_A_STEP = 16
# Segments through which a state is carried. With 8, memories of two layers were worse off at the
# end of rows of 40,000 bytes than without what they had read: they had never seen themselves there.
CARRIED = 32
# Segments in a row whose loss is no number, before a run is given up, as the library does.
MOST_DIVERGED = 8


@dataclass(frozen=True)
class Run:
    """A contender, and all that its outcome depends on."""

    name: str
    corpus: str = "wikitext-2"
    seed: int = 0
    tokens: int = 20_000_000
    rows: int = ROWS_A_STEP
    length: int = 256  # tokens of a segment
    carried: int = CARRIED  # segments of a stretch, through which the state is carried
    peak: float = 3e-3
    decay: float = 0.1
    weights: int = 900_000
    depth: int = 4  # blocks

    @property
    def key(self) -> str:
        """Names the run among all others, in files too."""
        name = f"{self.name.replace(':', '.')}-{self.corpus}-{self.seed}-{self.tokens}"
        others = {key: getattr(self, key) for key in ("rows", "carried", "depth")}
        changed = (f"{key}{value}" for key, value in others.items() if value != getattr(Run, key))
        return "-".join([name, *changed])

    @property
    def n_stretches(self) -> int:
        return max(self.tokens // (self.rows * self.length * self.carried), 1)

    def starts(self, stretch: int, n_train: int) -> np.ndarray:
        """Where the rows of a stretch start in the text, which has ``n_train`` bytes."""
        # By number, so that a stretch is the same for all contenders, and after an interruption.
        rng = np.random.default_rng([self.seed, stretch])
        return rng.integers(0, n_train - self.carried * self.length - 1, self.rows)

    def shape(self) -> dict[str, Any]:
        """The model's part of the recipe; the rest is the run itself."""
        config, other = configuration(self.name, self.depth)
        return asdict(config) | {"reader": other and other.__name__}

    def has_shape(self, kept: dict[str, Any]) -> bool:
        """Whether what was written down once is the shape that the name stands for now."""
        return same_recipe(kept, self.shape(), asdict(BackboneConfig()))


def outcome_of(run: Run, model: TokenModel) -> Record:
    """A record without figures."""
    return {**asdict(run), "shape": run.shape(), "parameters": model.n_parameters}


def rate_at(step: int, n_steps: int) -> float:
    warm_up = max(n_steps // 20, 1)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (n_steps - warm_up + 1)))


def make_optimizer(
    model: TokenModel, run: Run, *, lr: float | torch.Tensor, capturable: bool = False
) -> torch.optim.AdamW:
    """AdamW whose weight decay leaves gains and biases alone."""
    weights = list(model.parameters())
    return torch.optim.AdamW(
        [
            {"params": [p for p in weights if p.ndim > 1], "weight_decay": run.decay},
            {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=lr,
        fused=True,
        capturable=capturable,
    )


def in_rows(text: torch.Tensor) -> tuple[torch.Tensor, int]:
    """A text as rows that predict ``n`` tokens each, and ``n``."""
    n_rows = min(max(len(text) // ROW_BYTES, 1), ROWS)
    n = (len(text) - 1) // n_rows
    return torch.stack([text[i * n : (i + 1) * n + 1] for i in range(n_rows)]), n


def bits_per_byte(model: TokenModel, text: np.ndarray, length: int, *, carry: bool) -> float:
    """Of a text read in rows, each from its start with its state carried on, or not."""
    rows, n = in_rows(torch.tensor(text))
    total, state = 0.0, None
    model.eval()
    with torch.no_grad():
        for start in range(0, n, length):
            piece = rows[:, start : min(start + length, n) + 1].long()
            logs, after = model.log_probabilities(
                piece[:, :-1], piece[:, 1:], state, need_state=carry
            )
            state = after if carry else None
            total += float(logs.double().sum())
    model.train()
    return -total / (len(rows) * n) / math.log(2)


class Training:
    """A run on its way, which lies in a file every minute."""

    def __init__(self, run: Run, texts: Splits, file: Path) -> None:
        self.run, self.texts, self.file = run, texts, file
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            self.model = make(run.name, 256, run.weights, run.depth)
        self.optimizer = make_optimizer(self.model, run, lr=run.peak)
        self.stretch, self.seconds = 0, 0.0
        self.curve: list[list[float]] = []
        self.n_diverged = 0
        if file.exists():
            kept = torch.load(file, weights_only=True)
            if kept["run"] == asdict(run) and run.has_shape(kept["shape"]):
                self.model.load_state_dict(kept["model"])
                self.optimizer.load_state_dict(kept["optimizer"])
                self.stretch, self.seconds = kept["stretch"], kept["seconds"]
                self.curve, self.n_diverged = kept["curve"], kept["diverged"]

    def save(self) -> None:
        kept = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        kept |= {"stretch": self.stretch, "seconds": self.seconds, "curve": self.curve}
        kept |= {"diverged": self.n_diverged}
        kept |= {"run": asdict(self.run), "shape": self.run.shape()}
        part = self.file.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as out:
            torch.save(kept, out)
            out.flush()
            os.fsync(out.fileno())
        part.replace(self.file)

    def read_stretch(self) -> None:
        """Learn from the next segments of some rows, the states carried from one to the next."""
        run, train = self.run, self.texts.train
        starts = run.starts(self.stretch, len(train))
        state, in_a_row, began = None, 0, time.process_time()
        for i in range(run.carried):
            step = self.stretch * run.carried + i
            for group in self.optimizer.param_groups:
                group["lr"] = run.peak * rate_at(step, run.n_stretches * run.carried)
            cut = [train[s + i * run.length : s + (i + 1) * run.length + 1] for s in starts]
            piece = torch.from_numpy(np.stack(cut)).long()
            loss, state = self.model.loss(piece[:, :-1], piece[:, 1:], state)
            if not bool(loss.detach().isfinite()):
                state, in_a_row, self.n_diverged = None, in_a_row + 1, self.n_diverged + 1
                if in_a_row == MOST_DIVERGED:
                    raise FloatingPointError
                continue
            state, in_a_row = detach(state), 0
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
        self.stretch += 1
        self.seconds += time.process_time() - began

    def judge(self) -> None:
        text = self.texts.validation[:JUDGED_BYTES]
        bits = bits_per_byte(self.model, text, self.run.length, carry=True)
        tokens = self.stretch * self.run.rows * self.run.length * self.run.carried
        self.curve.append([tokens, round(bits, 4)])
        rate = tokens / max(self.seconds, 1e-9)
        print(f"{self.run.key} {tokens:,} tokens: {bits:.3f} bits, {rate:,.0f}/s", flush=True)


def train(run: Run, texts: Splits, file: Path, *, until: float = math.inf) -> Record | None:
    """Train and judge a run, from where ``file`` has it.

    Parameters
    ----------
    run : Run
    texts : Splits
    file : Path
        For its progress; taken away when the caller has written the outcome down.
    until : float, optional
        On the clock ``time.monotonic``: when to leave the run where it is.

    Returns
    -------
    dict or None
        None where time was up first.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    training = Training(run, texts, file)
    saved, every = time.monotonic(), max(run.n_stretches // N_JUDGED, 1)
    outcome: Record = outcome_of(run, training.model)
    while training.stretch < run.n_stretches:
        if time.monotonic() > until:
            training.save()
            return None
        try:
            training.read_stretch()
        except FloatingPointError:
            return outcome | {"diverged": training.n_diverged, "test": None}
        done = training.stretch == run.n_stretches
        if done or training.stretch % every == 0:
            training.judge()
        if done or time.monotonic() - saved > SAVE_EVERY:
            training.save()
            saved = time.monotonic()
    return outcome | {
        "test": bits_per_byte(training.model, texts.test, run.length, carry=True),
        "test_cut": bits_per_byte(training.model, texts.test, run.length, carry=False),
        "validation": training.curve[-1][1],
        "curve": training.curve,
        "seconds": round(training.seconds, 1),
        "diverged": training.n_diverged,
    }
