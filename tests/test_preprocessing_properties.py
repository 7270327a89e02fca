"""What holds of the transformers for any panel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panels import deviation, long_frame, panels, series_of_values

from titans_ts.preprocessing import (
    BoxCoxTransform,
    Difference,
    FillGaps,
    Impute,
    LogTransform,
    SeriesScaler,
    WindowTransformer,
)

ANY = [
    SeriesScaler(method="standard"),
    SeriesScaler(method="robust"),
    SeriesScaler(method="minmax"),
    LogTransform(),
    Difference(),
    Difference(lag=5),
    Difference(lag=2, order=3),
]
POSITIVE = [
    LogTransform(offset=1),
    BoxCoxTransform(),
    BoxCoxTransform(lmbda=0),
    BoxCoxTransform(lmbda=0.5),
    BoxCoxTransform(lmbda=-0.5, offset=1),
]
quick = settings(max_examples=25, deadline=None, derandomize=True)
numbers = ["y0", "y1"]


@pytest.mark.parametrize("transformer", ANY, ids=repr)
@quick
@given(panel=panels())
def test_any_panel_comes_back(transformer, panel):
    X = long_frame(panel)
    back = transformer.fit(X).inverse_transform(transformer.transform(X))
    assert back.drop(columns=numbers).equals(X.drop(columns=numbers))
    # A learnt offset is that of all series, and values far below it share its digits.
    by = [0] * len(X) if isinstance(transformer, LogTransform) else X["unique_id"]
    for name, rows in X.groupby(by):
        for column in numbers:
            assert deviation(back.loc[rows.index, column], rows[column]) <= 1e-12, name


@pytest.mark.parametrize("transformer", POSITIVE, ids=repr)
@quick
@given(panel=panels(positive=True))
def test_a_panel_of_positive_values_comes_back(transformer, panel):
    X = long_frame(panel)
    back = transformer.fit(X).inverse_transform(transformer.transform(X))
    for column in numbers:
        assert deviation(back[column], X[column]) <= 1e-12


@pytest.mark.parametrize("transformer", [*ANY, Impute(), Impute(method="forward")], ids=repr)
@quick
@given(panel=panels(), random=st.randoms(use_true_random=False))
def test_rows_in_any_order_give_the_same_values(transformer, panel, random):
    X = long_frame(panel)
    order = list(range(len(X)))
    random.shuffle(order)
    shuffled = transformer.fit(X.iloc[order]).transform(X.iloc[order])
    expected = transformer.fit(X).transform(X)
    # Sums over the whole table, for series that are not there yet, are taken in another order.
    np.testing.assert_allclose(shuffled.sort_index()[numbers], expected[numbers], rtol=1e-9)


@pytest.mark.parametrize(
    "transformer",
    [*ANY[:3], *ANY[4:], Impute(), Impute(method="seasonal", season_length=3), FillGaps()],
    ids=repr,
)
@quick
@given(panel=panels(shortest=3), other=series_of_values(shortest=3))
def test_a_series_does_not_depend_on_those_beside_it(transformer, panel, other):
    name, values = next(iter(panel.items()))
    if np.isnan(values).all(axis=0).any():
        values = np.nan_to_num(values)  # of which the others would tell the scale
    alone = long_frame({name: values})
    together = long_frame({**panel, "z": other, name: values})
    expected = transformer.fit(alone).transform(alone)
    found = transformer.fit(together).transform(together)
    found = found[found["unique_id"] == name]
    np.testing.assert_allclose(found[numbers], expected[numbers], rtol=1e-12, atol=1e-12)


@quick
@given(
    values=series_of_values(shortest=11),
    context_length=st.integers(1, 11),
    stride=st.integers(1, 3),
)
def test_windows_rebuild_the_series_that_they_reach(values, context_length, stride):
    windows = WindowTransformer(context_length=context_length, stride=stride).fit(values)
    back = windows.inverse_transform(windows.transform(values))
    reached = np.zeros(len(values), dtype=bool)
    for start in range(0, len(values) - context_length + 1, stride):
        reached[start : start + context_length] = True
    np.testing.assert_array_equal(back[reached], values[reached])
    assert np.isnan(back[~reached]).all()


@quick
@given(values=series_of_values(shortest=2), data=st.data())
def test_rows_that_were_dropped_are_found_again_as_missing(values, data):
    X = long_frame({"a": values})
    inner = st.lists(st.integers(1, max(len(X) - 2, 1)), unique=True, max_size=5)
    gone = [row for row in data.draw(inner) if 0 < row < len(X) - 1]
    found = FillGaps(freq="h").fit_transform(X.drop(index=gone))
    assert found["ds"].tolist() == X["ds"].tolist()
    expected = values.copy()
    expected[gone] = np.nan
    np.testing.assert_array_equal(found[numbers], expected)
