"""Forecasts as an ONNX graph, which runs without Python and torch; needs the extra ``onnx``."""

from titans_ts.onnx.inputs import onnx_inputs
from titans_ts.onnx.session import OnnxForecaster
from titans_ts.onnx.writing import export_onnx

__all__ = ["OnnxForecaster", "export_onnx", "onnx_inputs"]
