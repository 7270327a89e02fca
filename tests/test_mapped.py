"""Memory-mapped arrays are read as the arrays they are, and stay on disk."""

import tracemalloc

import numpy as np
import pytest

from titans_ts import RidgeForecaster
from titans_ts.data import mapped as mapping
from titans_ts.data.schema import read_table
from titans_ts.data.store import ArrayStore, FileStore
from titans_ts.data.windows import WindowIndex
from titans_ts.errors import DataError


def mapped(path, shape, dtype="float64", *, header=0, mode="r"):
    values = np.random.default_rng(0).normal(size=shape).astype(dtype)
    values.reshape(-1)[[7, 40]] = np.nan
    path.write_bytes(b"x" * header + values.tobytes())
    return np.memmap(path, dtype, mode, offset=header, shape=shape), values


def same(ours, theirs):
    (series, layout), (others, other_layout) = ours, theirs
    assert layout == other_layout
    np.testing.assert_array_equal(series.lengths, others.lengths)
    np.testing.assert_array_equal(series.values, others.values)
    np.testing.assert_array_equal(series.observed, others.observed)


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4"])
@pytest.mark.parametrize("shape", [(53, 3), (5, 29, 3)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("header", [0, 24, 5000])
def test_a_map_is_read_as_the_array_and_stays_in_its_file(tmp_path, shape, dtype, header):
    X, values = mapped(tmp_path / "X", shape, dtype, header=header)
    series, layout = read_table(X)
    assert isinstance(series.store, FileStore)
    same((series, layout), read_table(values))


@pytest.mark.parametrize(
    "part",
    [
        lambda X: X[11:],
        lambda X: X[11:40],
        lambda X: X[3:][4:],
        lambda X: X[:, :],
        lambda X: X[5:6],
    ],
    ids=["from a row on", "between rows", "twice", "everything", "one row"],
)
def test_a_part_of_a_map_starts_at_its_own_rows(tmp_path, part):
    X, values = mapped(tmp_path / "X", (53, 3), header=16)
    series, layout = read_table(part(X))
    assert isinstance(series.store, FileStore)
    same((series, layout), read_table(part(values)))


@pytest.mark.parametrize(
    ("change", "mode"),
    [
        # Of these the file holds other numbers, or more, than the array.
        (lambda X: X[:, 1:], "r"),
        (lambda X: X[::2], "r"),
        (lambda X: X.T, "r"),
        (lambda X: X + 1, "r"),
        (lambda X: X, "c"),
    ],
    ids=["some columns", "every second row", "turned", "computed", "copy on write"],
)
def test_what_is_not_rows_of_the_file_is_read_into_memory(tmp_path, change, mode):
    X, values = mapped(tmp_path / "X", (53, 3), mode=mode)
    if mode == "c":
        X[2] = values[2] = 9.0  # in memory, not in the file
    series, layout = read_table(change(X))
    assert isinstance(series.store, ArrayStore)
    same((series, layout), read_table(change(values)))


def test_infinities_and_empty_columns_are_found_in_a_map(tmp_path):
    X, _ = mapped(tmp_path / "X", (5, 29, 3), mode="r+")
    X[3, 17, 2] = np.inf
    with pytest.raises(DataError, match=r"Column 2 has 1 infinite value .* in series 3, row 17"):
        read_table(X)
    X[3, 17, 2] = 0.0
    X[..., 1] = np.nan
    with pytest.raises(DataError, match=r"Column 1 has no values: all of its 145 rows are missing"):
        read_table(X)


def test_windows_of_a_map_are_those_of_the_array(tmp_path):
    X, values = mapped(tmp_path / "X", (53, 3), "float32")
    cuts = [
        WindowIndex(read_table(table)[0], 13, 5).cut(np.array([30, 3, 17]), channels)
        for table in (X, values)
        for channels in (None, np.array([2, 0, 1]))
    ]
    for ours, theirs in zip(cuts[:2], cuts[2:], strict=True):
        np.testing.assert_array_equal(ours.context, theirs.context)
        np.testing.assert_array_equal(ours.target_observed, theirs.target_observed)


def test_rows_far_apart_come_as_they_are_asked_for(tmp_path):
    X, values = mapped(tmp_path / "X", (5003, 3), "float32")
    series, _ = read_table(X)
    # Far more jumps than pages are held for, back and forth.
    rows = np.random.default_rng(1).integers(5003, size=(7, 1501))
    expected, observed = read_table(values)[0].store.take(rows)
    ours = series.store.take(rows)
    np.testing.assert_array_equal(ours[0], expected)
    np.testing.assert_array_equal(ours[1], observed)
    channel = np.array([2, 0, 1, 1, 0, 2, 2])
    ours = series.store.take(rows, channel)
    np.testing.assert_array_equal(ours[0][..., 0], expected[np.arange(7), :, channel])


def test_a_map_is_read_without_loading_it(tmp_path, monkeypatch):
    monkeypatch.setattr(mapping, "CHECK_VALUES", 10_000)
    X, _ = mapped(tmp_path / "X", (400_009, 1))
    tracemalloc.start()
    series, _ = read_table(X)
    WindowIndex(series, 53, 11).cut(np.arange(300_000, 300_017))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000  # of 3,200,072 bytes


def test_forecasts_from_a_map_are_those_from_the_array(tmp_path):
    X, values = mapped(tmp_path / "X", (211, 3))
    make = {"horizon": 5, "context_length": 23}
    ours, theirs = RidgeForecaster(**make).fit(X), RidgeForecaster(**make).fit(values)
    np.testing.assert_array_equal(ours.predict(), theirs.predict())
    assert ours.score(X) == theirs.score(values)
