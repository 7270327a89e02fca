"""ForecastPool: forecast a panel on several devices, every row once and in order."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import pairwise
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from titans_ts.data.windows import CutWindows
from titans_ts.errors import ParameterError
from titans_ts.forecaster import TitansForecaster
from titans_ts.parameters import check_choice

__all__ = ["ForecastPool"]


class ForecastPool:
    """A fitted forecaster on several devices at once, each in a process of its own.

    Tables are read and written here; only windows go to the devices, in equal parts, and forecasts
    come back in order. So what ``predict`` and ``score`` give is what the forecaster itself gives,
    in the same container. Starting takes seconds, so keep the pool for many calls.

    Parameters
    ----------
    forecaster : TitansForecaster
        Fitted.
    devices : int or sequence of str
        Number of processes on the CPU, or a device for each, such as ``["cuda:0", "cuda:1"]``.
    start_method : {"spawn", "forkserver", "fork"}, default "spawn"
        As :mod:`multiprocessing` knows it; "fork" starts at once, but not with GPUs. With the
        others, processes read the script that made the pool: there it must stand in a function,
        or under ``if __name__ == "__main__":``.

    Examples
    --------
    >>> from titans_ts import TitansForecaster
    >>> from titans_ts.pool import ForecastPool
    >>> def forecast_all(panel, path):
    ...     forecaster = TitansForecaster.load(path)
    ...     with ForecastPool(forecaster, ["cuda:0", "cuda:1"]) as pool:
    ...         return pool.predict(panel)
    """

    def __init__(
        self,
        forecaster: TitansForecaster,
        devices: int | Sequence[str],
        *,
        start_method: str = "spawn",
    ) -> None:
        if not isinstance(forecaster, TitansForecaster):
            raise ParameterError(
                "ForecastPool puts a TitansForecaster on several devices, got "
                f"{type(forecaster).__name__}. Call its own predict and score."
            )
        check_is_fitted(forecaster)
        check_choice("start_method", start_method, multiprocessing.get_all_start_methods())
        several = isinstance(devices, Sequence) and not isinstance(devices, str)
        names = list(devices) if several else []  # type: ignore[arg-type]
        if isinstance(devices, Integral) and not isinstance(devices, bool):
            names = ["cpu"] * int(devices)
        if not names:
            raise ParameterError(
                "devices must be a positive number of processes, or a list of devices such as "
                f"['cuda:0', 'cuda:1']; got {devices!r}."
            )
        context = multiprocessing.get_context(start_method)
        waiting = context.SimpleQueue()
        for name in names:
            waiting.put(name)
        self._n, self._closed = len(names), False
        # As bytes: as an object its weights would go through shared memory, whose handles a process
        # that is spawned cannot be given twice.
        self._processes = ProcessPoolExecutor(
            self._n,
            mp_context=context,
            initializer=_start,
            initargs=(pickle.dumps(forecaster), waiting, self._n),
        )
        # Another object with the same fitted state, whose windows are forecast elsewhere.
        self._front = copy.copy(forecaster)
        self._front._forecast = self._forecast  # type: ignore[method-assign]

    def predict(self, X: Any = None, *, future: Any = None, quantiles: Any = None) -> Any:
        """As :meth:`titans_ts.TitansForecaster.predict`."""
        return self._front.predict(X, future=future, quantiles=quantiles)

    def score(self, X: Any, y: Any = None) -> float:
        """As :meth:`titans_ts.TitansForecaster.score`."""
        return float(self._front.score(X, y))

    def close(self) -> None:
        """End the processes; ``with`` does so by itself."""
        self._closed = True
        self._processes.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *arguments: object) -> None:
        self.close()

    def _forecast(
        self, windows: CutWindows, quantiles: tuple[float, ...] | None = None
    ) -> np.ndarray:
        if self._closed:
            raise RuntimeError("This ForecastPool is closed. Make a new one for more forecasts.")
        n = len(windows.context)
        edges = sorted({n * i // self._n for i in range(self._n + 1)})
        parts = [
            CutWindows(*(None if array is None else array[start:stop] for array in windows))  # type: ignore[arg-type]
            for start, stop in pairwise(edges)
        ]
        try:
            answers = [self._processes.submit(_forecast, part, quantiles) for part in parts]
            return np.concatenate([answer.result() for answer in answers])
        except BrokenProcessPool as error:
            error.add_note(
                "A process of the ForecastPool has ended before it answered: it was stopped, ran "
                "out of memory, or could not start, as where a script makes the pool outside of "
                'if __name__ == "__main__":. Make a new pool.'
            )
            raise


# In a process of the pool: its forecaster, or why there is none.
_HERE: dict[str, TitansForecaster | ParameterError] = {}


def _start(pickled: bytes, waiting: Any, n: int) -> None:
    threadpool_limits(max((os.cpu_count() or 1) // n, 1))
    forecaster: TitansForecaster = pickle.loads(pickled)
    try:
        forecaster._to_device(waiting.get())
    except ParameterError as error:
        # Raised here, it would go to the terminal, and whoever asks would learn of a broken pool.
        _HERE["forecaster"] = error
    else:
        _HERE["forecaster"] = forecaster


def _forecast(windows: CutWindows, quantiles: tuple[float, ...] | None) -> np.ndarray:
    forecaster = _HERE["forecaster"]
    if isinstance(forecaster, ParameterError):
        raise forecaster
    return forecaster._forecast(windows, quantiles)
