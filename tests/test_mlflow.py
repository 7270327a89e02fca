"""Forecasters among MLflow's models: logged, loaded, served as functions of a table, unpickled."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from tiny_fits import tiny, waves

from titans_ts import DataError, ParameterError, RidgeForecaster, SavedModelError, TitansForecaster
from titans_ts.mlflow import load_model, log_model, save_model

mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")

# MLflow's own: it warns about its neighbours' and its own coming changes.
pytestmark = pytest.mark.filterwarnings(
    "ignore:::mlflow", "ignore:::alembic", "ignore:::sqlalchemy", "ignore:::pydantic"
)


@pytest.fixture(autouse=True)
def tracking(tmp_path, monkeypatch):
    """A tracking server of one file, and a working folder where nothing else may be left."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.create_experiment("titans", artifact_location=(tmp_path / "artifacts").as_uri())
    mlflow.set_experiment("titans")
    yield
    mlflow.set_tracking_uri(before)
    assert not list(here.iterdir())


def hourly(n=200):
    index = pd.date_range("2024-01-01", periods=n, freq="h", name="time")
    return pd.DataFrame(waves(n), index=index, columns=["OT", "load"])


def long(n=200):
    frame = hourly(n).reset_index()
    return frame.melt("time", var_name="unique_id", value_name="y").rename(columns={"time": "ds"})


def test_a_logged_forecaster_comes_back_with_the_same_forecast():
    table = hourly()
    fitted = tiny(quantiles=(0.1, 0.5)).fit(table)
    with mlflow.start_run():
        info = log_model(fitted, name="station", tags={"site": "north"})
    loaded = load_model(info.model_uri)
    assert type(loaded) is TitansForecaster
    assert loaded.get_params()["quantiles"] == (0.1, 0.5)
    pd.testing.assert_frame_equal(loaded.predict(table), fitted.predict(table))


def test_a_model_holds_no_pickle_and_names_what_a_server_installs(tmp_path):
    save_model(tiny().fit(waves()), tmp_path / "model")
    names = {file.name for file in (tmp_path / "model").rglob("*") if file.is_file()}
    assert {"forecaster.json", "arrays.safetensors", "MLmodel"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib", ".pt"))]
    requirements = (tmp_path / "model" / "requirements.txt").read_text().split()
    assert {requirement.partition("==")[0] for requirement in requirements} == {
        "mlflow",
        "titans-ts",
    }


def test_a_baseline_is_a_model_too(tmp_path):
    table = hourly()
    fitted = RidgeForecaster(horizon=7, context_length=48).fit(table)
    save_model(fitted, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert type(loaded) is RidgeForecaster
    pd.testing.assert_frame_equal(loaded.predict(table), fitted.predict(table))


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(hourly(), id="wide frame"),
        pytest.param(long(), id="long frame"),
        pytest.param(waves(200), id="array"),
    ],
)
def test_as_a_function_it_forecasts_what_follows_a_table(tmp_path, table):
    fitted = tiny(quantiles=(0.1, 0.5)).fit(table)
    save_model(fitted, tmp_path / "model")
    function = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    np.testing.assert_array_equal(function.predict(table), fitted.predict(table))
    got = function.predict(table, params={"quantiles": [0.1, 0.5]})
    np.testing.assert_array_equal(got, fitted.predict(table, quantiles=[0.1, 0.5]))


@pytest.mark.filterwarnings("error:.*integer column:UserWarning")
def test_a_function_takes_the_very_table_that_was_fitted(tmp_path, capfd):
    table = long(80)
    time = table["ds"].dt
    tables = {
        "categories": table.astype({"unique_id": "category"}),
        "numbers": table.assign(unique_id=table["unique_id"].map({"OT": 1, "load": 2})),
        "zone": table.assign(ds=time.tz_localize("Europe/Berlin")),
        "periods": table.assign(ds=time.to_period("h")),
        "series": hourly()["OT"],
    }
    capfd.readouterr()
    for name, table in tables.items():
        fitted = RidgeForecaster(horizon=7, context_length=48).fit(table)
        save_model(fitted, tmp_path / name)
        function = mlflow.pyfunc.load_model(str(tmp_path / name))
        got, expected = function.predict(table), pd.DataFrame(fitted.predict(table))
        # MLflow hands categories on as text, and time stamps without a zone in nanoseconds.
        pd.testing.assert_frame_equal(got.astype(expected.dtypes), expected)
        if name != "series":
            with pytest.raises(mlflow.exceptions.MlflowException, match=r"missing inputs.*ds"):
                function.predict(table.drop(columns="ds"))
    assert capfd.readouterr() == ("", "")


def test_what_is_no_forecaster_is_refused(tmp_path):
    other = LinearRegression().fit(waves(9), waves(9))
    with pytest.raises(ParameterError, match="got a LinearRegression"):
        save_model(other, tmp_path / "model")
    with pytest.raises(ParameterError, match="got a LinearRegression"):
        log_model(other)


class OwnRidge(RidgeForecaster):
    """A class that titans_ts does not know."""


def test_a_class_that_a_load_would_not_find_is_refused(tmp_path):
    own = OwnRidge(horizon=7, context_length=48).fit(hourly())
    for write in (log_model, lambda forecaster: save_model(forecaster, tmp_path / "model")):
        with pytest.raises(ParameterError, match="is a OwnRidge, which titans_ts could not find"):
            write(own)
    assert not (tmp_path / "model").exists()


def test_a_function_of_covariates_reads_their_future_from_the_same_table(tmp_path):
    table = long().assign(open=lambda frame: frame["ds"].dt.hour > 7)
    fitted = tiny(future_covariates="open").fit(table)
    future = fitted.make_future_dataframe().assign(open=True)
    save_model(fitted, tmp_path / "model")
    function = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    got = function.predict(pd.concat([table, future], ignore_index=True))
    # MLflow hands time stamps on in nanoseconds.
    pd.testing.assert_frame_equal(got, fitted.predict(table, future=future), check_dtype=False)
    with pytest.raises(DataError, match="last 7 rows of each series are the steps to forecast"):
        function.predict(table)


def test_the_signature_says_which_columns_go_in(tmp_path):
    table = long().assign(open=True, site="north")
    fitted = tiny(future_covariates="open", static_covariates="site").fit(table)
    save_model(fitted, tmp_path / "model")
    signature = mlflow.models.get_model_info(str(tmp_path / "model")).signature
    types = {spec.name: spec.type.name for spec in signature.inputs}
    assert types == {
        "unique_id": "string", "ds": "datetime", "y": "double", "open": "boolean", "site": "string"
    }  # fmt: skip
    function = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    with pytest.raises(mlflow.exceptions.MlflowException, match=r"missing inputs.*open"):
        function.predict(table.drop(columns="open"))


def test_a_registered_model_is_found_by_name():
    fitted = tiny().fit(hourly())
    with mlflow.start_run():
        log_model(fitted, registered_model_name="station")
    loaded = load_model("models:/station/1")
    pd.testing.assert_frame_equal(loaded.predict(), fitted.predict())


def test_a_model_of_another_flavour_is_refused(tmp_path):
    models = mlflow.models.Model()
    models.add_flavor("python_function", loader_module="json")
    (tmp_path / "model").mkdir()
    models.save(str(tmp_path / "model" / "MLmodel"))
    with pytest.raises(ParameterError, match=r"\['python_function'\], expected 'titans_ts'"):
        load_model(tmp_path / "model")


def test_a_damaged_model_is_refused(tmp_path):
    save_model(tiny().fit(waves()), tmp_path / "model")
    file = tmp_path / "model" / "data" / "forecaster" / "forecaster.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "class": "Other"}))
    with pytest.raises(SavedModelError):
        load_model(tmp_path / "model")


def test_categories_that_are_numbers_can_be_logged(tmp_path):
    table = long().assign(code=lambda t: (t["unique_id"] == "OT") + 1)
    table["code"] = table["code"].astype("category")
    fitted = tiny(static_covariates="code").fit(table)
    save_model(fitted, tmp_path / "model")
    pd.testing.assert_frame_equal(load_model(tmp_path / "model").predict(), fitted.predict())
