"""Pictures of several series: which are drawn, of what, and what is refused."""

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest

from titans_ts import SeasonalNaiveForecaster
from titans_ts.errors import DataError
from titans_ts.plotting import MAX_PANELS, forecast_figure, plot_forecast

HORIZON = 5


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


def panel(n_series=3, channels=("y",), *, together=True) -> pd.DataFrame:
    """Series ``a``, ``b`` ... of 41, 42 ... rows; all end together, or a day after one another."""
    rng = np.random.default_rng(0)
    parts = []
    for i in range(n_series):
        end = pd.Timestamp("2024-03-09 12:00") + pd.Timedelta(days=0 if together else i)
        time = pd.date_range(end=end, periods=41 + i, freq="h")
        values = {c: 10 * i + rng.normal(size=len(time)).cumsum() for c in channels}
        parts.append(pd.DataFrame({"unique_id": chr(97 + i), "ds": time, **values}))
    return pd.concat(parts, ignore_index=True)


def forecast_of(long, quantiles=None, **parameters):
    naive = SeasonalNaiveForecaster(horizon=HORIZON, season_length=1, **parameters)
    return naive.fit(long).predict(quantiles=quantiles)


def lines(ax):
    return {line.get_label(): np.asarray(line.get_ydata()) for line in ax.lines}


def titles(axes):
    return [ax.get_title(loc="left") for ax in np.atleast_1d(axes)]


def test_each_series_gets_a_panel_under_its_id_with_its_own_rows():
    long = panel()
    axes = plot_forecast(long, forecast_of(long))
    assert titles(axes) == ["a", "b", "c"]
    for ax, (_, rows) in zip(axes, long.groupby("unique_id"), strict=True):
        drawn = lines(ax)
        np.testing.assert_array_equal(drawn["known"], rows["y"].iloc[-4 * HORIZON :])
        np.testing.assert_array_equal(drawn["forecast"], [rows["y"].iloc[-1]] * (HORIZON + 1))


def test_series_are_drawn_as_named_and_in_that_order():
    long = panel()
    forecast = forecast_of(long)
    assert titles(plot_forecast(long, forecast, series=["c", "a"])) == ["c", "a"]
    one = plot_forecast(long, forecast, series="b")
    assert titles(one) == ["b"]
    at = mdates.date2num(long[long["unique_id"] == "b"]["ds"].iloc[-1])
    assert one.lines[0].get_xdata()[-1] == at


def test_of_many_series_whole_ones_are_drawn_until_there_are_eight_panels():
    long = panel(11)
    assert titles(plot_forecast(long, forecast_of(long))) == list("abcdefgh")
    long = panel(5, ("load", "heat", "wind"))
    drawn = titles(plot_forecast(long, forecast_of(long)))
    assert drawn == [f"{s}: {c}" for s in "ab" for c in ("load", "heat", "wind")]
    assert len(drawn) <= MAX_PANELS
    named = plot_forecast(long, forecast_of(long), channels="heat")
    assert titles(named) == list("abcde")


def test_quantiles_without_a_column_name_are_those_of_the_only_target():
    long = panel(2)
    bands = forecast_of(long, quantiles=[0.1, 0.5, 0.9])
    assert list(bands.columns) == ["unique_id", "ds", "q0.1", "q0.5", "q0.9"]
    ax = plot_forecast(long, bands, series="b")
    of_b = bands[bands["unique_id"] == "b"]
    np.testing.assert_allclose(lines(ax)["forecast"][1:], of_b["q0.5"])
    (band,) = ax.collections
    assert band.get_label() == "10 to 90 %"
    assert titles(ax) == ["b"]
    beside = plot_forecast(long, forecast_of(long), bands=bands, series="b")
    assert len(beside.collections) == 1


def test_such_quantiles_beside_other_columns_need_the_name_of_the_target():
    long = panel(2, ("y", "price"))
    bands = forecast_of(long, quantiles=[0.1, 0.9], target="y")
    with pytest.raises(DataError, match=r"quantiles without the name.*'y', 'price'.*channels="):
        plot_forecast(long, bands)
    assert titles(plot_forecast(long, bands, channels="y")) == ["a", "b"]


def test_what_came_is_drawn_for_the_same_series():
    long = panel(2)
    known = long[long.groupby("unique_id").cumcount(ascending=False) >= HORIZON]
    came = long.drop(known.index)
    axes = plot_forecast(known, forecast_of(known), actual=came)
    for ax, (_, rows) in zip(axes, came.groupby("unique_id"), strict=True):
        np.testing.assert_array_equal(lines(ax)["what came"][1:], rows["y"])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda long: long.sample(frac=1, random_state=3), id="shuffled"),
        pytest.param(lambda long: long.set_index(["unique_id", "ds"]), id="two levels"),
        pytest.param(pl.from_pandas, id="polars"),
        pytest.param(lambda long: long.rename(columns={"unique_id": "shop"}), id="another name"),
    ],
)
def test_other_forms_of_the_table_are_drawn_alike(change):
    long = panel(2)
    expected = lines(plot_forecast(long, forecast_of(long), series="b"))
    table = change(long)
    id_column = "shop" if "shop" in table.columns else None
    forecast = forecast_of(table, id_column=id_column)
    drawn = lines(plot_forecast(table, forecast, series="b", id_column=id_column))
    for name in ("known", "forecast"):
        np.testing.assert_allclose(drawn[name], expected[name])


def test_steps_that_are_counted_are_drawn_as_numbers():
    long = panel(2).assign(week=lambda table: table.groupby("unique_id").cumcount())
    long = long[["unique_id", "week", "y"]]
    forecast = forecast_of(long, time_column="week")
    ax = plot_forecast(long, forecast, series="a", time_column="week")
    assert ax.lines[0].get_xdata()[-1] == 40
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), np.arange(40, 46))


def test_series_that_end_at_other_times_have_dates_of_their_own():
    for together in (True, False):
        long = panel(2, together=together)
        first, second = plot_forecast(long, forecast_of(long))
        shared = first.get_shared_x_axes().joined(first, second)
        assert shared is together
        for ax in (first, second):
            left, right = ax.get_xlim()
            assert (right - left) * 24 < (5 if together else 5.3) * HORIZON + 2


def test_panels_of_series_do_not_overlap():
    long = panel(3, ("y", "x"), together=False)
    figure = forecast_figure(long, forecast_of(long))
    figure.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    assert len(boxes) == 6
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            {"series": "z"}, r"history has no series 'z'; it has 3: 'a', 'b', 'c'", id="z"
        ),
        pytest.param({"series": []}, r"series is empty, expected at least one", id="none"),
        pytest.param(
            {"forecast": pd.DataFrame({"y": [1.0]})},
            r"history has the ids of series, but forecast has none",
            id="one long, one wide",
        ),
        pytest.param(
            {"actual": panel(2)}, r"actual has no series 'c'; it has 2: 'a', 'b'", id="what came"
        ),
        pytest.param({"channels": "z"}, r"channels='z' names no column of history", id="channel"),
        pytest.param({"id_column": "shop"}, r"id_column='shop' names no column of hist", id="ids"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_sentence(arguments, message):
    long = panel()
    given = {"history": long, "forecast": forecast_of(long), **arguments}
    with pytest.raises(DataError, match=message):
        plot_forecast(**given)


def test_a_series_of_a_table_without_ids_is_refused():
    wide = pd.DataFrame({"y": range(53)}, index=pd.date_range("2024-01-01", periods=53, freq="h"))
    with pytest.raises(DataError, match=r"series='a' names a series, but history is one series"):
        plot_forecast(wide, forecast_of(wide), series="a")
