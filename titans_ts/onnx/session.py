"""OnnxForecaster: predict with tables in and out, where onnxruntime does the arithmetic."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from titans_ts.data.windows import CutWindows
from titans_ts.errors import ParameterError, SavedModelError
from titans_ts.forecaster import TitansForecaster
from titans_ts.heads.forecast.losses import find_level
from titans_ts.onnx.extra import needed
from titans_ts.onnx.inputs import arrays_of
from titans_ts.onnx.writing import describe, learnt_sha256

__all__ = ["OnnxForecaster"]

# Windows at a time: one run of a graph makes all that lies between for all of them.
MOST_WINDOWS = 256


class OnnxForecaster:
    """The forecasts of an exported graph, with tables in and out.

    The graph knows arrays only; the forecaster that it was made of reads tables, undoes its
    ``target_transform``, and names rows and columns. With this one can hold a graph against
    ``predict`` before it goes to another machine, or serve with onnxruntime here.

    Parameters
    ----------
    path : str or path-like
        A file that :func:`export_onnx` wrote.
    forecaster : TitansForecaster
        The one that it was made of, or that one loaded again.
    providers : sequence of str, default ("CPUExecutionProvider",)
        Where onnxruntime computes.

    Attributes
    ----------
    metadata : dict of str
        What stands in the file: horizon, context_length, channels, quantiles and so on; lists
        are JSON.

    Raises
    ------
    ParameterError
        The graph is of another forecaster or of another fit, or onnxruntime is not installed.
    SavedModelError
        The file holds no graph that onnxruntime can read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        forecaster: TitansForecaster,
        *,
        providers: tuple[str, ...] = ("CPUExecutionProvider",),
    ) -> None:
        if not isinstance(forecaster, TitansForecaster):
            raise ParameterError(
                "forecaster must be the TitansForecaster that was exported, got a "
                f"{type(forecaster).__name__}."
            )
        check_is_fitted(forecaster)
        runtime = needed("onnxruntime")
        if not Path(path).is_file():
            raise ParameterError(f"No ONNX file at {str(path)!r}; expected one of export_onnx.")
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # not what it does not fold, node by node
        try:
            self.session = runtime.InferenceSession(
                os.fspath(path), options, providers=list(providers)
            )
        except Exception as error:  # each failure of onnxruntime has a class of its own
            raise SavedModelError(
                f"onnxruntime cannot load {str(path)!r} with the providers {list(providers)}: "
                f"{error}. Expected a file of export_onnx, and providers that are installed; if "
                "the file is damaged, export it again."
            ) from error
        self.metadata: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        expected = describe(forecaster)
        # Its repr may be another once it is loaded.
        transform = self.metadata.get("target_transform", "")
        if bool(transform) != (forecaster.target_transform_ is not None):
            expected["target_transform"] = repr(forecaster.target_transform)
        for name, value in expected.items():
            if self.metadata.get(name) != value:
                raise ParameterError(
                    f"The graph in {str(path)!r} has {name} "
                    f"{self.metadata.get(name, 'unknown') or 'none'}, "
                    f"but the forecaster has {value or 'none'}. Give the forecaster that was "
                    "exported."
                )
        # Graphs of earlier versions do not say it.
        learnt = self.metadata.get("learnt_sha256")
        if learnt is not None and learnt != learnt_sha256(forecaster):
            raise ParameterError(
                f"The graph in {str(path)!r} is of another fit than the forecaster: weights or "
                "target_transform differ. Export the forecaster again, or give the one that was "
                "exported."
            )
        self.quantiles = tuple(json.loads(self.metadata["quantiles"]))
        # The same forecaster, which takes its numbers from the graph.
        self._forecaster: TitansForecaster = object.__new__(type(forecaster))
        self._forecaster.__dict__.update(vars(forecaster), _forecast=self._forecast)

    def predict(self, X: Any = None, *, future: Any = None, quantiles: Any = None) -> Any:
        """Forecast the steps that follow, as :meth:`titans_ts.TitansForecaster.predict` does.

        ``quantiles`` are some of those in the graph.
        """
        return self._forecaster.predict(X, future=future, quantiles=quantiles)

    def _forecast(
        self, windows: CutWindows, quantiles: tuple[float, ...] | None = None
    ) -> np.ndarray:
        places = {level: find_level(level, self.quantiles) for level in quantiles or ()}
        missing = [level for level, place in places.items() if place is None]
        if missing:
            raise ParameterError(
                f"quantiles {missing} are not in the graph, which has {self.quantiles}. Ask for "
                "those, or export with quantiles=[...]."
            )
        arrays = arrays_of(windows)
        output = "forecast" if quantiles is None else "quantiles"
        parts = []
        for start in range(0, len(windows.context), MOST_WINDOWS):
            now = {name: array[start : start + MOST_WINDOWS] for name, array in arrays.items()}
            parts.append(self.session.run([output], now)[0])
        forecast = np.concatenate(parts)
        if quantiles is None:
            return forecast
        return forecast[..., [place for place in places.values() if place is not None]]
