"""Pictures of forecasts: what is drawn where, and that nothing else changes."""

import io
import subprocess
import sys

import matplotlib as mpl
import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.axes import Axes

from titans_ts import SeasonalNaiveForecaster
from titans_ts.data.quantile_names import quantile_name, read_quantile_name
from titans_ts.errors import DataError, ParameterError
from titans_ts.plotting import MAX_PANELS, check_picture_path, forecast_figure, plot_forecast

ROWS, HORIZON = 53, 7


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


def frame(n_channels: int = 3, tz: str | None = None) -> pd.DataFrame:
    index = pd.date_range("2024-03-01", periods=ROWS + HORIZON, freq="h", name="when", tz=tz)
    values = np.random.default_rng(0).normal(size=(len(index), n_channels)).cumsum(axis=0)
    return pd.DataFrame(values, index=index, columns=list("abcdefghijk"[:n_channels]))


def split(table):
    return table[:ROWS], table[ROWS:]


def lines(ax: Axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {
        line.get_label(): (np.asarray(line.get_xdata()), np.asarray(line.get_ydata()))
        for line in ax.lines
        if not line.get_label().startswith("_")
    }


def bands(ax: Axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Lower and upper edge of each shaded band, by its label."""
    found = {}
    for area in ax.collections:
        corners = area.get_paths()[0].vertices
        x = np.unique(corners[:, 0])
        edges = [[edge(corners[corners[:, 0] == step, 1]) for step in x] for edge in (min, max)]
        found[area.get_label()] = tuple(np.array(edge) for edge in edges)
    return found


def titles(axes) -> list[str]:
    return [ax.get_title(loc="left") for ax in np.atleast_1d(axes)]


# -- what is drawn --------------------------------------------------------------------------------


def test_history_forecast_and_truth_are_drawn_at_their_times():
    known, came = split(frame(1))
    forecast = came + 1
    ax = plot_forecast(known, forecast, actual=came, last=11)
    drawn = lines(ax)
    np.testing.assert_array_equal(drawn["known"][0], mdates.date2num(known.index[-11:]))
    np.testing.assert_array_equal(drawn["known"][1], known["a"][-11:])
    # Both go on from the last known value, so that no hole is left.
    joined = [known["a"].iloc[-1]]
    at = mdates.date2num(known.index[-1:].append(came.index))
    for name, values in (("forecast", forecast["a"]), ("what came", came["a"])):
        np.testing.assert_array_equal(drawn[name][0], at)
        np.testing.assert_array_equal(drawn[name][1], [*joined, *values])


def test_history_is_four_forecasts_long_by_default():
    known, came = split(frame(1))
    assert len(lines(plot_forecast(known, came))["known"][0]) == 4 * HORIZON


def test_a_longer_history_than_there_is_draws_all_of_it():
    known, came = split(frame(1))
    assert len(lines(plot_forecast(known, came, last=1000))["known"][0]) == ROWS


def test_a_forecast_of_one_step_is_a_line_too():
    known, came = split(frame(1))
    ax = plot_forecast(known, came[:1])
    assert len(lines(ax)["forecast"][0]) == 2


def test_each_channel_gets_a_panel_under_its_name():
    known, came = split(frame(3))
    axes = plot_forecast(known, came)
    assert axes.shape == (3,)
    assert titles(axes) == ["a", "b", "c"]


def test_channels_are_drawn_as_named_and_in_that_order():
    known, came = split(frame(3))
    assert titles(plot_forecast(known, came, channels=["c", "a"])) == ["c", "a"]
    one = plot_forecast(known, came, channels="b")
    assert isinstance(one, Axes)
    assert titles(one) == ["b"]


def test_a_channel_may_be_named_by_a_number():
    known, came = (part.set_axis([0, 1, 2], axis=1) for part in split(frame()))
    assert titles([plot_forecast(known, came, channels=1)]) == ["1"]


def test_of_many_channels_the_first_few_are_drawn():
    known, came = split(frame(11))
    assert titles(plot_forecast(known, came)) == list("abcdefgh")
    assert len("abcdefgh") == MAX_PANELS


def test_a_forecast_of_some_channels_is_drawn_without_the_others():
    known, came = split(frame(3))
    assert titles(plot_forecast(known, came[["b"]])) == ["b"]


def test_missing_values_of_the_history_leave_a_gap():
    known, came = split(frame(1))
    known = known.copy()
    known.iloc[-1] = np.nan
    drawn = lines(plot_forecast(known, came))
    assert np.isnan(drawn["known"][1][-1])
    assert len(drawn["forecast"][0]) == HORIZON  # nothing known to go on from


# -- quantiles ------------------------------------------------------------------------------------


def test_quantiles_become_nested_bands_from_the_outermost_pair_in():
    known, came = split(frame(2))
    spread = {0.05: -3.0, 0.25: -1.0, 0.5: 0.0, 0.75: 1.0, 0.95: 3.0}
    table = pd.DataFrame(
        {f"{name}_q{level}": came[name] + d for name in came for level, d in spread.items()}
    )
    ax = plot_forecast(known, came, bands=table, channels="b")
    drawn = bands(ax)
    assert list(drawn) == ["5 to 95 %", "25 to 75 %"]
    last = known["b"].iloc[-1]
    for label, width in (("5 to 95 %", 3.0), ("25 to 75 %", 1.0)):
        low, high = drawn[label]
        np.testing.assert_allclose(low, [last, *(came["b"] - width)])
        np.testing.assert_allclose(high, [last, *(came["b"] + width)])


def test_a_forecast_of_quantiles_alone_draws_its_median_and_band():
    known, came = split(frame(1))
    table = pd.DataFrame({"a_q0.1": came["a"] - 1, "a_q0.5": came["a"], "a_q0.9": came["a"] + 1})
    ax = plot_forecast(known, table)
    assert titles(ax) == ["a"]
    np.testing.assert_array_equal(lines(ax)["forecast"][1][1:], came["a"])
    assert list(bands(ax)) == ["10 to 90 %"]


def test_quantiles_without_a_median_draw_the_band_alone():
    known, came = split(frame(1))
    ax = plot_forecast(known, pd.DataFrame({"a_q0.1": came["a"], "a_q0.9": came["a"] + 1}))
    assert "forecast" not in lines(ax)
    assert list(bands(ax)) == ["10 to 90 %"]


@pytest.mark.parametrize(
    ("levels", "label", "n_bands"),
    [([0.9], "90 % quantile", 0), ([0.1, 0.2, 0.9], "20 % quantile", 1), ([0.5], None, 0)],
)
def test_a_quantile_without_a_partner_is_a_line(levels, label, n_bands):
    known, came = split(frame(1))
    table = pd.DataFrame({f"a_q{level}": came["a"] + level for level in levels})
    ax = plot_forecast(known, table)
    drawn = lines(ax)
    assert set(drawn) == {"known", label or "forecast"}
    level = levels[len(levels) // 2]
    np.testing.assert_array_equal(
        drawn[label or "forecast"][1], [known["a"].iloc[-1], *(came["a"] + level)]
    )
    assert len(bands(ax)) == n_bands


def test_one_array_of_a_quantile_is_a_line_and_the_middle_of_three_is_not():
    known, came = (part.to_numpy() for part in split(frame(1)))
    one = plot_forecast(known, came, bands=came[..., None] + 1)
    np.testing.assert_allclose(lines(one)["quantile"][1][1:], came[:, 0] + 1)
    three = plot_forecast(known, came, bands=np.stack([came - 1, came, came + 1], axis=2))
    assert set(lines(three)) == {"known", "forecast"}


def test_a_channel_that_is_named_like_a_quantile_is_a_channel():
    known, came = split(frame(1).rename(columns={"a": "load_q0.1"}))
    ax = plot_forecast(known, came)
    assert titles(ax) == ["load_q0.1"]
    assert bands(ax) == {}


def test_what_a_forecaster_returns_is_drawn_as_it_is():
    known, came = split(frame(3))
    forecaster = SeasonalNaiveForecaster(horizon=HORIZON, season_length=1).fit(known)
    quantiles = forecaster.predict(quantiles=[0.1, 0.9])
    axes = plot_forecast(known, forecaster.predict(), bands=quantiles, actual=came)
    for ax, name in zip(axes, known, strict=True):
        np.testing.assert_allclose(bands(ax)["10 to 90 %"][0][1:], quantiles[f"{name}_q0.1"])


# -- kinds of tables ------------------------------------------------------------------------------


def test_arrays_are_drawn_by_row_number():
    known, came = (part.to_numpy() for part in split(frame(2)))
    quantiles = np.stack([came - 1, came + 1], axis=2)
    axes = plot_forecast(known, came, bands=quantiles, actual=came, last=5)
    assert titles(axes) == ["0", "1"]
    np.testing.assert_array_equal(lines(axes[1])["known"][0], np.arange(ROWS - 5, ROWS))
    np.testing.assert_array_equal(
        lines(axes[1])["forecast"][0], np.arange(ROWS - 1, ROWS + HORIZON)
    )
    np.testing.assert_allclose(bands(axes[1])["quantiles"][1][1:], came[:, 1] + 1)


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda table: table.reset_index(), id="pandas with a time column"),
        pytest.param(lambda table: pl.from_pandas(table.reset_index()), id="polars"),
        pytest.param(lambda table: table.to_period("h"), id="periods"),
    ],
)
def test_other_tables_are_drawn_like_a_frame_with_an_index(convert):
    known, came = split(frame(2))
    expected = lines(plot_forecast(known, came, channels="b"))
    drawn = lines(plot_forecast(convert(known), convert(came), channels="b"))
    for name in ("known", "forecast"):
        np.testing.assert_allclose(drawn[name], expected[name])


def test_a_series_is_drawn_under_its_name():
    known, came = split(frame(1)["a"])
    assert titles(plot_forecast(known, came)) == ["a"]
    assert titles(plot_forecast(known.rename(None), came.rename(None))) == ["0"]


def test_dates_are_written_in_the_time_zone_of_the_data():
    known, came = split(frame(1, tz="America/New_York"))
    ax = plot_forecast(known, came, last=3)
    assert str(ax.xaxis.get_major_formatter()._tz) == "America/New_York"
    assert lines(ax)["known"][0][-1] == mdates.date2num(known.index[-1])
    ax.figure.canvas.draw()
    texts = [label.get_text() for label in ax.get_xticklabels()]
    assert "06:00" in texts  # 11:00 in UTC is no multiple of the ticks' distance


# -- axes and figures -----------------------------------------------------------------------------


def test_axes_that_are_given_are_drawn_on_and_returned():
    known, came = split(frame(2))
    figure, given = plt.subplots(2)
    axes = plot_forecast(known, came, ax=given)
    assert list(axes) == list(given)
    one = plot_forecast(known, came, channels="a", ax=given[0])
    assert one is given[0]
    assert plt.get_fignums() == [figure.number]


def test_nothing_is_shown_and_no_style_is_changed(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("shown"))
    before = dict(mpl.rcParams)
    known, came = split(frame(1))
    plot_forecast(known, came)
    forecast_figure(known, came)
    assert dict(mpl.rcParams) == before


def test_colours_are_those_of_the_style_in_use():
    known, came = split(frame(1))
    with plt.style.context("dark_background"):
        ax = plot_forecast(known, came)
    known_line, forecast_line = ax.lines[:2]
    assert known_line.get_color() == "white"
    assert mpl.colors.to_hex(forecast_line.get_color()) == "#8dd3c7"


def test_a_figure_for_a_file_is_unknown_to_pyplot_and_has_one_legend():
    known, came = split(frame(7))
    figure = forecast_figure(known, came, actual=came)
    assert plt.get_fignums() == []
    assert len(figure.legends) == 1
    assert [text.get_text() for text in figure.legends[0].texts] == [
        *("known", "what came", "forecast")
    ]
    assert all(ax.get_legend() is None for ax in figure.axes)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    assert content.getvalue().startswith(b"\x89PNG")


def test_the_legend_names_what_only_a_later_panel_has():
    known, came = split(frame(2))
    bands = pd.DataFrame({"b_q0.1": came["b"] - 1, "b_q0.9": came["b"] + 1})
    expected = ["known", "forecast", "10 to 90 %"]
    figure = forecast_figure(known, came, bands=bands)
    axes = plot_forecast(known, came, bands=bands, ax=plt.figure().subplots(2))
    for legend in (figure.legends[0], axes[0].get_legend()):
        assert [text.get_text() for text in legend.texts] == expected


def test_panels_do_not_overlap_however_many_there_are():
    known, came = split(frame(7))
    for n in (1, 4, 7):  # one panel, one column, two columns with a hole
        figure = forecast_figure(known, came, channels=list("abcdefg")[:n])
        figure.canvas.draw()
        boxes = [ax.get_tightbbox() for ax in figure.axes]
        boxes.append(figure.legends[0].get_window_extent())
        assert len(boxes) == n + 1
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i]), (n, i)
            assert figure.bbox.contains(*box.min)
            assert figure.bbox.contains(*box.max)


def test_a_figure_for_a_file_loads_no_pyplot(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from titans_ts.plotting import forecast_figure\n"
        "forecast_figure(np.ones((5, 1)), np.ones((2, 1)))\n"
        "sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert (result.returncode, result.stderr) == (0, b"")
    assert list(tmp_path.iterdir()) == []


# -- errors ---------------------------------------------------------------------------------------


def test_a_channel_that_is_not_there_is_named_with_those_that_are():
    known, came = split(frame(2))
    with pytest.raises(DataError, match=r"channels='z' names no column of history, which has 'a',"):
        plot_forecast(known, came, channels=["a", "z"])


def test_a_forecast_of_another_channel_than_the_history_is_refused():
    known, came = split(frame(2))
    with pytest.raises(DataError, match=r"channels='x' names no column of history"):
        plot_forecast(known, came.rename(columns={"a": "x"}))


def test_text_is_refused_only_where_it_would_be_drawn():
    known, came = split(frame(2))
    known = known.assign(a="text")
    assert titles(plot_forecast(known, came, channels="b")) == ["b"]
    with pytest.raises(DataError, match=r"Column 'a' of history holds something else than numbers"):
        plot_forecast(known, came)


def test_time_stamps_and_row_numbers_are_not_mixed():
    known, came = split(frame(1))
    with pytest.raises(DataError, match=r"history has time stamps, but forecast has none"):
        plot_forecast(known, came.to_numpy(), channels="0")
    with pytest.raises(DataError, match=r"history has no time stamps, but actual has some"):
        plot_forecast(known.to_numpy(), came.to_numpy(), actual=came)


def test_bands_are_paired_by_level_whatever_the_order_of_the_columns():
    known, came = split(frame(1))
    levels = {f"a_q{level}": came["a"] + 10 * level for level in (0.5, 0.9, 0.1, 0.8, 0.2)}
    drawn = bands(plot_forecast(known, came, bands=pd.DataFrame(levels)))
    assert list(drawn) == ["10 to 90 %", "20 to 80 %"]
    np.testing.assert_allclose(drawn["10 to 90 %"][0][1:], came["a"] + 1)
    np.testing.assert_allclose(drawn["20 to 80 %"][1][1:], came["a"] + 8)


def test_levels_are_numbers_however_they_are_written():
    known, came = split(frame(1))
    ax = plot_forecast(known, pd.DataFrame({"a_q.1": came["a"] - 1, "a_q0.50": came["a"]}))
    np.testing.assert_allclose(lines(ax)["forecast"][1][1:], came["a"])


@pytest.mark.parametrize("channel", [None, "OT", "a_q0.5", "two\nlines"])
@pytest.mark.parametrize("level", [0.5, 1e-07, 0.9999999, 1 / 3])
def test_names_of_quantiles_are_read_as_they_are_made(channel, level):
    assert read_quantile_name(quantile_name(level, channel)) == (channel, level)


def test_an_array_of_bands_belongs_to_the_columns_of_the_forecast():
    known, came = split(frame(2))
    ends = np.stack([came.to_numpy() - 1, came.to_numpy() + 2], axis=2)
    drawn = bands(plot_forecast(known, came, bands=ends, channels="b"))
    np.testing.assert_allclose(drawn["quantiles"][1][1:], came["b"] + 2)


def test_what_lies_before_the_end_of_the_history_is_not_joined_to_it():
    known, came = split(frame(1))
    early = came.shift(-20, freq="h")
    drawn = lines(plot_forecast(known, early, actual=frame(1)))
    np.testing.assert_array_equal(drawn["forecast"][0], mdates.date2num(early.index))
    np.testing.assert_array_equal(drawn["what came"][0], mdates.date2num(early.index))
    np.testing.assert_array_equal(drawn["what came"][1], frame(1)["a"][early.index])


@pytest.mark.parametrize("gap", [0, 2])
def test_of_the_whole_series_only_what_came_with_the_forecast_is_drawn(gap):
    whole = frame(1)
    known, forecast = whole[:ROWS], whole[ROWS + gap : -2]
    ax = plot_forecast(known, forecast, actual=whole)
    x, y = lines(ax)["what came"]
    np.testing.assert_array_equal(x, mdates.date2num(whole.index[ROWS - 1 : -2]))
    np.testing.assert_array_equal(y, whole["a"][ROWS - 1 : -2])


def test_where_nothing_came_yet_nothing_is_drawn_of_it():
    known, forecast = split(frame(1))
    ax = plot_forecast(known, forecast, actual=known)
    assert set(lines(ax)) == {"known", "forecast"}
    assert ax.get_xlim()[0] > mdates.date2num(known.index[-5 * HORIZON])


def test_bands_of_other_columns_or_times_are_refused():
    known, came = split(frame(1))
    low_high = pd.DataFrame({"a_q0.1": came["a"] - 1, "a_q0.9": came["a"] + 1})
    with pytest.raises(DataError, match=r"bands has no quantiles of 'a'; its columns are 'b_q0.1'"):
        plot_forecast(known, came, bands=low_high.rename(columns=lambda name: "b" + name[1:]))
    with pytest.raises(DataError, match="bands is of other times than forecast: row 0 is of 2024"):
        plot_forecast(known, came, bands=low_high.shift(1, freq="h"))
    with pytest.raises(DataError, match=r"bands has shape \(7, 2, 3\).* each of the 1 columns"):
        plot_forecast(known, came, bands=np.ones((HORIZON, 2, 3)))
    assert plt.get_fignums() == []


def test_rows_out_of_order_are_refused():
    known, came = split(frame(1))
    counted, then = known.reset_index(drop=True), came.set_axis(range(ROWS, ROWS + HORIZON))
    for history, forecast in ((known[::-1], came), (counted[::-1], then)):
        with pytest.raises(DataError, match=r"rows of history are not in order.* Sort them"):
            plot_forecast(history, forecast)


def test_clocks_with_and_without_a_zone_are_not_mixed():
    known, came = split(frame(1))
    with pytest.raises(DataError, match="history has a time zone, but forecast has none"):
        plot_forecast(known.tz_localize("Asia/Tokyo"), came)
    with pytest.raises(DataError, match="actual has a time zone, but history has none"):
        plot_forecast(known, came, actual=came.tz_localize("Asia/Tokyo"))


def test_masked_values_are_not_drawn():
    history = np.ma.masked_array([1.0, 1e9, 2.0], [False, True, False])
    _, y = lines(plot_forecast(history, np.array([[3.0]])))["known"]
    np.testing.assert_array_equal(y, [1.0, np.nan, 2.0])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param(
            {"history": "load.csv"}, DataError, "history is a str that makes no array", id="path"
        ),
        pytest.param({"last": 0}, ParameterError, r"last must be a whole number", id="last"),
        pytest.param({"channels": []}, ParameterError, r"channels is empty", id="no channels"),
        pytest.param(
            {"ax": "here"}, ParameterError, r"ax must hold one .* the 2 chan", id="no axes"
        ),
        pytest.param(
            {"bands": np.ones((7, 2))}, DataError, r"bands has shape \(7, 2\), exp", id="flat bands"
        ),
        pytest.param(
            {"bands": np.ones((6, 2, 3))},
            DataError,
            r"bands has 6 rows.*expected 7",
            id="short bands",
        ),
        pytest.param(
            {"history": np.ones((5, 4, 3))}, DataError, r"history has shape \(5, 4, 3\)", id="panel"
        ),
        pytest.param(
            {"history": np.ones((0, 2))}, DataError, r"history has 0 rows", id="no history"
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_sentence(change, error, message):
    known, came = split(frame(2).to_numpy())
    arguments = {"history": known, "forecast": came, **change}
    with pytest.raises(error, match=message):
        plot_forecast(**arguments)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", ["picture", "picture.doc", "picture.csv"])
def test_only_names_of_pictures_are_pictures(name):
    check_picture_path("picture.png")
    check_picture_path("picture.PDF")
    with pytest.raises(ParameterError, match=rf"'{name}' cannot be written: .*\.pdf, .*\.png"):
        check_picture_path(name)


@pytest.mark.parametrize("step", [1, 3])
def test_arrays_follow_a_history_that_is_counted_from_anywhere(step):
    index = pd.RangeIndex(100, 100 + 20 * step, step)
    history = pd.DataFrame({"0": np.arange(20.0)}, index=index)
    ax = plot_forecast(history, np.ones((4, 1)), actual=np.zeros((4, 1)), channels="0")
    expected = index[-1] + step * np.arange(5)
    for label in ("forecast", "what came"):
        np.testing.assert_array_equal(lines(ax)[label][0], expected)


def test_a_value_without_neighbours_is_a_point():
    values = np.where(np.arange(40) % 2, np.arange(40.0), np.nan)[:, None]
    values[20] = 3.0  # three in a row, which are a line
    ax = plot_forecast(values[:-1], np.array([[5.0]]), last=40)
    known, forecast = (
        next(line for line in ax.lines if line.get_label() == label)
        for label in ("known", "forecast")
    )
    assert known.get_marker() == "o"
    assert known.get_markevery() == [i for i in range(1, 39, 2) if i not in (19, 21)]
    # The last known value is missing, so nothing leads to the forecast.
    assert forecast.get_markevery() == [0]
    whole = plot_forecast(np.arange(9.0)[:, None], np.array([[5.0]]))
    assert {line.get_marker() for line in whole.lines} == {"None"}
