"""Forecasters to beat: simple, quick, and with the API of :class:`titans_ts.TitansForecaster`."""

from titans_ts.baselines.linear import LinearForecaster
from titans_ts.baselines.ridge import RidgeForecaster
from titans_ts.baselines.seasonal import SeasonalNaiveForecaster

__all__ = ["LinearForecaster", "RidgeForecaster", "SeasonalNaiveForecaster"]
