"""Fits of our forecaster and of neuralforecast's, timed step by step; each in a fresh process."""

from __future__ import annotations

import warnings
from statistics import median
from typing import Any

import numpy as np

from benchmarks.speed.memory_peak import peak_memory
from benchmarks.speed.problems import wide_table
from benchmarks.speed.timing import clock

__all__ = ["CONTEXT", "HORIZON", "SIZES", "long_frame", "make_ours", "make_peer", "step_clock"]

CONTEXT, HORIZON = 512, 96
#: Our sizes: as they come, and with more parameters than PatchTST's default.
SIZES: dict[str, dict[str, Any]] = {
    "default": {},
    "large": {"dim": 256, "n_heads": 4},
}
WARM_STEPS, LEAST_STEPS, LEAST_SECONDS = 3, 8, 6.0


def measure(
    who: str, batch: int, rows: int, channels: int, freq: str = "15min", forecast: bool = False
) -> dict[str, float]:
    """Fit until steps are many enough, here; see :func:`benchmarks.speed.afresh.afresh`.

    Parameters
    ----------
    who : str
        "NHITS", "PatchTST", or one of :data:`SIZES`.
    batch : int
        Univariate windows in a step.
    rows, channels, freq
        Of the table.
    forecast : bool
        Forecast and score with what was fitted, too; ours only.

    Returns
    -------
    dict
        step_seconds, parameters, peak bytes; ours also batch_seconds, of the loader alone, and with
        ``forecast`` forecast_seconds per window and channel.
    """
    table = wide_table(rows, channels, freq)
    if who in SIZES:
        import lightning.pytorch as lightning

        steps = step_clock(lightning.Callback)
        forecaster = make_ours(who, batch, [steps]).fit(table)
        found = {"batch_seconds": steps.batch_seconds}
        if forecast:
            found["forecast_seconds"] = rolling_seconds(forecaster, table)
    else:
        import pytorch_lightning

        steps = step_clock(pytorch_lightning.Callback)
        network = make_peer(who, batch, [steps])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network.fit(long_frame(table, freq))
        found = {}
    return found | {
        "step_seconds": float(np.median(np.diff(steps.times)[WARM_STEPS:])),
        "parameters": steps.parameters,
        "peak": peak_memory(),
    }


def make_ours(size: str, batch: int, callbacks: list[Any], **options: Any) -> Any:
    """A TitansForecaster that one of ``callbacks`` stops."""
    from titans_ts import TitansForecaster

    return TitansForecaster(
        horizon=HORIZON,
        context_length=CONTEXT,
        batch_size=batch,
        max_epochs=1,
        trainer_kwargs={"callbacks": callbacks, "limit_val_batches": 0},
        random_state=0,
        **SIZES[size],
        **options,
    )


def make_peer(name: str, batch: int, callbacks: list[Any], max_steps: int = 1000) -> Any:
    """A NeuralForecast with one model of default size, that one of ``callbacks`` may stop."""
    from neuralforecast import NeuralForecast, models

    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    model = getattr(models, name)(
        h=HORIZON,
        input_size=CONTEXT,
        max_steps=max_steps,
        windows_batch_size=batch,
        inference_windows_batch_size=1024,
        enable_progress_bar=False,
        callbacks=callbacks,
        **quiet,
    )
    return NeuralForecast(models=[model], freq="15min")


def long_frame(table: np.ndarray, freq: str) -> Any:
    """The table as neuralforecast wants it: one series a channel, below one another."""
    import pandas as pd

    rows, channels = table.shape
    return pd.DataFrame(
        {
            "unique_id": np.repeat([f"channel-{i}" for i in range(channels)], rows),
            "ds": np.tile(pd.date_range("2016-07-01", periods=rows, freq=freq), channels),
            "y": table.T.reshape(-1),
        }
    )


def step_clock(base: type) -> Any:
    """A callback, of the Lightning that ``base`` is from, that times steps and ends training."""

    class StepClock(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self.times: list[float] = []
            self.parameters = 0
            self.batch_seconds = float("nan")

        def __deepcopy__(self, memo: dict[int, Any]) -> Any:
            return self  # neuralforecast copies its models, and times would be kept in the copy

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            self.times.append(clock())
            steps = len(self.times) - 1 - WARM_STEPS
            if steps >= LEAST_STEPS and self.times[-1] - self.times[WARM_STEPS] > LEAST_SECONDS:
                trainer.should_stop = True

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self.parameters = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)
            self.batch_seconds = loader_seconds(trainer.train_dataloader)

    return StepClock()


def loader_seconds(loader: Any, least: float = 0.5, most: int = 2000) -> float:
    """Median seconds that the next batch takes, nothing else going on."""
    spent: list[float] = []
    batches = iter(loader)
    while sum(spent) < least and len(spent) < most:
        start = clock()
        if next(batches, None) is None:
            break
        spent.append(clock() - start)
    return median(spent[1:]) if len(spent) > 1 else float("nan")


def rolling_seconds(
    forecaster: Any, table: np.ndarray, windows: int = 6000, turns: int = 5
) -> float:
    """Median seconds per window and channel of forecasts one row apart, over the last rows."""
    forecaster.predict()
    origins = -(-windows // table.shape[1])
    last = table[-(CONTEXT + HORIZON + origins - 1) :]
    spent = []
    for _ in range(turns):
        start = clock()
        forecaster.score(last)
        spent.append(clock() - start)
    return median(spent) / (origins * table.shape[1])
