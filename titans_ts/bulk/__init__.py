"""Bulk scoring: a saved forecaster and a panel larger than one machine, on Dask."""

from titans_ts.bulk.forecasts import bulk_predict, find_faults

__all__ = ["bulk_predict", "find_faults"]
