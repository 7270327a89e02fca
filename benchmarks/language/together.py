"""Many runs at once on one GPU, each step of each run one CUDA graph.

A model of a million weights leaves a GPU waiting for the processor: thousands of small kernels a
step. Captured once, they are launched together, and the kernels of other runs fill the gaps. What
is learnt is what :mod:`benchmarks.language.training` learns, from the same bytes in the same order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.language.contenders import configuration, make
from benchmarks.language.corpora import Splits
from benchmarks.language.records import Record
from benchmarks.language.training import (
    JUDGED_BYTES,
    Run,
    in_rows,
    make_optimizer,
    outcome_of,
    rate_at,
)
from titans_ts.nn.attention import WindowState
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
            # Steps that are not done yet have no loss to tell of.
            synchronize(device)
            pace = (step + 1) / (time.monotonic() - began)
            losses = " ".join(f"{learner.last_loss():.2f}" for learner in learners)
            say(f"step {step + 1} of {n_steps}, {pace:.1f} a second: {losses}", device)
    records = [
        learner.outcome(bits) | {"device": name_of(device)}
        for learner, bits in zip(learners, judge(learners), strict=True)
    ]
    paces: dict[str, float] = {}
    for learner, record in zip(learners, records, strict=True):
        if learner.run.name not in paces:
            paces[learner.run.name] = learner.time_alone()
        record["seconds"] = round(paces[learner.run.name] * n_steps, 1)
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
            self.model = make(run.name, 256, run.weights, run.depth).to(self.device)
        # Tokens that a window holds between two calls.
        self.past = configuration(run.name, run.depth)[0].attention_window - 1
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
        self.places, self.states = Places(run), dict[int, Any]()
        self.stream = torch.cuda.Stream(self.device) if on_gpu else None
        self._capture()

    def _capture(self) -> None:
        kept = [p.detach().clone() for p in self.model.parameters()]

        self._steps = self.places.each(self._learn, self.run.carried, self.stream)
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

    def _learn(self, place: int, after_that: int) -> None:
        run, step = self.run, self.step
        starts = self.starts.index_select(0, (step // run.carried)[None])[0]
        span = starts[:, None] + (step % run.carried) * run.length + self.reach
        piece = self.texts.train[span].long()
        rate = self.rates.index_select(0, step[None])[0]
        if self.stream is None:
            for group in self.optimizer.param_groups:
                group["lr"] = float(rate)
        self.rate.copy_(rate)
        loss, after = self.model.loss(piece[:, :-1], piece[:, 1:], self.states.get(place))
        # To None: weights that only a first segment meets rest in the others.
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            self.losses.index_copy_(0, step[None], loss.detach()[None])
            put(fill_windows(after, self.past), self.states, after_that)
            step += 1

    def learn(self) -> None:
        """The next step."""
        self._steps[self.places.of(self.n_learnt % self.run.carried)]()
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

    def outcome(self, bits: dict[str, float]) -> Record:
        """What there is to say of a run that is over, ``bits`` per byte among it."""
        record = outcome_of(self.run, self.model)
        lost = int((~self.losses.isfinite()).sum())
        record |= {"training_curve": self._curve(), "diverged": lost}
        return record | ({"test": None} if lost else bits)

    def _curve(self) -> list[list[float]]:
        """Bits per byte of training, each a mean over a tenth of the steps."""
        parts = self.losses.double().cpu().numpy() / math.log(2)
        size, per_step = max(self.n_steps // 10, 1), self.run.rows * self.run.length
        ends = range(size, self.n_steps + 1, size)
        return [[end * per_step, round(float(parts[end - size : end].mean()), 4)] for end in ends]


def judge(learners: list[Learner]) -> list[dict[str, float]]:
    """Bits per byte of all of them, side by side."""
    found: list[dict[str, float]] = [{} for _ in learners]
    for learner in learners:
        learner.model.eval()
    for name, carry in (("test", True), ("test_cut", False), ("validation", True)):

        def read(learner: Learner, name: str = name, carry: bool = carry) -> Reading:
            texts = learner.texts
            text = texts.validation[:JUDGED_BYTES] if name == "validation" else texts.test
            return Reading(learner, text, carry=carry)

        with torch.no_grad():
            readings = [read(learner) for learner in learners]
            for segment in range(readings[0].n_whole):
                for reading in readings:
                    reading.read(segment)
            synchronize(learners[0].device)
            for bits, reading in zip(found, readings, strict=True):
                bits[name] = reading.finish()
    return found


class Reading:
    """What ``bits_per_byte`` does, the whole segments captured."""

    def __init__(self, learner: Learner, text: torch.Tensor, *, carry: bool) -> None:
        self.learner, self.length = learner, learner.run.length
        device = learner.device
        rows, self.n = in_rows(text)
        self.rows, self.n_whole = rows, self.n // self.length
        self.at = torch.zeros((), dtype=torch.int64, device=device)
        self.total = torch.zeros((), dtype=torch.float64, device=device)
        self.carry, self.states = carry, dict[int, Any]()
        n_different = self.n_whole if carry else 1
        self._steps = learner.places.each(self._read, n_different, learner.stream)
        self.at.zero_()
        self.total.zero_()
        synchronize(device)

    def _read(self, place: int, after_that: int) -> None:
        piece = self.rows.index_select(1, self.at + self.learner.reach).long()
        logs, after = self.learner.model.log_probabilities(
            piece[:, :-1], piece[:, 1:], self.states.get(place), need_state=self.carry
        )
        if self.carry:
            put(fill_windows(after, self.learner.past), self.states, after_that)
        self.total += logs.double().sum()
        self.at += self.length

    def read(self, segment: int) -> None:
        self._steps[self.learner.places.of(segment) if self.carry else 0]()

    def finish(self) -> float:
        """Read what does not fill a segment, and add up."""
        if self.n % self.length:
            piece = self.rows[:, self.n_whole * self.length : self.n + 1].long()
            logs, _ = self.learner.model.log_probabilities(
                piece[:, :-1],
                piece[:, 1:],
                self.states.get(self.learner.places.of(self.n_whole)),
                need_state=False,
            )
            self.total += logs.double().sum()
        return -float(self.total) / (len(self.rows) * self.n) / math.log(2)


class Places:
    """Where states lie, by how many segments were read before: one place for each shape.

    That of MAC grows until its own segment ends, which may be longer than those of a run; and in
    the first of its segments there is less than in later ones.
    """

    def __init__(self, run: Run) -> None:
        config, _ = configuration(run.name, run.depth)
        mac = config.segment_length if config.variant == "mac" else 1
        self.cycle = mac // math.gcd(mac, run.length)

    def of(self, n_read: int) -> int:
        """0 where there is no state yet."""
        return n_read if n_read < self.cycle else self.cycle + n_read % self.cycle

    def each(
        self, work: Callable[[int, int], None], most: int, stream: torch.cuda.Stream | None
    ) -> dict[int, Repeated]:
        """``work`` from each place to the one after it, as ``most`` segments in a row need it."""
        return {
            self.of(n): Repeated(partial(work, self.of(n), self.of(n + 1)), stream)
            for n in range(min(most, 2 * self.cycle))
        }


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


def fill_windows(state: Any, past: int) -> Any:
    """A state whose windows hold ``past`` tokens from the start, the first of them masked."""
    if isinstance(state, WindowState):
        short = past - state.keys.shape[-2]
        if not short:
            return state
        keys, values = (F.pad(x, (0, 0, short, 0)) for x in (state.keys, state.values))
        return state._replace(keys=keys, values=values, observed=F.pad(state.observed, (short, 0)))
    if isinstance(state, tuple):
        parts = [fill_windows(part, past) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


def put(after: Any, states: dict[int, Any], place: int) -> None:
    """A state into the tensors of the one that lies in its place, or at first its own there."""
    after = detach(after)
    if place not in states:
        states[place] = map_tensors(torch.clone, after)
        return
    for kept, tensor in zip(tensors_of(states[place]), tensors_of(after), strict=True):
        if kept.shape != tensor.shape:
            raise ValueError("a state that changes its shape cannot be carried in one place.")
        kept.copy_(tensor)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def say(line: str, device: torch.device) -> None:
    if device.type == "cuda":
        line += f" ({torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB)"
    print(line, flush=True)
