"""Rolling forecasts: windows per second of fitted models, all in one process, in turns."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.speed.fits import CONTEXT, HORIZON, SIZES, long_frame, make_ours, make_peer
from benchmarks.speed.machine import calibrate
from benchmarks.speed.peers import require
from benchmarks.speed.problems import wide_table
from benchmarks.speed.report import Report
from benchmarks.speed.timing import Effort, interleave

__all__ = ["run"]

ROWS, CHANNELS, ORIGINS = 57_600, 7, 300
PEERS = ("NHITS", "PatchTST")


def run(effort: Effort) -> Report:
    require("neuralforecast")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    report = Report("predict", "Forecasting", calibration=calibrate(effort.rounds))
    data = wide_table(ROWS, CHANNELS)
    rolling: dict[str, Callable[[], object]] = {}
    single: dict[str, Callable[[], object]] = {}
    for size in SIZES:
        rolling[f"ours, {size}"], single[f"ours, {size}"] = ours(size, data)
    for name in PEERS:
        rolling[name], single[name] = peer(name, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        many = interleave(rolling, rounds=effort.rounds)
        once = interleave(single, rounds=effort.rounds)
    table = report.table(
        f"Forecasts from {ORIGINS} origins one row apart, {CHANNELS} channels, look-back {CONTEXT}",
        ["model", "univariate windows/s", "one call of predict, ms"],
        "In batches of 1,024 windows. Ours measures its error on the way (`score`); neuralforecast "
        "forecasts alone (`predict` of the model, `step_size=1`). One call forecasts the "
        f"{HORIZON} steps after the training rows, of all channels, as users call it.",
    )
    windows = ORIGINS * CHANNELS
    for who, spent in many.items():
        table.add(who, windows / spent, 1000 * once[who])
    for name in PEERS:
        report.figures[f"predict.against_{name.lower()}"] = many[name] / many["ours, default"]
    return report


def ours(size: str, data: np.ndarray) -> tuple[Callable[[], object], Callable[[], object]]:
    """Rolling and single forecasts of ours, after one training step."""
    forecaster = make_ours(size, 32, [])
    forecaster.trainer_kwargs = {"limit_train_batches": 1, "limit_val_batches": 0}
    forecaster.fit(data)
    last = data[-(CONTEXT + HORIZON + ORIGINS - 1) :]
    return lambda: forecaster.score(last), forecaster.predict


def peer(name: str, data: np.ndarray) -> tuple[Callable[[], object], Callable[[], object]]:
    """The same of neuralforecast's."""
    network: Any = make_peer(name, 32, [], max_steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.fit(long_frame(data, "15min"))
    model = network.models[0]

    def rolling() -> None:
        model.set_test_size(HORIZON + ORIGINS - 1)
        found = model.predict(dataset=network.dataset, step_size=1)
        if found.size != ORIGINS * CHANNELS * HORIZON:
            raise RuntimeError(f"{name} gave {found.shape}, not {ORIGINS} origins of each channel.")

    return rolling, network.predict
