"""A flavour of MLflow: forecasters among its models, without a pickle; needs the extra ``mlflow``.

A model is the folder that ``save`` writes, JSON and safetensors, beside what MLflow writes itself.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

import titans_ts
from titans_ts.base import BaseForecaster
from titans_ts.data.covariates import Covariate
from titans_ts.errors import DataError, ParameterError
from titans_ts.persistence import load_forecaster
from titans_ts.persistence.ensembles import refuse_other_class

__all__ = ["FLAVOR_NAME", "load_model", "log_model", "save_model"]

FLAVOR_NAME = "titans_ts"

# Name of our folder inside a model.
FOLDER = "forecaster"

# What MLflow has no type for: it would ask for text or plain time stamps, and take nothing else.
_REFUSED = (pd.CategoricalDtype, pd.PeriodDtype, pd.DatetimeTZDtype)


def save_model(
    forecaster: BaseForecaster,
    path: str | os.PathLike[str],
    *,
    signature: Any = None,
    input_example: Any = None,
    pip_requirements: list[str] | None = None,
    metadata: dict[str, Any] | None = None,
    mlflow_model: Any = None,
) -> None:
    """Write a fitted forecaster to a folder as a model of MLflow.

    Parameters
    ----------
    forecaster : TitansForecaster or a baseline
        Fitted.
    path : str or path-like
        A folder that does not exist yet.
    signature : mlflow.models.ModelSignature or False, optional
        What goes in and out. Default: as the table given to ``fit`` and the forecast look; False:
        none, so that MLflow checks nothing.
    input_example : array or DataFrame, optional
        For MLflow to show and to try.
    pip_requirements : list of str, optional
        What a server installs. Default: this version of titans-ts.
    metadata : dict, optional
        Noted by MLflow.
    mlflow_model : mlflow.models.Model, optional
        For MLflow's own use.

    Examples
    --------
    >>> from titans_ts import SeasonalNaiveForecaster
    >>> from titans_ts.datasets import make_transformer_station
    >>> from titans_ts.mlflow import load_model, save_model
    >>> station = make_transformer_station(600, freq="h", random_state=0)
    >>> naive = SeasonalNaiveForecaster(horizon=24).fit(station)
    >>> folder = getfixture("tmp_path") / "model"
    >>> save_model(naive, folder)  # doctest: +SKIP
    >>> load_model(folder).predict().shape  # doctest: +SKIP
    (24, 7)
    """
    _check(forecaster)
    pyfunc, models = _needed("mlflow.pyfunc"), _needed("mlflow.models")
    model = models.Model() if mlflow_model is None else mlflow_model
    if signature is None:
        signature = _signature(forecaster)
    model.add_flavor(
        FLAVOR_NAME,
        titans_ts_version=titans_ts.__version__,
        forecaster_class=type(forecaster).__name__,
        data=f"data/{FOLDER}",
    )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Advice for signatures that were guessed from an example; ours is from the forecaster.
        warnings.filterwarnings("ignore", "(?s).*An input example was not provided", UserWarning)
        forecaster.save(Path(folder) / FOLDER)
        pyfunc.save_model(
            os.fspath(path),
            # With a module to load it, and not an object, nothing is pickled.
            loader_module=__name__,
            data_path=str(Path(folder) / FOLDER),
            mlflow_model=model,
            signature=signature or None,
            input_example=input_example,
            pip_requirements=pip_requirements or [f"titans-ts=={titans_ts.__version__}"],
            metadata=metadata,
        )


def log_model(
    forecaster: BaseForecaster,
    name: str = "forecaster",
    *,
    registered_model_name: str | None = None,
    **options: Any,
) -> Any:
    """Log a fitted forecaster as a model of MLflow's active run; without one, a run is started.

    Parameters
    ----------
    forecaster : TitansForecaster or a baseline
        Fitted.
    name : str, default "forecaster"
        Of the model.
    registered_model_name : str, optional
        Make it a version of this registered model.
    **options
        As :func:`save_model` takes them, or ``mlflow.models.Model.log``, such as ``tags``.

    Returns
    -------
    mlflow.models.model.ModelInfo
        Its ``model_uri`` is for :func:`load_model` and ``mlflow.pyfunc.load_model``.
    """
    _check(forecaster)
    return _needed("mlflow.models").Model.log(
        artifact_path=None,
        name=name,
        flavor=import_module(__name__),
        registered_model_name=registered_model_name,
        forecaster=forecaster,
        **options,
    )


def load_model(model_uri: str | os.PathLike[str], *, device: str | None = None) -> Any:
    """Load a forecaster that :func:`log_model` or :func:`save_model` wrote.

    Parameters
    ----------
    model_uri : str or path-like
        A folder, or anything that MLflow knows: ``"models:/station/1"``, ``"runs:/..."``.
    device : str, optional
        As for :meth:`titans_ts.TitansForecaster.load`.

    Returns
    -------
    TitansForecaster or a baseline
        Fitted.

    Raises
    ------
    ParameterError
        The model is of another flavour.
    SavedModelError
        It is damaged.
    """
    artifacts, models = _needed("mlflow.artifacts"), _needed("mlflow.models")
    folder = Path(artifacts.download_artifacts(artifact_uri=os.fspath(model_uri)))
    flavors = models.Model.load(str(folder)).flavors
    if FLAVOR_NAME not in flavors:
        raise ParameterError(
            f"The model at {os.fspath(model_uri)!r} has the flavours {sorted(flavors)}, expected "
            f"{FLAVOR_NAME!r} among them: one that titans_ts.mlflow.log_model wrote."
        )
    return load_forecaster(BaseForecaster, folder / "data" / FOLDER, device=device)


def _load_pyfunc(path: str) -> _PyFunc:
    """Load what ``mlflow.pyfunc.load_model`` wraps; MLflow calls this by name."""
    return _PyFunc(load_forecaster(BaseForecaster, Path(path)))


class _PyFunc:
    """A forecaster as MLflow's servers use it: one table in, one out."""

    def __init__(self, forecaster: BaseForecaster) -> None:
        self.forecaster = forecaster

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """Forecast what follows a table.

        With covariates that are known in advance, the table goes on through the steps to forecast:
        in the last ``horizon`` rows of each series, targets are missing.
        """
        levels = (params or {}).get("quantiles")
        # MLflow has no way to leave a list out.
        quantiles = None if levels is None or not len(levels) else [float(q) for q in levels]
        future = None
        if self.forecaster.layout_.covariates.known:
            model_input, future = self._split(model_input)
        options = {} if future is None else {"future": future}
        return self.forecaster.predict(model_input, quantiles=quantiles, **options)

    def _split(self, table: Any) -> tuple[Any, Any]:
        """What is known, and covariates of the steps to forecast."""
        layout, horizon = self.forecaster.layout_, self.forecaster.horizon
        id_label = layout.id_label
        if id_label is None:
            from_end = np.arange(len(table))[::-1]
        elif id_label in table.columns:
            from_end = table.groupby(id_label, sort=False).cumcount(ascending=False).to_numpy()
        else:
            from_end = table.groupby(level=id_label, sort=False).cumcount(ascending=False)
            from_end = from_end.to_numpy()
        ahead = from_end < horizon
        targets = list(layout.labels)
        if table.loc[ahead, targets].notna().to_numpy().any():
            raise DataError(
                f"The last {horizon} rows of each series are the steps to forecast, with "
                f"future_covariates and nothing in {targets}; but some have values there. Append "
                "the rows of make_future_dataframe(), with the covariates filled in, behind the "
                "others: the rows of a series stand in the order of time."
            )
        return table[~ahead], table.loc[ahead].drop(columns=targets)


def _check(forecaster: Any) -> None:
    if not isinstance(forecaster, BaseForecaster):
        raise ParameterError(
            "Expected a fitted forecaster of titans_ts for a model of MLflow, got a "
            f"{type(forecaster).__name__}. Other estimators have flavours of their own, such as "
            "mlflow.sklearn."
        )
    refuse_other_class(
        forecaster,
        "The forecaster",
        "Save it with its own save, and log the folder as an artifact.",
    )
    check_is_fitted(forecaster)


# -- what goes in and out -------------------------------------------------------------------------


def _signature(forecaster: BaseForecaster) -> Any:
    models, types = _needed("mlflow.models"), _needed("mlflow.types")
    layout, horizon = forecaster.layout_, forecaster.horizon
    n_channels = len(layout.channels)
    params = types.schema.ParamSchema(
        [types.schema.ParamSpec("quantiles", types.DataType.double, [], shape=(-1,))]
    )
    if layout.container.startswith("numpy"):
        free = (-1,) * (1 if layout.container == "numpy2d" else 2)
        spec = types.schema.TensorSpec(np.dtype(layout.dtypes[0]), (*free, n_channels))
        schema = types.schema.Schema([spec])
        return models.ModelSignature(schema, schema, params)
    few = layout.select(np.arange(1)) if layout.ids else layout
    forecast = few.forecast_table(np.zeros((1, horizon, n_channels)))
    if layout.container.startswith("polars"):
        forecast = forecast.to_pandas()
    table = forecast
    if any(layout.covariates.of(role) for role in ("past", "known", "static")):
        table = forecast.assign(
            **{
                str(covariate.label): _example(covariate)
                for role in ("past", "known", "static")
                for covariate in layout.covariates.of(role)
            }
        )
    return models.ModelSignature(_schema(table), _schema(forecast), params)


def _schema(table: Any) -> Any:
    """The columns of a table; of any type where MLflow refuses the very values it was made of."""
    models, types = _needed("mlflow.models"), _needed("mlflow.types")
    with warnings.catch_warnings():
        # Advice for integers that may be missing; of ours the ids are left, which may not.
        warnings.filterwarnings("ignore", "(?s).*schema contains integer column", UserWarning)
        if isinstance(table, pd.Series):
            return models.infer_signature(table).inputs
        free = types.schema.AnyType()
        columns = [
            types.schema.ColSpec(free, label, required=True)
            if isinstance(table[label].dtype, _REFUSED)
            else models.infer_signature(table[[label]]).inputs.inputs[0]
            for label in table.columns
        ]
    return types.schema.Schema(columns)


def _example(covariate: Covariate) -> Any:
    if covariate.kind == "categorical":
        return next(iter(covariate.categories), "")
    return {"numeric": 0.0, "boolean": True}[covariate.kind]


def _needed(name: str) -> Any:
    """Import a module of MLflow, or say how to install it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "mlflow":
            raise
        raise ParameterError(
            "This needs MLflow, which is not installed: pip install 'titans-ts[mlflow]'."
        ) from error
