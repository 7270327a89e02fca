"""Transformers of tables of series, each a scikit-learn transformer; numpy and pandas, no torch."""

from titans_ts.preprocessing.calendar import CalendarFeatures
from titans_ts.preprocessing.difference import Difference
from titans_ts.preprocessing.gaps import FillGaps
from titans_ts.preprocessing.impute import Impute
from titans_ts.preprocessing.power import BoxCoxTransform, LogTransform
from titans_ts.preprocessing.resample import Resample
from titans_ts.preprocessing.scaling import SeriesScaler
from titans_ts.preprocessing.target import TargetTransform
from titans_ts.preprocessing.windows import WindowTransformer

__all__ = [
    "BoxCoxTransform",
    "CalendarFeatures",
    "Difference",
    "FillGaps",
    "Impute",
    "LogTransform",
    "Resample",
    "SeriesScaler",
    "TargetTransform",
    "WindowTransformer",
]
