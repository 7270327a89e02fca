"""A panel with everything that a forecaster may read, and a model of it, for bulk scoring."""

import numpy as np
import pandas as pd
from tiny_fits import tiny

from titans_ts.preprocessing import SeriesScaler

KEY = ["unique_id", "ds"]
N_SERIES = 13


def panel(n_series=N_SERIES, shortest=61, horizon=7):
    """Series of different lengths, and the covariates of the steps after each.

    Returns
    -------
    X, future : DataFrame
    """
    rng = np.random.default_rng(0)
    rows, ahead = [], []
    for number in range(n_series):
        n = shortest + number
        time = pd.date_range("2024-03-01", periods=n + horizon, freq="h")
        price = rng.uniform(1.0, 2.0, n + horizon).round(3)
        load = (10.0 + number) * (np.sin(np.arange(n) / 3.0) + price[:n])
        known = {"unique_id": f"meter {number}", "ds": time, "price": price}
        kind = ["house", "shop"][number % 2]
        rows.append(pd.DataFrame({**known, "kind": kind})[:n].assign(y=load))
        ahead.append(pd.DataFrame(known)[n:])
    return pd.concat(rows, ignore_index=True), pd.concat(ahead, ignore_index=True)


def rich_model(X):
    """With quantiles, covariates of all kinds, a calendar, and scales of each series."""
    return tiny(
        variant="mac",
        quantiles=[0.1, 0.5, 0.9],
        target="y",
        future_covariates="price",
        static_covariates="kind",
        calendar=["hour_of_day"],
        target_transform=SeriesScaler(),
    ).fit(X)


def in_order(table):
    return table.sort_values(KEY, ignore_index=True)
