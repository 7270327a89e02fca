"""An ensemble whose fit takes a moment, and rows for it."""

import pandas as pd
from tiny_fits import waves

from titans_ts import Difference, EnsembleForecaster, RidgeForecaster

HORIZON = 5
SHARES = (0.25, 0.75)


def ridge(context_length=29, **options):
    return RidgeForecaster(horizon=HORIZON, context_length=context_length, **options)


def pair(**options):
    """Two members that differ in context and transform; the shorter context reaches further."""
    first = ridge(29, **options)
    second = ridge(19, target_transform=Difference(lag=23), **options)
    return EnsembleForecaster([("long", first), ("short", second)], weights=[1, 3])


def frame(n=211):
    time = pd.date_range("2024-03-30", periods=n, freq="h", tz="Europe/Paris", name="time")
    return pd.DataFrame(waves(n), columns=["OT", "HUFL"], index=time)
