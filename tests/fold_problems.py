"""Tables to cut into folds, and forecasters whose errors on them can be redone by hand."""

import numpy as np
import pandas as pd

from titans_ts import RidgeForecaster, RollingOriginSplit, SeasonalNaiveForecaster

HORIZON, CONTEXT = 5, 13


def wide(rows=131, channels=2):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(rows, channels)).cumsum(axis=0)
    index = pd.date_range("2024-03-28", periods=rows, freq="h", name="time", tz="Europe/Paris")
    return pd.DataFrame(values, columns=[f"c{i}" for i in range(channels)], index=index)


def nights(days=20):
    """Hours of one channel that is 0 at night, and of which no day is like another."""
    hour, day = np.arange(24 * days) % 24, np.arange(24 * days) // 24
    light = np.where((hour > 5) & (hour < 18), np.sin((hour - 6) / 12 * np.pi), 0.0)
    index = pd.date_range("2024-01-01", periods=24 * days, freq="h", name="time")
    return pd.DataFrame({"y": light * (1 + 0.3 * np.sin(day * 2.1))}, index=index)


def long(n_series=3, rows=131):
    parts = []
    for i in range(n_series):
        values = wide(rows, i + 1).to_numpy()[:, i]
        stamps = pd.date_range("2024-03-01", periods=rows, freq="h")
        frame = pd.DataFrame({"unique_id": f"s{i}", "ds": stamps, "y": values})
        parts.append(frame[2 * i : rows - 3 * i])
    joined = pd.concat(parts)
    return joined.sample(frac=1, random_state=0).reset_index(drop=True)


def naive(**options):
    """Repeats the last value: its errors can be redone by hand."""
    return SeasonalNaiveForecaster(
        **{"horizon": HORIZON, "context_length": CONTEXT, "season_length": 1, **options}
    )


def ridge(**options):
    return RidgeForecaster(
        **{"horizon": HORIZON, "context_length": CONTEXT, "alpha": 0.1, **options}
    )


def splitter(n_splits=2, **options):
    return RollingOriginSplit(n_splits, **{"horizon": 11, **options})


def errors_by_hand(values, start, end):
    """Truth less last known value, over every origin of rows start to end."""
    return np.concatenate(
        [values[o : o + HORIZON] - values[o - 1] for o in range(start, end - HORIZON + 1)]
    )


def filled(frame):
    return frame.ffill()
