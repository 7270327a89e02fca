"""Many runs at once on one GPU, each step of each run one CUDA graph.

A model of a million weights leaves a GPU waiting for the processor: thousands of small kernels a
step. Captured once, they are launched together, and the kernels of other runs fill the gaps. What
is learnt is what :mod:`benchmarks.language.training` learns, from the same bytes in the same order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from benchmarks.language.contenders import make
from benchmarks.language.corpora import Splits
from benchmarks.language.records import Record
from benchmarks.language.training import JUDGED_BYTES, Run, in_rows, make_optimizer, rate_at
from titans_ts.nn.restart import detach, map_tensors, tensors_of

__all__ = ["train_together"]

TIMED_STEPS = 16
# Steps that are sent ahead of the GPU, before it is waited for.
STEPS_AHEAD = 64


def train_together(
    runs: list[Run], texts: Splits, device: torch.device, *, until: float = math.inf
) -> list[Record] | None:
    """Train and judge runs side by side.

    Parameters
    ----------
    runs : list of Run
        All of as many stretches.
    texts : Splits
    device : torch.device
        On a CPU the steps are not captured: slow, and for tests.
    until : float, optional
        On the clock ``time.monotonic``: when to give up.

    Returns
    -------
    list of dict or None
        None where time was up first.
    """
    places = Splits(*(torch.from_numpy(text.copy()).to(device) for text in texts))
    began = time.monotonic()
    learners = [Learner(run, places) for run in runs]
    say(f"{len(runs)} runs captured in {time.monotonic() - began:.0f} s", device)
    n_steps, began = runs[0].n_stretches * runs[0].carried, time.monotonic()
    for step in range(n_steps):
        for learner in learners:
            learner.learn()
        if (step + 1) % STEPS_AHEAD == 0 or step + 1 == n_steps:
            synchronize(device)
            if time.monotonic() > until:
                return None
        if (step + 1) % max(n_steps // 10, 1) == 0:
            pace = (step + 1) / (time.monotonic() - began)
            losses = " ".join(f"{learner.last_loss():.2f}" for learner in learners)
            say(f"step {step + 1} of {n_steps}, {pace:.1f} a second: {losses}", device)
    records = [
        learner.outcome()
        | {"seconds": round(learner.time_alone() * n_steps, 1), "device": name_of(device)}
        for learner in learners
    ]
    say(f"all judged after {time.monotonic() - began:.0f} s", device)
    return records


class Learner:
    """A run whose step always does the same work in the same places.

    What changes from one step to the next lies on the device: the number of the step, by which
    text and learning rate are looked up, and the state that is carried.
    """

    def __init__(self, run: Run, texts: Splits) -> None:
        self.run, self.texts, self.device = run, texts, texts.train.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            self.model = make(run.name, 256, run.weights).to(self.device)
        self.n_steps = run.n_stretches * run.carried
        self.rate = torch.tensor(run.peak, device=self.device)
        rates = [run.peak * rate_at(step, self.n_steps) for step in range(self.n_steps)]
        self.rates = torch.tensor(rates, dtype=torch.float64, device=self.device)
        starts = [run.starts(stretch, len(texts.train)) for stretch in range(run.n_stretches)]
        self.starts = torch.from_numpy(np.stack(starts)).to(self.device)
        self.reach = torch.arange(run.length + 1, device=self.device)
        on_gpu = self.device.type == "cuda"
        self.optimizer = make_optimizer(
            self.model, run, lr=self.rate if on_gpu else run.peak, capturable=on_gpu
        )
        self.step = torch.zeros((), dtype=torch.int64, device=self.device)
        self.losses = torch.zeros(self.n_steps, device=self.device)
        self.state: Any = None
        self.stream = torch.cuda.Stream(self.device) if on_gpu else None
        self._capture()

    def _capture(self) -> None:
        kept = [p.detach().clone() for p in self.model.parameters()]

        def start() -> None:
            self._learn(None)

        def go_on() -> None:
            self._learn(self.state)

        self._start = Repeated(start, self.stream)
        self._go_on = Repeated(go_on, self.stream)
        # Capturing has learnt, and it is undone in place.
        with torch.no_grad():
            for p, before in zip(self.model.parameters(), kept, strict=True):
                p.copy_(before)
            for state in self.optimizer.state.values():
                for value in state.values():
                    value.zero_()
            self.step.zero_()
            self.losses.zero_()
        self.n_learnt = 0
        synchronize(self.device)

    def _learn(self, state: Any) -> None:
        run, step = self.run, self.step
        starts = self.starts.index_select(0, (step // run.carried)[None])[0]
        span = starts[:, None] + (step % run.carried) * run.length + self.reach
        piece = self.texts.train[span].long()
        rate = self.rates.index_select(0, step[None])[0]
        if self.stream is None:
            for group in self.optimizer.param_groups:
                group["lr"] = float(rate)
        self.rate.copy_(rate)
        loss, after = self.model.loss(piece[:, :-1], piece[:, 1:], state)
        # To None: weights that only a first segment meets rest in the others.
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            self.losses.index_copy_(0, step[None], loss.detach()[None])
            self.state = put(after, self.state)
            step += 1

    def learn(self) -> None:
        """The next step."""
        (self._go_on if self.n_learnt % self.run.carried else self._start)()
        self.n_learnt += 1

    def last_loss(self) -> float:
        """In bits; of the last 32 steps."""
        recent = self.losses[max(self.n_learnt - 32, 0) : self.n_learnt]
        return float(recent.mean()) / math.log(2)

    def time_alone(self) -> float:
        """Seconds of a step while nothing else runs; for a run that is over."""
        if self.stream is None:
            return 0.0
        self.step.zero_()
        self.n_learnt = 0
        synchronize(self.device)
        began = time.monotonic()
        for _ in range(TIMED_STEPS):
            self.learn()
        synchronize(self.device)
        taken = (time.monotonic() - began) / TIMED_STEPS
        rate = self.run.rows * self.run.length / taken
        print(
            f"{self.run.key}: {1000 * taken:.2f} ms a step alone, {rate:,.0f} tokens/s", flush=True
        )
        return taken

    def outcome(self) -> Record:
        run = self.run
        record = {**asdict(run), "parameters": self.model.n_parameters, "curve": self._curve()}
        lost = int((~self.losses.isfinite()).sum())
        if lost:
            return record | {"diverged": lost, "test": None}
        self.model.eval()
        validation = self.texts.validation[:JUDGED_BYTES]
        return record | {
            "test": self._bits(self.texts.test, carry=True),
            "test_cut": self._bits(self.texts.test, carry=False),
            "validation": round(self._bits(validation, carry=True), 4),
            "diverged": 0,
        }

    def _curve(self) -> list[list[float]]:
        """Bits per byte of training, each a mean over a tenth of the steps."""
        parts = self.losses.double().cpu().numpy() / math.log(2)
        size, per_step = max(self.n_steps // 10, 1), self.run.rows * self.run.length
        ends = range(size, self.n_steps + 1, size)
        return [[end * per_step, round(float(parts[end - size : end].mean()), 4)] for end in ends]

    def _bits(self, text: torch.Tensor, *, carry: bool) -> float:
        """As ``bits_per_byte`` does it, the whole segments captured."""
        length = self.run.length
        rows, n = in_rows(text)
        self._rows, self._at = rows, torch.zeros((), dtype=torch.int64, device=self.device)
        self._total = torch.zeros((), dtype=torch.float64, device=self.device)
        self._carried: Any = None

        def read(carried: bool) -> None:
            piece = self._rows.index_select(1, self._at + self.reach).long()
            logs, after = self.model.log_probabilities(
                piece[:, :-1],
                piece[:, 1:],
                self._carried if carried else None,
                need_state=carry,
            )
            if carry:
                self._carried = put(after, self._carried)
            self._total += logs.double().sum()
            self._at += length

        with torch.no_grad():
            n_whole = n // length
            start = Repeated(lambda: read(False), self.stream)
            go_on = Repeated(lambda: read(True), self.stream) if carry else start
            self._at.zero_()
            self._total.zero_()
            synchronize(self.device)
            for segment in range(n_whole):
                (go_on if segment else start)()
            synchronize(self.device)
            if n % length:
                piece = rows[:, n_whole * length : n + 1].long()
                logs, _ = self.model.log_probabilities(
                    piece[:, :-1], piece[:, 1:], self._carried, need_state=False
                )
                self._total += logs.double().sum()
        return -float(self._total) / (len(rows) * n) / math.log(2)


class Repeated:
    """Work of no arguments as a CUDA graph; called as it is where there is no stream."""

    def __init__(self, work: Callable[[], None], stream: torch.cuda.Stream | None) -> None:
        self._work, self._stream = work, stream
        if stream is None:
            return
        device = stream.device
        synchronize(device)
        with torch.cuda.stream(stream):
            # What libraries set up at a first call cannot be captured.
            work()
            work()
        synchronize(device)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=stream):
            work()
        synchronize(device)

    def __call__(self) -> None:
        if self._stream is None:
            self._work()
            return
        with torch.cuda.stream(self._stream):
            self._graph.replay()


def put(after: Any, places: Any) -> Any:
    """A state in the tensors of another one, or in its own at first."""
    after = detach(after)
    if places is None:
        return map_tensors(torch.clone, after)
    for place, tensor in zip(tensors_of(places), tensors_of(after), strict=True):
        if place.shape != tensor.shape:
            raise ValueError("a state that changes its shape cannot be carried in one place.")
        place.copy_(tensor)
    return places


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def say(line: str, device: torch.device) -> None:
    if device.type == "cuda":
        line += f" ({torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB)"
    print(line, flush=True)
