"""TargetTransform: a forecaster's target there and back."""

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from titans_ts.data.series import SeriesSet
from titans_ts.errors import DataError, ParameterError, SavedModelError
from titans_ts.persistence.plain_json import decode, encode
from titans_ts.preprocessing import (
    BoxCoxTransform,
    CalendarFeatures,
    Difference,
    FillGaps,
    Impute,
    LogTransform,
    SeriesScaler,
    TargetTransform,
    WindowTransformer,
)

LENGTHS, CHANNELS, HORIZON, LEVELS = (29, 41), 3, 5, 7
IDS = ("north", "south")


def a_set(missing=0.0, seed=0):
    rng = np.random.default_rng(seed)
    rows = sum(LENGTHS)
    values = rng.uniform(1.0, 9.0, size=(rows, CHANNELS))
    observed = rng.random(values.shape) >= missing
    values = np.where(observed, values, 0.0)
    return SeriesSet.from_rows(values, observed, np.array([0, LENGTHS[0], rows]), ("x", "y", "z"))


KEEPING = [
    SeriesScaler(),
    LogTransform(),
    BoxCoxTransform(),
    StandardScaler(),
    RobustScaler(),
    MinMaxScaler(),
    MaxAbsScaler(),
    PowerTransformer(),
    QuantileTransformer(n_quantiles=50),
    make_pipeline(LogTransform(), StandardScaler()),
]
LOOKING_BACK = [
    Difference(),
    Difference(lag=3, order=2),
    make_pipeline(LogTransform(), Difference(lag=7)),
    make_pipeline(SeriesScaler(), Difference(lag=2), Difference(), StandardScaler()),
    Pipeline([("nothing", "passthrough"), ("inner", make_pipeline(Difference()))]),
]


def there_and_back(transformer, missing):
    """Transform all rows, and bring the last ones back as if they were a forecast."""
    series = a_set(missing)
    fitted = TargetTransform.fit(transformer, series, IDS)
    moved = fitted.forward(series, IDS)
    for i, start in enumerate(series.offsets[:-1]):
        end = series.offsets[i + 1]
        last = slice(end - HORIZON, end)
        forecast = np.where(moved.observed[last], moved.values[last], np.nan)[None]
        context = slice(start, end - HORIZON)
        back = fitted.backward(
            forecast, series.values[None, context], series.observed[None, context], (IDS[i],)
        )[0]
        known = moved.observed[last]
        np.testing.assert_allclose(back[known], series.values[last][known], rtol=1e-9)
        yield known


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("transformer", KEEPING + LOOKING_BACK, ids=repr)
def test_what_was_moved_comes_back(transformer, missing):
    known = np.concatenate(list(there_and_back(transformer, missing)))
    assert known.mean() > 0.4


def test_only_a_clone_is_fitted():
    scaler, series = StandardScaler(), a_set()
    TargetTransform.fit(make_pipeline(scaler, SeriesScaler()), series, IDS)
    assert not hasattr(scaler, "mean_")


def test_rows_without_a_history_are_left_out_of_training():
    series = a_set()
    moved = TargetTransform.fit(Difference(lag=3, order=2), series, IDS).forward(series, IDS)
    for start, end in zip(moved.offsets[:-1], moved.offsets[1:], strict=True):
        assert not moved.observed[start : start + 6].any()
        assert moved.observed[start + 6 : end].all()
    assert (moved.values[~moved.observed] == 0).all()
    assert TargetTransform.fit(LogTransform(), series, IDS).forward(series, IDS).observed.all()


@pytest.mark.parametrize("scaler", [SeriesScaler(), StandardScaler()], ids=repr)
def test_a_scaler_behind_a_difference_learns_from_differences_only(scaler):
    level = np.array([[1e6], [1e6 + 2], [1e6 + 8], [1e6 + 10]])
    series = SeriesSet.from_arrays([level], ("OT",))
    fitted = TargetTransform.fit(make_pipeline(Difference(), scaler), series, ())
    # Differences 2, 6, 2: the first row, which is a million, has none.
    moved = fitted.forward(series, ()).values[1:, 0]
    np.testing.assert_allclose(moved, np.array([-1.0, 2.0, -1.0]) / np.sqrt(2))


def test_covariates_channels_and_parts_stay():
    series = a_set()
    series = SeriesSet(
        series.store,
        series.starts,
        series.lengths,
        series.channels,
        past=a_set(seed=1),
        static=np.ones((2, 1)),
        ids=IDS,
    )
    tail = series.tail(np.array([11, 13]))
    moved = TargetTransform.fit(SeriesScaler(), series, IDS).forward(tail, IDS)
    assert moved.lengths.tolist() == [11, 13]
    assert moved.channels == series.channels
    assert moved.ids == IDS
    np.testing.assert_array_equal(moved.past.values, tail.past.values)
    np.testing.assert_array_equal(moved.static, series.static)


def test_an_unseen_series_and_one_without_ids_have_a_way_back():
    series = a_set()
    fitted = TargetTransform.fit(make_pipeline(SeriesScaler(), Difference()), series, ())
    context, observed = series.values[None, :11], series.observed[None, :11]
    zeros = np.zeros((1, HORIZON, CHANNELS))
    for ids in ((), ("west",)):
        back = fitted.backward(zeros, context, observed, ids)
        np.testing.assert_allclose(back, np.repeat(context[:, -1:], HORIZON, axis=1))


def test_quantiles_are_brought_back_one_by_one():
    series = a_set()
    fitted = TargetTransform.fit(make_pipeline(LogTransform(), Difference(lag=2)), series, IDS)
    forecast = np.random.default_rng(0).normal(size=(2, HORIZON, CHANNELS, LEVELS))
    forecast.sort(axis=3)
    context = np.stack([series.values[:11], series.values[29:40]])
    observed = np.ones(context.shape, dtype=bool)
    back = fitted.backward(forecast, context, observed, IDS)
    assert (np.diff(back, axis=3) > 0).all()
    for level in range(LEVELS):
        one = fitted.backward(forecast[..., level], context, observed, IDS)
        np.testing.assert_array_equal(back[..., level], one)


def test_quantiles_that_would_be_turned_around_are_refused():
    series = a_set()
    turned = FunctionTransformer(np.negative, np.negative)
    fitted = TargetTransform.fit(turned, series, IDS)
    context, observed = series.values[None, :11], series.observed[None, :11]
    point = np.ones((1, HORIZON, CHANNELS))
    assert (fitted.backward(point, context, observed, IDS[:1]) == -1).all()
    with pytest.raises(ParameterError, match="turns larger values into smaller ones"):
        fitted.backward(point[..., None], context, observed, IDS[:1])


def test_forecasts_beyond_the_reach_of_a_power_are_never_missing():
    series = a_set()
    context, observed = series.values[None, :11], series.observed[None, :11]
    wild = np.array([-1e9, -3.0, 0.0, 3.0, 1e9])[None, :, None] * np.ones(CHANNELS)
    for lmbda in (0.5, -0.5, None):
        fitted = TargetTransform.fit(BoxCoxTransform(lmbda=lmbda), series, IDS)
        back = fitted.backward(wild, context, observed, IDS[:1])
        assert np.isfinite(back).all()
        assert (back >= 0).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize(
    ("method", "values"),
    [
        pytest.param("box-cox", lambda x: 1 + x, id="bounded below"),
        pytest.param("box-cox", lambda x: 1 / (1 + x), id="bounded above"),
        pytest.param("yeo-johnson", lambda x: -np.exp(3 * x), id="yeo-johnson, below"),
        pytest.param("yeo-johnson", lambda x: np.exp(3 * x), id="yeo-johnson, above"),
        pytest.param("box-cox", lambda x: np.exp(40 * x), id="hardly a power"),
    ],
)
def test_forecasts_beyond_the_reach_of_scikit_learns_power_are_never_missing(
    method, values, standardize
):
    sample = values(np.random.default_rng(0).uniform(size=(307, 1)))
    series = SeriesSet.from_arrays([sample], ("OT",))
    transformer = PowerTransformer(method=method, standardize=standardize)
    fitted = TargetTransform.fit(transformer, series, ())
    moved = fitted.forward(series, ()).values
    wild = np.linspace(-1e4, 1e4, 11)[None, :, None]
    for forecast in (wild, moved[None]):
        context, observed = sample[None, :11], np.ones((1, 11, 1), dtype=bool)
        back = fitted.backward(np.sort(forecast, axis=1), context, observed, ())
        assert np.isfinite(back).all()
        assert (np.diff(back[0, :, 0]) >= 0).all()
    np.testing.assert_allclose(back[0], np.sort(sample, axis=0))


@pytest.mark.parametrize(
    "scaler", [StandardScaler(copy=False), PowerTransformer(copy=False)], ids=repr
)
def test_a_transformer_that_works_in_place_leaves_the_table_as_it_is(scaler):
    values = np.random.default_rng(0).uniform(5.0, 9.0, size=(23, 2))
    series = SeriesSet.from_arrays([values], ("x", "y"))
    before = series.values.copy()
    moved = TargetTransform.fit(scaler, series, ()).forward(series, ())
    np.testing.assert_array_equal(series.values, before)
    np.testing.assert_allclose(moved.values, scaler.fit_transform(before.copy()))


def test_a_season_that_was_never_observed_goes_on_from_the_last_value():
    series = a_set()
    fitted = TargetTransform.fit(Difference(lag=4), series, IDS)
    context = np.arange(12.0).reshape(1, 4, 3)
    observed = np.ones(context.shape, dtype=bool)
    observed[0, 1, :] = False
    back = fitted.backward(np.zeros((1, 4, 3)), context, observed, IDS[:1])
    np.testing.assert_array_equal(back[0, :, 0], [0.0, 9.0, 6.0, 9.0])


def test_a_context_shorter_than_the_lag_is_refused():
    series = a_set()
    fitted = TargetTransform.fit(make_pipeline(Difference(lag=7), Difference()), series, IDS)
    assert fitted.context_rows == 8
    with pytest.raises(DataError, match=r"Difference\(lag=7, order=1\) needs 7 rows .* has 6"):
        fitted.backward(
            np.zeros((1, HORIZON, CHANNELS)),
            series.values[None, :6],
            series.observed[None, :6],
            IDS[:1],
        )


def test_rows_that_a_transformer_cannot_take_are_not_observed():
    series = a_set(missing=0.1)
    fitted = TargetTransform.fit(PCA(n_components=CHANNELS), series, IDS)
    moved = fitted.forward(series, IDS)
    np.testing.assert_array_equal(moved.observed.all(axis=1), series.observed.all(axis=1))
    np.testing.assert_array_equal(moved.observed.any(axis=1), series.observed.all(axis=1))


@pytest.mark.parametrize(
    ("transformer", "message"),
    [
        (5, "must be a scikit-learn transformer with inverse_transform"),
        (SeriesScaler, "must be a scikit-learn transformer"),
        (make_pipeline(SeriesScaler(), 5), "must be a scikit-learn transformer"),
        (FillGaps(), "cannot use FillGaps, which changes rows or columns"),
        (make_pipeline(CalendarFeatures()), "cannot use CalendarFeatures"),
        (WindowTransformer(), "cannot use WindowTransformer"),
        (SeriesScaler(target="x"), "leave its target='x' out"),
        (Difference(lag=0), "lag must be a whole number of at least 1"),
        (FunctionTransformer(np.log1p), "does not give back the values that it took"),
        (KBinsDiscretizer(encode="ordinal", strategy="uniform"), "give back"),
        (PCA(n_components=2), r"turns rows of shape .*, 3\) into .*, 2\)"),
    ],
    ids=str,
)
def test_what_has_no_way_back_is_refused(transformer, message):
    with pytest.raises(ParameterError, match=message):
        TargetTransform.fit(transformer, a_set(), IDS)


def test_values_that_a_transformer_cannot_take_are_named():
    series = SeriesSet.from_arrays([np.array([[1.0], [0.0]]), np.ones((3, 1))], ("OT",))
    with pytest.raises(DataError, match=r"Column 'OT' has 1 value .* in row 1 of series 'north'"):
        TargetTransform.fit(LogTransform(offset=0), series, IDS)
    with pytest.raises(DataError, match=r"could not be fitted on the training rows.*Box-Cox"):
        TargetTransform.fit(PowerTransformer(method="box-cox"), series, IDS)


def test_rows_of_one_series_are_named_without_an_id():
    series = SeriesSet.from_arrays([np.array([[1.0], [0.0]])], ("OT",))
    with pytest.raises(DataError, match=r"cannot take, the first 0.0 in row 1\. Expected"):
        TargetTransform.fit(LogTransform(offset=0), series, ())


@pytest.mark.filterwarnings("ignore:.*encountered in log:RuntimeWarning")
@pytest.mark.parametrize("bad", [0.0, -1.0], ids=["infinite", "not a number"])
def test_values_that_a_function_cannot_take_are_named(bad):
    logarithm = FunctionTransformer(np.log, np.exp)
    good = SeriesSet.from_arrays([np.full((2003, 1), 2.0)], ("OT",))
    values = good.values.copy()
    # After the rows on which the inverse is tried.
    values[2001] = bad
    series = SeriesSet.from_arrays([values], ("OT",))
    fitted = TargetTransform.fit(logarithm, good, ())
    message = rf"'OT' has 1 value .*finite, the first {bad} in row 2001\."
    with pytest.raises(DataError, match=message):
        TargetTransform.fit(logarithm, series, ())
    with pytest.raises(DataError, match=message):
        fitted.forward(series, ())


# -- saving ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("transformer", [*KEEPING, *LOOKING_BACK, Impute()], ids=repr)
def test_a_saved_transform_does_the_same(transformer):
    series = a_set(missing=0.1)
    fitted = TargetTransform.fit(transformer, series, IDS)
    values, arrays = fitted.to_state()
    assert all(array.dtype.kind in "biuf" for array in arrays.values())
    read = decode(json.loads(json.dumps(encode(values), allow_nan=False)))
    restored = TargetTransform.from_state(read, arrays)
    moved, again = fitted.forward(series, IDS), restored.forward(series, IDS)
    np.testing.assert_array_equal(moved.values, again.values)
    np.testing.assert_array_equal(moved.observed, again.observed)
    forecast = moved.values[None, :HORIZON]
    context, observed = series.values[None, :23], series.observed[None, :23]
    np.testing.assert_array_equal(
        fitted.backward(forecast, context, observed, IDS[:1]),
        restored.backward(forecast, context, observed, IDS[:1]),
    )


def test_code_is_never_saved():
    logarithm = FunctionTransformer(np.log1p, np.expm1)
    fitted = TargetTransform.fit(logarithm, a_set(), IDS)
    with pytest.raises(
        ParameterError, match=r"cannot be saved: only numbers are written.*Standard"
    ):
        fitted.to_state()
    seeded = QuantileTransformer(n_quantiles=5, random_state=np.random.RandomState(0))
    fitted = TargetTransform.fit(seeded, a_set(), IDS)
    with pytest.raises(ParameterError, match="its random_state is a RandomState"):
        fitted.to_state()


def test_a_damaged_transform_is_refused():
    values, arrays = TargetTransform.fit(SeriesScaler(), a_set(), IDS).to_state()
    with pytest.raises(SavedModelError, match="The saved SeriesScaler lacks 'center_'"):
        TargetTransform.from_state(values, {k: v for k, v in arrays.items() if "center" not in k})
    values["steps"][0]["class"] = "Popen"
    with pytest.raises(SavedModelError, match=r"cannot be read: KeyError.'Popen'"):
        TargetTransform.from_state(values, arrays)
