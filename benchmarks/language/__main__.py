"""Bits per byte of language models of equal size, trained on the same bytes in the same order.

    python -m benchmarks.language run titans-mag --seed 0 [--tokens 20000000]
    python -m benchmarks.language table

A run reads tiny Shakespeare, as it lies in the folder that ``TITANS_TS_SHARED_DATA`` names or in
``../shared/data``: the first 90 % for training, then 5 % each for validation and test. All
contenders see the same segments, carry their states through the same stretches, and are trained by
the same recipe: AdamW, weight decay 0.1, a warm-up and a cosine. A run that is stopped goes on from
its last save when it is started again; one that is done is left alone.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.language.contenders import CONTENDERS, make
from titans_ts.heads.tokens.model import TokenModel
from titans_ts.nn.restart import detach

HERE = Path(__file__).parent
ROWS, LENGTH, CARRIED = 16, 256, 8
SAVE_EVERY = 120.0  # seconds
PEAK, DECAY, WEIGHTS = 3e-3, 0.1, 900_000


def read_splits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    named = os.environ.get("TITANS_TS_SHARED_DATA")
    folder = Path(named) if named else HERE.parents[2] / "shared" / "data"
    content = gzip.decompress((folder / "text" / "tinyshakespeare.txt.gz").read_bytes())
    text = np.frombuffer(content, np.uint8).astype(np.int64)
    return tuple(np.split(text, [int(0.9 * len(text)), int(0.95 * len(text))]))  # type: ignore[return-value]


def bits_per_byte(model: TokenModel, text: np.ndarray, *, carry: bool) -> float:
    """Of a text read in 8 rows at a time, each from its start with its state carried on, or not."""
    n = (len(text) - 1) // 8
    rows = torch.from_numpy(np.stack([text[i * n : (i + 1) * n + 1] for i in range(8)]))
    total, state = 0.0, None
    model.eval()
    with torch.no_grad():
        for start in range(0, n, LENGTH):
            piece = rows[:, start : min(start + LENGTH, n) + 1]
            logs, state = model.log_probabilities(
                piece[:, :-1], piece[:, 1:], state if carry else None
            )
            total += float(logs.double().sum())
    model.train()
    return -total / (8 * n) / math.log(2)


def rate_at(step: int, n_steps: int) -> float:
    warm_up = max(n_steps // 20, 1)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (n_steps - warm_up + 1)))


def run(name: str, seed: int, n_tokens: int, threads: int) -> None:
    torch.set_num_threads(threads)
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    done = results / f"{name}-{seed}-{n_tokens}.json"
    progress = results / f".{name}-{seed}-{n_tokens}.pt"
    if done.exists():
        print(f"{done.name} is done.")
        return
    train, validation, test = read_splits()
    torch.manual_seed(seed)
    model = make(name, 256, WEIGHTS)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": DECAY},
            {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=PEAK,
    )
    n_stretches = max(n_tokens // (ROWS * LENGTH * CARRIED), 1)
    n_steps = n_stretches * CARRIED
    first, seconds, curve = 0, 0.0, []
    if progress.exists():
        kept = torch.load(progress, weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        first, seconds, curve = kept["stretch"], kept["seconds"], kept["curve"]
    started = saved = time.monotonic()
    for stretch in range(first, n_stretches):
        # By number, so that it is the same for all, and after an interruption.
        rng = np.random.default_rng([seed, stretch])
        starts = rng.integers(0, len(train) - CARRIED * LENGTH - 1, ROWS)
        state = None
        for i in range(CARRIED):
            step = stretch * CARRIED + i
            for group in optimizer.param_groups:
                group["lr"] = PEAK * rate_at(step, n_steps)
            piece = torch.from_numpy(
                np.stack([train[s + i * LENGTH : s + (i + 1) * LENGTH + 1] for s in starts])
            )
            loss, state = model.loss(piece[:, :-1], piece[:, 1:], state)
            state = detach(state)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        last = stretch + 1 == n_stretches
        if last or (stretch + 1) % max(n_stretches // 10, 1) == 0:
            bits = bits_per_byte(model, validation, carry=True)
            curve.append([(stretch + 1) * ROWS * LENGTH * CARRIED, bits])
            print(f"{name} {curve[-1][0]:,} tokens: {bits:.3f} bits per byte", flush=True)
        now = time.monotonic()
        if not last and now - saved > SAVE_EVERY:
            part = progress.with_suffix(".part")
            kept = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            kept |= {"stretch": stretch + 1, "seconds": seconds + now - started, "curve": curve}
            torch.save(kept, part)
            part.replace(progress)
            saved = now
    outcome = {
        "name": name,
        "seed": seed,
        "tokens": n_tokens,
        "weights": model.n_parameters,
        "test": bits_per_byte(model, test, carry=True),
        "test_without_carrying": bits_per_byte(model, test, carry=False),
        "seconds": seconds + time.monotonic() - started,
        "validation": curve,
    }
    done.write_text(json.dumps(outcome, indent=1) + "\n", encoding="utf-8")
    progress.unlink(missing_ok=True)
    print(f"{name}: {outcome['test']:.3f} bits per byte on the test split")


def table() -> str:
    """The results as a table in Markdown; means over seeds."""
    runs: dict[tuple[int, str], list[dict[str, float]]] = {}
    for file in sorted((HERE / "results").glob("*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        runs.setdefault((found["tokens"], found["name"]), []).append(found)
    lines = [
        "| model | tokens | weights | seeds | test bits per byte | states not carried | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for (tokens, name), found in sorted(
        runs.items(), key=lambda item: (item[0][0], np.mean([r["test"] for r in item[1]]))
    ):
        test, cut, seconds = (
            np.mean([r[key] for r in found]) for key in ("test", "test_without_carrying", "seconds")
        )
        lines.append(
            f"| {name} | {tokens:,} | {found[0]['weights']:,} | {len(found)} | {test:.3f} "
            f"| {cut:.3f} | {seconds / 60:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.language", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="train and judge one contender")
    one.add_argument("name", choices=sorted(CONTENDERS))
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--tokens", type=int, default=20_000_000)
    one.add_argument("--threads", type=int, default=1)
    commands.add_parser("table", help="print the results")
    given = parser.parse_args()
    if given.command == "table":
        print(table())
    else:
        run(given.name, given.seed, given.tokens, given.threads)


if __name__ == "__main__":
    main()
