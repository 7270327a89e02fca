"""Exported as an ONNX graph, a forecaster forecasts the same numbers in onnxruntime."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import t as student_t
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PowerTransformer, StandardScaler
from tiny_fits import tiny, waves

from titans_ts import (
    Difference,
    LinearForecaster,
    LogTransform,
    ParameterError,
    SavedModelError,
    load_model,
)
from titans_ts.heads.forecast.gaps import fill_gaps
from titans_ts.onnx import OnnxForecaster, export_onnx, onnx_inputs
from titans_ts.onnx.graph import polynomials
from titans_ts.onnx.writing import describe, learnt_sha256

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")

LEVEL = 10_000.0  # under waves of 1: what float32 would blur


def station(n=200):
    index = pd.date_range("2024-01-01", periods=n, freq="h", name="time")
    return LEVEL + pd.DataFrame(waves(n), index=index, columns=["OT", "load"])


def with_gaps(table):
    """The same table with a hole, missing last values, and missing first values."""
    table = table.copy()
    table.iloc[-6:-3, 0] = np.nan
    table.iloc[-2:, 1] = np.nan
    table.iloc[:-5, 1] = np.nan
    return table


def dead(table):
    """The same table, of which one column ended long before the context begins."""
    table = table.copy()
    table.iloc[1:, 1] = np.nan
    return table


def assert_same(got, expected):
    """To 1e-4 of how far forecasts lie from the level, the promise; measured are about 1e-6."""
    pd.testing.assert_index_equal(got.index, expected.index)
    pd.testing.assert_index_equal(got.columns, expected.columns)
    away = np.abs(expected.to_numpy() - LEVEL).max()
    np.testing.assert_allclose(got.to_numpy(), expected.to_numpy(), rtol=0, atol=1e-4 * away)


def small(**options):
    """Contexts of eight tokens: with their number, a graph grows, and the time to make it."""
    return tiny(**{"context_length": 8, "batch_size": 16, **options})


def check(tmp_path, fitted, table, quantiles=None, **options):
    export_onnx(fitted, tmp_path / "model.onnx", quantiles=quantiles)
    graph = OnnxForecaster(tmp_path / "model.onnx", fitted)
    levels = list(graph.quantiles) or None
    for context in (table, with_gaps(table), dead(table), table.tail(5)):
        assert_same(graph.predict(context, **options), fitted.predict(context, **options))
        if levels:
            got = graph.predict(context, quantiles=levels, **options)
            assert_same(got, fitted.predict(context, quantiles=levels, **options))
    return graph


RECALL = {"recall": True, "attention_conv": True, "rotary": False}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "quantiles"),
    [
        pytest.param({"variant": "mac", "memory_depth": 2}, None, id="mac"),
        pytest.param({"variant": "mag", "memory_depth": 1}, None, id="mag, linear memory"),
        pytest.param({"variant": "mal", "memory_depth": 3}, None, id="mal, deep memory"),
        pytest.param({"variant": "mag", "backbone_options": RECALL}, None, id="mag, recall"),
        pytest.param({"loss": "student_t"}, (0.001, 0.1, 0.5, 0.9), id="lmm, Student's t"),
        pytest.param({"quantiles": (0.1, 0.5, 0.9)}, None, id="quantiles"),
        pytest.param({"depth": 2, "normalisation": "window"}, None, id="two blocks, whole window"),
        pytest.param({"channel_mixing": True, "loss": "mse"}, None, id="mixed channels"),
        pytest.param(
            {"backbone_options": {"coarse_memory": True, "memory_residual": True}},
            None,
            id="coarse memory with residual",
        ),
        pytest.param({"precision": "64-true"}, None, id="float64"),
    ],
)
def test_a_graph_forecasts_what_predict_does(tmp_path, options, quantiles):
    table = station()
    check(tmp_path, small(**options).fit(table), table, quantiles)


@pytest.mark.slow
def test_the_linear_highway_alone_is_a_graph_too(tmp_path):
    table = station()
    check(tmp_path, small(depth=0).fit(table), table)


@pytest.mark.slow
def test_a_long_context_is_exported_in_tiles(tmp_path):
    # 144 tokens: where torch would scan with buffers of its own.
    table = station(800)
    fitted = tiny(context_length=288, patch_length=2, chunk_size=16, segment_length=64, dim=4)
    fitted.fit(table)
    assert fitted.context_length_ == 288
    check(tmp_path, fitted, table)


@pytest.mark.slow
def test_covariates_go_into_the_graph(tmp_path):
    table = station()
    kinds = np.where(table.index.hour < 6, "night", "day")
    table = table.assign(heat=waves(len(table), 1)[:, 0], kind=kinds, wind=1.0 * table.index.hour)
    fitted = small(
        past_covariates="wind", future_covariates=["heat", "kind"], calendar=["hour_of_day"]
    ).fit(table)
    future = fitted.make_future_dataframe().assign(heat=0.5, kind="day")
    future.iloc[2, 0] = np.nan
    graph = check(tmp_path, fitted, table, future=future)
    assert json.loads(graph.metadata["past_covariates"]) == ["wind"]
    assert json.loads(graph.metadata["known_covariates"]) == ["heat", "kind"]
    assert json.loads(graph.metadata["categories"]) == {"kind": ["day", "night"]}
    shapes = {name: a.shape for name, a in onnx_inputs(fitted, table, future=future).items()}
    assert shapes == {"context": (1, 8, 2), "past": (1, 8, 1), "known": (1, 15, 4)}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A graph that is quick to make, and its forecaster."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    fitted = small(depth=0, quantiles=(0.1, 0.5)).fit(station())
    export_onnx(fitted, path)
    return path, fitted


def test_plain_onnxruntime_needs_nothing_of_ours(exported):
    path, fitted = exported
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = with_gaps(station()).to_numpy()
    for n_windows in (1, 5):
        windows = np.stack([rows[len(rows) - 8 - i : len(rows) - i] for i in range(n_windows)])
        forecast, quantiles = session.run(["forecast", "quantiles"], {"context": windows})
        assert forecast.shape == (n_windows, 7, 2)
        assert quantiles.shape == (n_windows, 7, 2, 2)
        expected = fitted.predict(with_gaps(station())).to_numpy()
        np.testing.assert_allclose(forecast[0], expected, rtol=0, atol=1e-4)


def test_a_graph_says_what_it_is(exported):
    path, fitted = exported
    metadata = OnnxForecaster(path, fitted).metadata
    assert metadata["horizon"] == "7"
    assert metadata["context_length"] == "8"
    assert json.loads(metadata["channels"]) == ["OT", "load"]
    assert json.loads(metadata["quantiles"]) == [0.1, 0.5]
    assert metadata["freq"] == "h"


def test_an_export_leaves_one_file_and_the_forecaster_as_it_was(exported):
    path, fitted = exported
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    assert all(p.requires_grad for p in fitted.model_.parameters())


@pytest.mark.slow
def test_many_series_are_forecast_in_one_table(tmp_path):
    frames = [station(60 + i).assign(unique_id=f"s{i}").reset_index() for i in range(3)]
    panel = pd.concat(frames, ignore_index=True).rename(columns={"time": "ds"})
    fitted = small(depth=0).fit(panel)
    export_onnx(fitted, tmp_path / "model.onnx")
    got = OnnxForecaster(tmp_path / "model.onnx", fitted).predict(panel)
    expected = fitted.predict(panel)
    pd.testing.assert_frame_equal(got, expected, rtol=1e-7)
    assert set(got["unique_id"]) == {"s0", "s1", "s2"}


@pytest.mark.slow
def test_a_target_transform_is_undone_behind_the_graph(tmp_path):
    table = station()
    fitted = small(depth=0, target_transform=LogTransform()).fit(table)
    export_onnx(fitted, tmp_path / "model.onnx")
    graph = OnnxForecaster(tmp_path / "model.onnx", fitted)
    assert graph.metadata["target_transform"].startswith("LogTransform")
    assert_same(graph.predict(table), fitted.predict(table))
    context = onnx_inputs(fitted, table)["context"]
    np.testing.assert_allclose(context[0], np.log(table.to_numpy()[-8:]))


def test_a_forecaster_that_was_changed_after_fit_is_not_written(tmp_path):
    changed = small(depth=0).fit(station()).set_params(horizon=3)
    with pytest.raises(ParameterError, match="horizon was 7 in fit and is 3 now"):
        export_onnx(changed, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_graph_of_another_forecaster_is_refused(exported):
    path, _ = exported
    other = small(depth=0, horizon=5).fit(station())
    with pytest.raises(ParameterError, match="has horizon 7, but the forecaster has 5"):
        OnnxForecaster(path, other)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"calendar": ["hour_of_day"]}, r'has calendar false, but .* \["hour_of_day"\]'),
        (
            {"target_transform": LogTransform()},
            r"has target_transform none, but .* LogTransform\(\)",
        ),
    ],
)
def test_a_graph_of_the_same_shape_with_other_inputs_is_refused(exported, other, message):
    path, _ = exported
    with pytest.raises(ParameterError, match=message):
        OnnxForecaster(path, small(depth=0, quantiles=(0.1, 0.5), **other).fit(station()))


def test_a_graph_knows_its_forecaster_loaded_again(exported, tmp_path):
    path, fitted = exported
    fitted.save(tmp_path / "model")
    assert_same(OnnxForecaster(path, load_model(tmp_path / "model")).predict(), fitted.predict())


def test_a_graph_of_an_earlier_fit_is_refused(exported, tmp_path):
    path, fitted = exported
    again = small(depth=0, quantiles=(0.1, 0.5)).fit(station() * 2)
    with pytest.raises(ParameterError, match=r"another fit .* weights .* Export .* again"):
        OnnxForecaster(path, again)
    graph = onnx.load(path)
    told = {entry.key: entry.value for entry in graph.metadata_props}
    del told["learnt_sha256"]  # as earlier versions wrote it
    onnx.helper.set_model_props(graph, told)
    onnx.save(graph, tmp_path / "earlier.onnx")
    OnnxForecaster(tmp_path / "earlier.onnx", fitted)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "64-true"},
        {"target_transform": StandardScaler()},
        {"target_transform": make_pipeline(Difference(), PowerTransformer())},
        {"target_transform": FunctionTransformer(np.log, np.exp)},
    ],
    ids=["float64", "scaler", "pipeline", "one that is not saved"],
)
def test_what_was_learnt_has_a_checksum_that_a_load_does_not_change(options, tmp_path):
    table = station()
    fitted, again = (small(depth=0, **options).fit(table) for _ in range(2))
    known = learnt_sha256(fitted)
    assert learnt_sha256(again) == known
    if isinstance(options.get("target_transform"), StandardScaler):
        again.target_transform_.steps[0].mean_ += 1
    else:
        again.model_.head.typical_level += 1
    assert learnt_sha256(again) != known
    if not isinstance(options.get("target_transform"), FunctionTransformer):
        fitted.save(tmp_path / "model")
        assert learnt_sha256(load_model(tmp_path / "model")) == known


def test_another_estimator_has_no_graph(exported):
    path, _ = exported
    baseline = LinearForecaster(horizon=7, context_length=8).fit(station())
    with pytest.raises(ParameterError, match="got a LinearForecaster"):
        OnnxForecaster(path, baseline)


@pytest.mark.parametrize("content", [b"", b"hello", None], ids=["empty", "text", "half a graph"])
def test_a_file_that_is_no_graph_gets_a_sentence(exported, tmp_path, content):
    path, fitted = exported
    whole = path.read_bytes()
    (tmp_path / "bad.onnx").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(SavedModelError, match=r"onnxruntime cannot load .*bad\.onnx.*again"):
        OnnxForecaster(tmp_path / "bad.onnx", fitted)


def test_a_path_that_cannot_be_written_is_refused_before_the_graph_is_made(exported, tmp_path):
    _, fitted = exported
    with pytest.raises(ParameterError, match=r"is a folder; expected a file"):
        export_onnx(fitted, tmp_path)
    with pytest.raises(ParameterError, match=r"lies in .*graphs', no folder; expected a file"):
        export_onnx(fitted, tmp_path / "graphs" / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_what_a_graph_says_may_be_numbers_of_numpy(exported):
    _, fitted = exported
    odd = small(depth=0, horizon=np.int64(7), calendar=np.False_).fit(station())
    assert describe(odd) == describe(fitted)


def test_quantiles_that_were_not_trained_are_refused(tmp_path):
    fitted = small(depth=0).fit(station())
    with pytest.raises(ParameterError, match="trained for a point forecast only"):
        export_onnx(fitted, tmp_path / "model.onnx", quantiles=[0.1])
    assert not list(tmp_path.iterdir())


def test_quantiles_that_are_not_in_the_graph_are_refused(exported):
    path, fitted = exported
    with pytest.raises(ParameterError, match=r"quantiles \[0.3\] are not in the graph"):
        OnnxForecaster(path, fitted).predict(quantiles=[0.3])


def test_a_level_that_differs_by_rounding_is_the_one_in_the_graph(exported):
    path, fitted = exported
    levels = [0.3 - 0.2, 0.5]
    assert levels[0] != 0.1
    got = OnnxForecaster(path, fitted).predict(quantiles=levels)
    assert_same(got, fitted.predict(quantiles=levels))


def test_a_baseline_is_refused(tmp_path):
    fitted = LinearForecaster(horizon=7, context_length=32).fit(station())
    with pytest.raises(ParameterError, match="got LinearForecaster"):
        export_onnx(fitted, tmp_path / "model.onnx")


@pytest.mark.parametrize("level", [1e-4, 0.05, 0.5, 0.9])
def test_quantiles_of_students_t_are_a_polynomial(level):
    freedom = 2 + np.logspace(-6, 6, 301)
    (coefficients,) = polynomials((level,))
    got = np.polynomial.Chebyshev(coefficients, domain=[0, 0.5])(1 / freedom)
    np.testing.assert_allclose(got, student_t.ppf(level, freedom), rtol=1e-11, atol=1e-12)


@pytest.mark.filterwarnings("ignore::FutureWarning:copyreg")  # torch's own, of its own tree
@pytest.mark.parametrize("season", [0, 5])
def test_gaps_are_filled_alike_where_a_graph_is_traced(season):
    class Fill(torch.nn.Module):
        def forward(self, series, observed):
            filled = fill_gaps(torch.where(observed, series, 0.0), observed, season)
            return filled.forward, filled.between

    series = torch.arange(3 * 23.0).reshape(3, 23).sin()
    observed = torch.rand(3, 23, generator=torch.Generator().manual_seed(0)) > 0.6
    traced = torch.export.export(Fill().eval(), (series, observed), strict=False).module()
    for got, expected in zip(traced(series, observed), Fill()(series, observed), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
