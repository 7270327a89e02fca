"""Sets of series with covariates: parts, copies, joins, blocks, and the stores below them."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from titans_ts.data.moments import channel_scale, moments, pooled_moments, table_moments
from titans_ts.data.series import SeriesSet
from titans_ts.data.store import ArrayStore, FileStore, JoinedStore, PlacedStore, is_all_true
from titans_ts.data.windows import cut_windows

LENGTHS, AHEAD = (7, 3, 11, 5), 2


def plain(lengths, n_columns, seed=0, missing=0.3, prefix="c"):
    """A set of random numbers, some missing."""
    rng = np.random.default_rng(seed)
    rows = sum(lengths)
    observed = rng.random((rows, n_columns)) >= missing
    values = np.where(observed, rng.normal(size=(rows, n_columns)), 0.0)
    names = tuple(f"{prefix}{i}" for i in range(n_columns))
    return SeriesSet.from_rows(values, observed, np.cumsum([0, *lengths]), names)


def full(lengths=LENGTHS, ahead=AHEAD, seed=0):
    """A set with covariates of every kind; what is known reaches ``ahead`` rows further."""
    bare = plain(lengths, 3, seed)
    return SeriesSet(
        bare.store,
        bare.starts,
        bare.lengths,
        bare.channels,
        past=plain(lengths, 2, seed + 1, prefix="p"),
        known=plain([n + ahead for n in lengths], 1, seed + 2, prefix="k"),
        static=np.arange(2.0 * len(lengths)).reshape(-1, 2) + seed,
        ids=tuple(f"s{i}" for i in range(len(lengths))),
    )


def rows_of(series, i):
    """Values of one series, NaN where missing."""
    one = series.select(np.array([i]))
    return np.where(one.observed, one.values, np.nan)


def assert_rows(series, i, expected):
    np.testing.assert_array_equal(rows_of(series, i), expected)


# -- parts ----------------------------------------------------------------------------------------


def test_select_takes_everything_that_belongs_to_a_series_along():
    data = full()
    part = data.select(np.array([2, 0]))
    assert part.ids == ("s2", "s0")
    assert part.static.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    for new, old in enumerate([2, 0]):
        for name in ("past", "known"):
            assert_rows(getattr(part, name), new, rows_of(getattr(data, name), old))
        assert_rows(part, new, rows_of(data, old))


def test_a_tail_keeps_what_is_known_beyond_its_end_and_a_head_does_not():
    data = full()
    head, tail = data.head(data.lengths - 2), data.tail(np.full(4, 4))
    assert head.known.lengths.tolist() == (data.lengths - 2).tolist()
    assert tail.known.lengths.tolist() == [4 + AHEAD, 3 + AHEAD, 4 + AHEAD, 4 + AHEAD]
    for i, n in enumerate(LENGTHS):
        assert_rows(head.known, i, rows_of(data.known, i)[: n - 2])
        assert_rows(tail.known, i, rows_of(data.known, i)[-4 - AHEAD :])
        assert_rows(tail.past, i, rows_of(data.past, i)[-4:])


def test_a_copy_of_a_part_shares_neither_covariates_nor_rows():
    data = full().tail(np.array([2, 3, 2, 5]))
    copy = data.copy()
    for i in range(4):
        assert_rows(copy, i, rows_of(data, i))
        assert_rows(copy.past, i, rows_of(data.past, i))
        assert_rows(copy.known, i, rows_of(data.known, i))
    for mine, other in ((copy, data), (copy.past, data.past), (copy.known, data.known)):
        assert not np.shares_memory(mine.store.values, other.store.values)
    assert not np.shares_memory(copy.static, data.static)
    # Only the rows of the part are kept, not those of the whole.
    assert copy.store.shape == (12, 3)


def test_rows_that_follow_are_joined_series_by_series():
    data, later = full(), full((2, 5, 3, 1), ahead=4, seed=10)
    both = data.followed_by(later)
    assert both.lengths.tolist() == [9, 8, 14, 6]
    for i in range(4):
        assert_rows(both, i, np.concatenate([rows_of(data, i), rows_of(later, i)]))
        assert_rows(both.past, i, np.concatenate([rows_of(data.past, i), rows_of(later.past, i)]))
        # Beyond its end, the first part said what the second now says itself.
        known = rows_of(data.known, i)[:-AHEAD], rows_of(later.known, i)
        assert_rows(both.known, i, np.concatenate(known))
    assert both.ids == data.ids
    np.testing.assert_array_equal(both.static, data.static)


def test_columns_stand_beside_those_of_another_set_row_by_row():
    left, right = plain((7, 3), 2), plain((5, 9), 1, seed=3, prefix="r")
    # Parts, whose rows begin anywhere in their stores.
    both = left.tail(np.array([6, 2])).beside(right.tail(np.array([4, 9])))
    assert both.lengths.tolist() == [4, 2]
    assert both.channels == ("c0", "c1", "r0")
    for i, n in enumerate([4, 2]):
        beside = [rows_of(left, i)[1 : 1 + n], rows_of(right, i)[1 - i : 1 - i + n]]
        assert_rows(both, i, np.concatenate(beside, axis=1))


# -- blocks ---------------------------------------------------------------------------------------


@given(
    lengths=st.lists(st.integers(0, 13), min_size=1, max_size=7),
    order=st.randoms(use_true_random=False),
    max_rows=st.integers(1, 17),
)
@settings(deadline=None, max_examples=60)
def test_blocks_are_all_rows_in_pieces_that_are_small(lengths, order, max_rows):
    data = plain(lengths, 2)
    series = list(range(len(lengths)))
    order.shuffle(series)
    data = data.select(np.array(series))
    seen = [[np.empty((0, 2))] for _ in lengths]
    for block in data.blocks(max_rows):
        assert len(block.values) <= max_rows
        assert block.offsets[-1] == len(block.values)
        values = np.where(block.observed, block.values, np.nan)
        for number, i in enumerate(block.series):
            seen[i].append(values[block.offsets[number] : block.offsets[number + 1]])
    for i in range(len(lengths)):
        np.testing.assert_array_equal(np.concatenate(seen[i]), rows_of(data, i))


# -- stores ---------------------------------------------------------------------------------------


def stores(tmp_path):
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(23, 5)).astype("<f4")
    raw[rng.random(raw.shape) < 0.2] = np.nan
    with open(tmp_path / "rows", "wb") as file:
        file.write(b"header!")
        file.write(raw.tobytes())
    values, observed = np.nan_to_num(raw).astype(float), ~np.isnan(raw)
    array = ArrayStore(values, observed)
    lengths, places = np.array([4, 0, 6, 7]), np.array([3, 9, 3, 16])
    pick = np.concatenate([np.arange(p, p + n) for p, n in zip(places, lengths, strict=True)])
    return {
        "array": (array, values, observed),
        "array by column": (array.by_column(), values, observed),
        "part of a wider array": (
            ArrayStore(values[:, 1:4], observed[:, 1:4]),
            values[:, 1:4],
            observed[:, 1:4],
        ),
        "complete": (
            ArrayStore(values, np.broadcast_to(np.True_, values.shape)),
            values,
            np.ones(values.shape, dtype=bool),
        ),
        "file": (FileStore(tmp_path / "rows", "<f4", 23, 5, skip=7), values, observed),
        "some columns of a file": (
            FileStore(tmp_path / "rows", "<f4", 23, 5, skip=7, columns=(4, 1, 2)),
            values[:, [4, 1, 2]],
            observed[:, [4, 1, 2]],
        ),
        "placed": (PlacedStore(array, lengths, places), values[pick], observed[pick]),
        "joined": (
            JoinedStore((array, ArrayStore(values[:, :2] + 1, observed[:, :2]))),
            np.concatenate([values, values[:, :2] + 1], axis=1),
            np.concatenate([observed, observed[:, :2]], axis=1),
        ),
    }


every_store = pytest.mark.parametrize(
    "name",
    [
        "array",
        "array by column",
        "part of a wider array",
        "complete",
        "file",
        "some columns of a file",
        "placed",
        "joined",
    ],
)


@every_store
def test_stores_give_the_same_rows_however_they_are_asked(name, tmp_path):
    store, values, observed = stores(tmp_path)[name]
    assert store.shape == values.shape
    rng = np.random.default_rng(1)
    rows = rng.integers(len(values), size=(7, 3))
    columns = rng.integers(values.shape[1], size=7)
    for found, expected in zip(store.take(rows), (values, observed), strict=True):
        np.testing.assert_array_equal(found, expected[rows])
    for found, expected in zip(store.take(rows, columns), (values, observed), strict=True):
        np.testing.assert_array_equal(found, expected[rows[..., None], columns[:, None, None]])
    for start, stop in ((0, len(values)), (3, 11), (5, 5)):
        for found, expected in zip(store.read(start, stop), (values, observed), strict=True):
            np.testing.assert_array_equal(found, expected[start:stop])
    assert store.take(rows)[0].dtype == np.float64


@every_store
@pytest.mark.parametrize("length", [1, 3, 11, 17])
def test_windows_of_a_store_are_its_rows_one_after_another(name, length, tmp_path):
    store, values, observed = stores(tmp_path)[name]
    rng = np.random.default_rng(length)
    starts = rng.integers(len(values) - length + 1, size=7)
    starts[:2] = 0, len(values) - length  # the first and the last that there are
    rows = starts[:, None] + np.arange(length)
    columns = rng.integers(values.shape[1], size=7)
    for found, expected in zip(store.windows(starts, length), (values, observed), strict=True):
        np.testing.assert_array_equal(found, expected[rows])
    one_each = store.windows(starts, length, columns)
    for found, expected in zip(one_each, (values, observed), strict=True):
        np.testing.assert_array_equal(found, expected[rows[..., None], columns[:, None, None]])
    assert one_each[0].dtype == np.float64
    one_each[0][:] = 7  # a copy, never the rows themselves
    np.testing.assert_array_equal(store.read(0, len(values))[0], values)


@every_store
def test_no_windows_of_a_store_are_an_empty_array_of_the_right_shape(name, tmp_path):
    store, values, _ = stores(tmp_path)[name]
    none = np.empty(0, dtype=int)
    assert [x.shape for x in store.windows(none, 5)] == [(0, 5, values.shape[1])] * 2
    assert [x.shape for x in store.windows(none, 5, none)] == [(0, 5, 1)] * 2


def test_a_window_past_the_end_of_the_rows_is_an_error_and_never_other_memory(tmp_path):
    for name in ("array", "array by column", "complete", "part of a wider array"):
        store, values, _ = stores(tmp_path)[name]
        for start, length in ((len(values) - 2, 3), (0, len(values) + 1)):
            with pytest.raises((IndexError, ValueError)):
                store.windows(np.array([start]), length)
            with pytest.raises((IndexError, ValueError)):
                store.windows(np.array([start]), length, np.array([0]))


@every_store
def test_a_store_lends_no_mask_that_takes_memory_where_all_is_observed(name, tmp_path):
    store, _, observed = stores(tmp_path)[name]
    _, found = store.windows(np.array([0, 1]), 3)
    assert is_all_true(found) == (name == "complete")
    assert not is_all_true(np.ones((2, 3, 5), dtype=bool))  # known without a look, that is
    assert not is_all_true(np.broadcast_to(np.False_, (2, 3)))
    assert not is_all_true(np.broadcast_to(np.float64(1), (2, 3)))
    assert not observed.all() or name == "complete"


def test_windows_carry_covariates_of_their_own_rows_and_series():
    data = full()
    series, origins = np.array([2, 0, 2]), np.array([8, 2, 11])
    cut = cut_windows(data, series, origins, context_length=5, horizon=2)
    for w, (i, origin) in enumerate(zip(series, origins, strict=True)):
        wanted = {
            "context": (rows_of(data, i), -5, 0),
            "target": (rows_of(data, i), 0, 2),
            "past": (rows_of(data.past, i), -5, 0),
            "known": (rows_of(data.known, i), -5, 2),
        }
        for name, (rows, first, last) in wanted.items():
            part = np.full((last - first, rows.shape[1]), np.nan)
            for step in range(first, last):
                if 0 <= origin + step < len(rows):
                    part[step - first] = rows[origin + step]
            mask = {"context": "context_observed", "target": "target_observed"}.get(name)
            mask = getattr(cut, mask or f"{name}_observed")[w]
            np.testing.assert_array_equal(np.where(mask, getattr(cut, name)[w], np.nan), part)
            assert (getattr(cut, name)[w][~mask] == 0).all()
        np.testing.assert_array_equal(cut.static[w], data.static[i])


def test_one_channel_of_each_window_still_has_all_covariates():
    data = full()
    series, origins, channels = np.array([2, 3]), np.array([8, 4]), np.array([1, 2])
    whole = cut_windows(data, series, origins, 5, 2)
    one = cut_windows(data, series, origins, 5, 2, channels)
    for w, channel in enumerate(channels):
        np.testing.assert_array_equal(one.context[w, :, 0], whole.context[w, :, channel])
    np.testing.assert_array_equal(one.known, whole.known)
    np.testing.assert_array_equal(one.past, whole.past)


# -- moments --------------------------------------------------------------------------------------


@given(
    lengths=st.lists(st.integers(0, 13), min_size=1, max_size=5),
    level=st.sampled_from([0.0, -3.0, 1e6]),
    missing=st.sampled_from([0.0, 0.4, 1.0]),
)
@example(lengths=[2, 0, 3, 0], level=1.0, missing=0.0)  # empty ones between and behind
@settings(deadline=None, max_examples=60)
def test_moments_are_those_of_the_observed_rows_of_each_series(lengths, level, missing):
    bare = plain(lengths, 2, missing=missing)
    values = np.where(bare.observed, bare.values + level, 0.0)
    data = SeriesSet.from_rows(values, bare.observed, bare.offsets, bare.channels)
    found = moments(data)
    for i in range(len(lengths)):
        for c in range(2):
            column = rows_of(data, i)[:, c]
            column = column[~np.isnan(column)]
            assert found.n_observed[i, c] == len(column)
            if len(column):
                assert found.mean[i, c] == pytest.approx(column.mean(), rel=1e-12)
                assert found.variance[i, c] == pytest.approx(column.var(), rel=1e-9, abs=1e-12)
                assert found.largest[i, c] == np.abs(column).max()
            else:
                assert found.mean[i, c] == found.variance[i, c] == 0.0


def test_moments_do_not_depend_on_how_many_rows_are_held(monkeypatch):
    data = plain((29, 2, 31), 3)
    whole = moments(data)
    monkeypatch.setattr("titans_ts.data.series.BLOCK_VALUES", 21)
    for part, expected in zip(moments(data), whole, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-12, atol=1e-15)


def test_pooled_moments_are_those_of_all_rows_together():
    data = plain((29, 2, 31), 3)
    rows = np.where(data.observed, data.values, np.nan)
    mean, scale = pooled_moments(moments(data))
    np.testing.assert_allclose(mean, np.nanmean(rows, axis=0))
    np.testing.assert_allclose(scale, np.nanstd(rows, axis=0))


def test_a_column_that_never_changes_or_is_never_seen_keeps_its_unit():
    table = np.array([[5.0, np.nan, 1.0], [5.0, np.nan, 3.0], [np.nan, np.nan, 5.0]])
    mean, scale = table_moments(table)
    assert mean.tolist() == [5.0, 0.0, 3.0]
    assert scale.tolist() == pytest.approx([1.0, 1.0, np.sqrt(8 / 3)])


def test_every_series_is_measured_by_its_own_spread():
    rng = np.random.default_rng(0)
    small, large = rng.normal(size=(41, 1)), 1e6 * rng.normal(size=(37, 1))
    scale = channel_scale(moments(SeriesSet.from_arrays([small, large], ("a",))))
    np.testing.assert_allclose(scale, [[small.std()], [large.std()]])


def test_a_series_that_hardly_moves_does_not_outweigh_the_others():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(41, 1))
    scale = channel_scale(moments(SeriesSet.from_arrays([noise, 5 + 1e-6 * noise], ("a",))))
    assert scale[1, 0] == pytest.approx(1e-3 * noise.std() / np.sqrt(2))


def test_a_series_that_cannot_tell_its_spread_gets_that_of_all():
    wave = np.array([[1.0], [3.0]] * 10)
    series = [wave, np.full((19, 1), 7.0), np.array([[100.0]])]
    scale = channel_scale(moments(SeriesSet.from_arrays(series, ("a",))))
    pooled = np.sqrt(20 * 1.0 / 40)  # within series: their levels are no spread
    np.testing.assert_allclose(scale[:, 0], [1.0, pooled, pooled])


@pytest.mark.parametrize(("level", "scale"), [(7.0, 7.0), (0.0, 1.0)])
def test_series_that_are_all_constant_are_measured_by_their_size(level, scale):
    data = SeriesSet.from_arrays([np.full((11, 1), level)] * 2, ("a",))
    assert channel_scale(moments(data)).tolist() == [[scale], [scale]]
