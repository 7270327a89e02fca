"""Random panels, for the tests of transformers."""

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

LEVELS = (0.0, 1.0, -37.0, 1e6, -1e9)


@st.composite
def series_of_values(draw, *, positive=False, channels=2, shortest=1, longest=23):
    """An array of shape (time, channels): noise on a level, constants, and NaN anywhere."""
    time = draw(st.integers(shortest, longest))
    noise = draw(arrays(float, (time, channels), elements=st.floats(-1.0, 1.0, width=32)))
    scale = draw(st.sampled_from([0.0, 1e-3, 1.0, 1e4]))
    level = draw(st.sampled_from(LEVELS))
    values = level + scale * noise
    if positive:
        values = 0.5 + np.abs(scale) * (noise + 1.0)
    missing = draw(arrays(bool, (time, channels), elements=st.booleans()))
    share = draw(st.sampled_from([0, 1]))
    return np.where(missing & (share == 1), np.nan, values)


@st.composite
def panels(draw, **kwargs):
    """Several such arrays by id."""
    ids = draw(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, unique=True))
    return {name: draw(series_of_values(**kwargs)) for name in ids}


def long_frame(panel, start="2024-03-30", freq="h"):
    """A panel as a long frame, one series below the other."""
    parts = [
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range(start, periods=len(values), freq=freq),
                **{f"y{i}": column for i, column in enumerate(values.T)},
            }
        )
        for name, values in panel.items()
    ]
    return pd.concat(parts, ignore_index=True)


def deviation(back, there):
    """Largest difference, in units of the largest value; both are missing where one is."""
    back, there = np.asarray(back, float), np.asarray(there, float)
    np.testing.assert_array_equal(np.isnan(back), np.isnan(there))
    if np.isnan(there).all():
        return 0.0
    largest = np.nanmax(np.abs(there))
    return float(np.nanmax(np.abs(back - there)) / largest) if largest else np.nanmax(np.abs(back))
