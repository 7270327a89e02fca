"""Transformers of tables of series, each a scikit-learn transformer; numpy and pandas, no torch."""

from titans_ts.preprocessing.difference import Difference
from titans_ts.preprocessing.scaling import SeriesScaler
from titans_ts.preprocessing.target import TargetTransform

__all__ = ["Difference", "SeriesScaler", "TargetTransform"]
