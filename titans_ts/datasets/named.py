"""The best known data sets as functions of their own.

``fetch_*`` downloads where there is no copy; ``load_*`` reads what comes with the package.
"""

from __future__ import annotations

from typing import Unpack

from titans_ts.datasets.dataset import Dataset
from titans_ts.datasets.fetching import FetchOptions, fetch, load

__all__ = [
    "fetch_electricity",
    "fetch_etth1",
    "fetch_etth2",
    "fetch_ettm1",
    "fetch_ettm2",
    "fetch_exchange_rate",
    "fetch_national_illness",
    "fetch_traffic",
    "fetch_weather",
    "load_bike_sharing",
    "load_epf_prices",
    "load_national_illness",
]


def fetch_etth1(**options: Unpack[FetchOptions]) -> Dataset:
    """ETTh1: loads and oil temperature of a transformer, hourly; ``fetch("etth1", **options)``."""
    return fetch("etth1", **options)


def fetch_etth2(**options: Unpack[FetchOptions]) -> Dataset:
    """ETTh2: a second transformer, hourly; ``fetch("etth2", **options)``."""
    return fetch("etth2", **options)


def fetch_ettm1(**options: Unpack[FetchOptions]) -> Dataset:
    """ETTm1: the transformer of ETTh1, every 15 minutes; ``fetch("ettm1", **options)``."""
    return fetch("ettm1", **options)


def fetch_ettm2(**options: Unpack[FetchOptions]) -> Dataset:
    """ETTm2: the transformer of ETTh2, every 15 minutes; ``fetch("ettm2", **options)``."""
    return fetch("ettm2", **options)


def fetch_electricity(**options: Unpack[FetchOptions]) -> Dataset:
    """Electricity: 321 clients, hourly, 96 MB; ``fetch("electricity", **options)``."""
    return fetch("electricity", **options)


def fetch_traffic(**options: Unpack[FetchOptions]) -> Dataset:
    """Traffic: 862 road sensors, hourly, 136 MB; ``fetch("traffic", **options)``."""
    return fetch("traffic", **options)


def fetch_weather(**options: Unpack[FetchOptions]) -> Dataset:
    """Weather: 21 measurements in Jena, every 10 minutes; ``fetch("weather", **options)``."""
    return fetch("weather", **options)


def fetch_exchange_rate(**options: Unpack[FetchOptions]) -> Dataset:
    """Exchange: eight currencies, daily; ``fetch("exchange_rate", **options)``."""
    return fetch("exchange_rate", **options)


def fetch_national_illness(**options: Unpack[FetchOptions]) -> Dataset:
    """ILI: influenza-like illness in the US, weekly; ``fetch("national_illness", **options)``."""
    return fetch("national_illness", **options)


def load_national_illness(*, raw: bool = False) -> Dataset:
    """ILI: influenza-like illness in the United States, weekly; comes with the package, whole.

    Parameters
    ----------
    raw : bool, default False
        The table as published.

    Returns
    -------
    Dataset

    Examples
    --------
    >>> from titans_ts.datasets import load_national_illness
    >>> load_national_illness().frame["OT"].iloc[:2].tolist()
    [176569, 186355]
    """
    return load("national_illness", raw=raw)


def load_bike_sharing(*, raw: bool = False) -> Dataset:
    """Bikes rented in Washington with weather and calendar, hourly; comes with the package, whole.

    Parameters
    ----------
    raw : bool, default False
        The table as published.

    Returns
    -------
    Dataset

    Examples
    --------
    >>> from titans_ts.datasets import load_bike_sharing
    >>> load_bike_sharing().roles["future_covariates"]
    ['holiday', 'workingday', 'month', 'hour', 'weekday']
    """
    return load("bike_sharing", raw=raw)


def load_epf_prices(*, raw: bool = False) -> Dataset:
    """Electricity prices of four markets with known-future covariates; comes with the package.

    Parameters
    ----------
    raw : bool, default False
        The tables as published.

    Returns
    -------
    Dataset
        ``future`` holds the covariates of the next day.

    Examples
    --------
    >>> from titans_ts.datasets import load_epf_prices
    >>> load_epf_prices().frame["unique_id"].unique().tolist()
    ['BE', 'DE', 'FR', 'NP']
    """
    return load("epf_prices", raw=raw)
