"""Trace a forecaster's model and write it as an ONNX file."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted

import titans_ts
from titans_ts.errors import ParameterError
from titans_ts.forecaster import TitansForecaster
from titans_ts.onnx.extra import needed
from titans_ts.onnx.graph import ForecastGraph, example_inputs
from titans_ts.parameters import check_quantiles
from titans_ts.persistence.files import write_whole
from titans_ts.persistence.plain_json import encode

__all__ = ["describe", "export_onnx", "learnt_sha256"]


def export_onnx(
    forecaster: TitansForecaster,
    path: str | os.PathLike[str],
    *,
    quantiles: Sequence[float] | None = None,
) -> None:
    """Write a fitted forecaster as an ONNX graph, for any runtime of ONNX and any batch size.

    The graph reads a context, as :func:`onnx_inputs` makes it of a table, and returns what
    ``predict`` does: level and spread, gaps, covariates and the memory's learning are in it.
    Reading tables, ``target_transform``, the calendar and names of rows are not.

    Parameters
    ----------
    forecaster : TitansForecaster
        Fitted; neither changed nor moved.
    path : str or path-like
        A file, which is replaced if it is there. Weights are inside.
    quantiles : sequence of float, optional
        To be forecast beside the point. Default: those that the forecaster was constructed with.

    Raises
    ------
    ParameterError
        The quantiles were not trained, a parameter was changed after ``fit``, ``path`` cannot be a
        file, or a package of the extra ``onnx`` is missing.

    Examples
    --------
    >>> from titans_ts import TitansForecaster
    >>> from titans_ts.datasets import make_transformer_station
    >>> from titans_ts.onnx import OnnxForecaster, export_onnx
    >>> station = make_transformer_station(600, freq="h", random_state=0)
    >>> forecaster = TitansForecaster(horizon=24, context_length=96, max_epochs=1).fit(station)
    >>> file = getfixture("tmp_path") / "station.onnx"
    >>> export_onnx(forecaster, file)  # doctest: +SKIP
    >>> OnnxForecaster(file, forecaster).predict().shape  # doctest: +SKIP
    (24, 7)
    """
    if not isinstance(forecaster, TitansForecaster):
        raise ParameterError(
            f"export_onnx writes a TitansForecaster; got {type(forecaster).__name__}."
        )
    check_is_fitted(forecaster)
    forecaster._check_shape()
    file = Path(path)
    if file.is_dir() or not file.parent.is_dir():  # said now, since a graph takes minutes
        what = "is a folder" if file.is_dir() else f"lies in {str(file.parent)!r}, no folder"
        raise ParameterError(
            f"{str(path)!r} {what}; expected a file in a folder that exists, such as "
            "'station.onnx'. Choose another path, or make the folder."
        )
    for name in ("onnx", "onnxscript"):
        needed(name)
    levels = check_quantiles("quantiles", forecaster.quantiles if quantiles is None else quantiles)
    model = copy.deepcopy(forecaster.model_).cpu().eval().requires_grad_(False)
    example = example_inputs(model, forecaster.context_length_, forecaster.n_features_in_)
    graph = ForecastGraph(model, levels).eval()
    with torch.no_grad():
        graph(**example)  # refuses quantiles that were not trained
        program = _traced(graph, example)
    for node in program.model.graph:  # where in our code each came from: most of the file
        node.metadata_props.clear()
    program.model.metadata_props.update(_metadata(forecaster, levels))
    write_whole(file, program.save)


def _traced(graph: ForecastGraph, example: dict[str, torch.Tensor]) -> Any:
    batch = torch.export.Dim("batch")
    outputs = ["forecast"] if graph.levels is None else ["forecast", "quantiles"]
    with _quiet():
        exported = torch.export.export(
            graph, (), example, dynamic_shapes={name: {0: batch} for name in example}, strict=False
        )
        return torch.onnx.export(
            exported,
            dynamo=True,
            input_names=list(example),
            output_names=outputs,
            # A runtime does the same for its own machine when it loads a graph, and does it faster.
            optimize=False,
            verbose=False,
        )


def _metadata(forecaster: TitansForecaster, levels: tuple[float, ...] | None) -> dict[str, str]:
    """What a caller must know of the graph; lists and dicts as JSON."""
    return {
        "titans_ts_version": titans_ts.__version__,
        "torch_version": torch.__version__,
        "quantiles": json.dumps(list(levels or ())),
        "target_transform": ""
        if forecaster.target_transform_ is None
        else repr(forecaster.target_transform),
        "learnt_sha256": learnt_sha256(forecaster),
        **describe(forecaster),
    }


def describe(forecaster: TitansForecaster) -> dict[str, str]:
    """What a forecaster must share with its graph, or it would give it other numbers."""
    covariates = forecaster.layout_.covariates
    entries: dict[str, Any] = {
        "horizon": forecaster.horizon,
        "context_length": forecaster.context_length_,
        "channels": [str(label) for label in forecaster.layout_.channels],
        "freq": forecaster.freq_ or "",
        "past_covariates": [str(c.label) for c in covariates.past],
        "known_covariates": [str(c.label) for c in covariates.known],
        "static_covariates": [str(c.label) for c in covariates.static],
        "categories": {
            str(c.label): [str(category) for category in c.categories]
            for role in ("past", "known", "static")
            for c in covariates.of(role)
            if c.categories
        },
        "calendar": forecaster.calendar,
        "holidays": forecaster.holidays or "",
    }
    # Numbers may be numpy's, as a grid has them.
    return {
        name: value if isinstance(value, str) else json.dumps(value, default=lambda v: v.item())
        for name, value in entries.items()
    }


def learnt_sha256(forecaster: TitansForecaster) -> str:
    """A checksum of what was learnt: tells one fit of a forecaster from another."""
    _, arrays = forecaster._fitted_state()
    try:
        transform, more = forecaster._transform_state()
    except ParameterError:  # one that cannot be saved cannot be compared either
        transform, more = None, {}
    digest = hashlib.sha256(json.dumps(encode(transform), sort_keys=True).encode())
    for part in (arrays, more):
        for name, array in sorted(part.items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep hints of the exporter to developers of exporters to itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
