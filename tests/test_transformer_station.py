"""The simulated transformer station: its physics, its rhythms, and what its seed promises."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from titans_ts.datasets import make_transformer_station
from titans_ts.datasets.processes import Clock, Streams, ornstein_uhlenbeck, slow_walk, telegraph
from titans_ts.datasets.station_loads import public_holidays, working_level
from titans_ts.datasets.thermal import OilCooling, top_oil_rise, top_oil_temperature
from titans_ts.datasets.weather import clear_sky_irradiance
from titans_ts.errors import ParameterError

COLUMNS = ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
DAY = 96  # quarter hours
RATED = 25.0  # MVA, of the first feeder
ETTM1 = Path(__file__).parents[2] / "shared" / "data" / "forecasting" / "ETTm1.csv.gz"


@pytest.fixture(scope="module")
def two_years():
    return make_transformer_station(2 * 365 * DAY, covariates=True, random_state=0)


def autocorrelation(values, lag):
    return np.corrcoef(values[:-lag], values[lag:])[0, 1]


# -- the oil ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load_factor", "expected"),
    [
        pytest.param(1.0, 52.0, id="rated load gives the rated rise"),
        # 52 * (1/7)^0.8 and 52 * (25/7)^0.8
        pytest.param(0.0, 10.963, id="no load leaves the losses of the core"),
        pytest.param(2.0, 143.972, id="double load"),
    ],
)
def test_ultimate_rise_follows_the_loading_guides(load_factor, expected):
    assert top_oil_rise(load_factor) == pytest.approx(expected, abs=1e-3)


def test_rise_is_linear_in_losses_when_the_exponent_is_one():
    cooling = OilCooling(rated_rise=40.0, loss_ratio=3.0, oil_exponent=1.0)
    np.testing.assert_allclose(
        top_oil_rise(np.array([0.0, 1.0, 2.0]), cooling), [10.0, 40.0, 130.0]
    )


def test_oil_covers_63_percent_of_a_step_in_one_time_constant():
    ambient = np.full(400, 20.0)
    rise = np.where(np.arange(400) < 1, 10.0, 40.0)
    oil = top_oil_temperature(rise, ambient, step_minutes=1)
    assert oil[0] == pytest.approx(30.0)
    assert OilCooling().time_constant == 105
    # The step acts from minute 1 on, so minute 105 is one time constant of 105 minutes later.
    assert oil[105] == pytest.approx(30 + 30 * (1 - np.exp(-1)), abs=1e-9)


def test_oil_settles_at_ambient_plus_ultimate_rise_under_constant_load():
    steps = np.arange(300)
    rise = np.where(steps < 7, 5.0, top_oil_rise(0.7))
    oil = top_oil_temperature(rise, np.full(300, 13.0), step_minutes=15)
    assert oil[-1] == pytest.approx(13.0 + 52 * ((0.49 * 6 + 1) / 7) ** 0.8, abs=1e-9)


def test_oil_does_not_depend_on_the_length_of_the_steps():
    rng = np.random.default_rng(3)
    rise, ambient = rng.uniform(10, 60, 53), rng.uniform(-5, 30, 53)
    coarse = top_oil_temperature(rise, ambient, step_minutes=15)
    # Each quarter hour in five pieces of three minutes, inputs held.
    fine = top_oil_temperature(np.repeat(rise, 5), np.repeat(ambient, 5), step_minutes=3)
    np.testing.assert_allclose(fine[4::5], coarse, atol=1e-10)


def test_oil_solves_the_differential_equation():
    cooling = OilCooling(oil_time_constant=120.0, k11=1.0)
    minutes = np.arange(0, 600, 0.05)
    ambient = 15 + 5 * np.sin(minutes / 90)
    rise = 30 + 10 * np.cos(minutes / 50)
    oil = top_oil_temperature(rise, ambient, step_minutes=0.05, cooling=cooling)
    slope = np.gradient(oil, minutes)
    residual = 120.0 * slope - (rise + ambient - oil)
    assert np.abs(residual[1:-1]).max() < 0.02


def test_oil_column_follows_from_the_loads_and_the_air(two_years):
    """Redo the column by hand, one row at a time, from what the table itself shows."""
    table = two_years.iloc[: 60 * DAY]
    factor = np.hypot(table["HUFL"], table["HULL"]).to_numpy() / RATED
    settled = 52 * ((factor**2 * 6 + 1) / 7) ** 0.8 + table["AMBIENT"].to_numpy()
    expected = [settled[0]]
    for value in settled[1:]:
        expected.append(expected[-1] + (value - expected[-1]) * (1 - np.exp(-15 / (0.5 * 210))))
    error = table["OT"].to_numpy() - expected
    assert np.abs(error).max() < 0.8  # a few standard deviations of the thermometer, 0.1
    assert 0.05 < error.std() < 0.2


def test_oil_is_warmer_than_the_air_by_more_than_the_core_losses_give(two_years):
    loaded = two_years[(two_years["HUFL"] > 0.0)]
    air = loaded["AMBIENT"].rolling(DAY).mean()
    excess = (loaded["OT"].rolling(DAY).mean() - air).dropna()
    assert excess.min() > 10.9


# -- the loads -------------------------------------------------------------------------------------


def test_high_side_carries_both_lower_sides_and_the_losses(two_years):
    active = two_years["MUFL"] + two_years["LUFL"]
    reactive = two_years["MULL"] + two_years["LULL"]
    squared = (active**2 + reactive**2) / RATED**2
    on = two_years["HUFL"] != 0
    p_error = two_years["HUFL"] - active - on * RATED * (0.001 + 0.006 * squared)
    q_error = two_years["HULL"] - reactive - on * RATED * (0.003 + 0.105 * squared)
    # Three meters of 0.15 % of 25 MVA each, and rounding to 0.01.
    for error in (p_error, q_error):
        assert abs(error.mean()) < 0.005
        assert error.std() == pytest.approx(np.sqrt(3) * 0.0375, rel=0.05)


def test_power_factor_is_that_of_a_public_grid(two_years):
    apparent = np.hypot(two_years["HUFL"], two_years["HULL"])
    factor = (two_years["HUFL"] / apparent.where(apparent > 1)).dropna()
    assert 0.9 < factor.median() < 0.995


@pytest.mark.parametrize("column", COLUMNS)
def test_days_resemble_the_day_before_more_than_the_half_day_before(two_years, column):
    values = two_years[column].to_numpy()
    assert autocorrelation(values, DAY) > autocorrelation(values, DAY // 2) + 0.15
    assert autocorrelation(values, 1) > 0.9


def test_weeks_have_sundays(two_years):
    at_ten = two_years.loc[two_years.index.hour == 10, "MUFL"]
    by_day = at_ten.groupby(at_ten.index.day_of_week).mean()
    assert by_day[6] < 0.85 * by_day[:5].min()
    assert by_day[6] < by_day[5] < by_day[:5].min()


def test_weeks_repeat_in_the_daily_sums(two_years):
    daily = two_years["MUFL"].to_numpy().reshape(-1, DAY).mean(axis=1)
    daily = daily - pd.Series(daily).rolling(7, center=True, min_periods=1).mean().to_numpy()
    assert autocorrelation(daily, 7) > 0.3
    assert autocorrelation(daily, 7) > max(autocorrelation(daily, lag) for lag in (2, 3, 4, 5))


def test_holidays_are_quieter_than_the_same_weekdays_around_them(two_years):
    noon = two_years.between_time("09:00", "11:00")["MUFL"].resample("1D").mean()
    national = noon["2016-10-03":"2016-10-07"].mean()
    around = pd.concat([noon["2016-09-26":"2016-09-30"], noon["2016-10-10":"2016-10-14"]]).mean()
    assert national < 0.85 * around


def test_cold_and_hot_days_draw_more_than_mild_ones(two_years):
    daily = two_years[["LUFL", "AMBIENT"]].resample("1D").mean()
    mild = daily.loc[daily["AMBIENT"].between(15, 20), "LUFL"].mean()
    assert daily.loc[daily["AMBIENT"] > 28, "LUFL"].mean() > 1.15 * mild
    assert daily.loc[daily["AMBIENT"] < 3, "LUFL"].mean() > 1.15 * mild


def test_load_grows_by_the_rate_asked_for():
    quiet = make_transformer_station(500, freq="1D", solar_growth=0.0, load_growth=0.0)
    growing = make_transformer_station(500, freq="1D", solar_growth=0.0, load_growth=0.10)
    ratio = (growing["LUFL"] / quiet["LUFL"]).to_numpy()
    np.testing.assert_allclose(ratio[1], 1.0, atol=0.01)
    np.testing.assert_allclose(ratio[487], 1.10 ** (487 / 365.25), atol=0.01)


def test_new_solar_panels_deepen_the_noon_and_leave_the_night():
    few = make_transformer_station(400 * 24, freq="1h", solar_growth=0.0)
    many = make_transformer_station(400 * 24, freq="1h", solar_growth=0.3)
    change = (many["MUFL"] - few["MUFL"]).iloc[-30 * 24 :]
    assert change[change.index.hour == 12].mean() < -1.5
    assert change[change.index.hour == 0].abs().max() == 0
    pd.testing.assert_series_equal(many["MULL"], few["MULL"])


# -- events ----------------------------------------------------------------------------------------


def test_an_outage_takes_all_loads_and_lets_the_oil_cool_towards_the_air(two_years):
    loads = two_years[COLUMNS[:-1]]
    dead = (loads == 0).all(axis=1).to_numpy()
    starts = np.flatnonzero(dead[1:] & ~dead[:-1]) + 1
    assert 1 <= len(starts) <= 8
    length = max(np.argmin(dead[start:]) for start in starts)
    assert length >= 2
    start = next(s for s in starts if np.argmin(dead[s:]) == length)
    before, after = two_years.iloc[start - 1], two_years.iloc[start + length - 1]
    # Over n quarter hours the excess over the air fades with the oil's time constant.
    faded = np.exp(-15 * length / 105)
    air = two_years["AMBIENT"].iloc[start : start + length].mean()
    assert after["OT"] - air == pytest.approx((before["OT"] - air) * faded, abs=1.0)


def test_load_comes_back_larger_after_an_outage(two_years):
    dead = (two_years[COLUMNS[:-1]] == 0).all(axis=1).to_numpy()
    quiet = make_transformer_station(len(two_years), events=False, random_state=0)
    ends = np.flatnonzero(dead[:-1] & ~dead[1:]) + 1
    ratio = two_years["LUFL"].to_numpy()[ends] / quiet["LUFL"].to_numpy()[ends]
    assert (ratio > 1.15).any()


def test_a_station_without_events_has_no_outage_and_is_otherwise_the_same(two_years):
    quiet = make_transformer_station(len(two_years), events=False, random_state=0)
    assert (quiet["LUFL"] > 0.5).all()
    same = np.isclose(quiet["LUFL"], two_years["LUFL"]).mean()
    assert 0.8 < same < 1.0


# -- what the seed promises ------------------------------------------------------------------------


def test_one_seed_gives_one_table_and_another_seed_another():
    first = make_transformer_station(211, n_feeders=2, random_state=5)
    pd.testing.assert_frame_equal(
        first, make_transformer_station(211, n_feeders=2, random_state=np.int64(5))
    )
    assert not np.allclose(first, make_transformer_station(211, n_feeders=2, random_state=6))


def test_no_seed_gives_a_new_table_each_time():
    first, second = (make_transformer_station(53, random_state=None) for _ in range(2))
    assert not np.allclose(first, second)


@pytest.mark.parametrize("kind", [np.random.RandomState, np.random.default_rng])
def test_a_generator_is_used_and_moves_on(kind):
    generator = kind(11)
    first, second = (make_transformer_station(53, random_state=generator) for _ in range(2))
    assert not np.allclose(first, second)
    pd.testing.assert_frame_equal(first, make_transformer_station(53, random_state=kind(11)))


def test_numpys_global_random_state_is_left_alone():
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.RandomState(0).random_sample(3)
    make_transformer_station(53, random_state=None)
    np.testing.assert_array_equal(np.random.random_sample(3), expected)  # noqa: NPY002


@pytest.mark.parametrize("freq", ["15min", "1h", "5min", "7min"])
def test_a_longer_run_begins_with_the_rows_of_a_shorter_one(freq):
    long = make_transformer_station(3001, freq=freq, n_feeders=2)
    for n_steps in (1, 97, 1009):
        short = make_transformer_station(n_steps, freq=freq, n_feeders=2)
        pd.testing.assert_frame_equal(short, long.iloc[:n_steps], check_freq=False)


def test_a_larger_station_contains_the_smaller_one():
    one, five = make_transformer_station(307), make_transformer_station(307, n_feeders=5)
    np.testing.assert_array_equal(one, five.iloc[:, :7])
    three = make_transformer_station(307, n_feeders=3)
    pd.testing.assert_frame_equal(three, five.iloc[:, :21])


def test_feeders_differ_and_share_the_weather():
    station = make_transformer_station(365 * 24, freq="1h", n_feeders=3)
    oil = station[["OT_1", "OT_2", "OT_3"]].corr().to_numpy()
    assert oil[np.triu_indices(3, 1)].min() > 0.6
    means = station[["HUFL_1", "HUFL_2", "HUFL_3"]].mean()
    assert means.nunique() == 3


# -- time ------------------------------------------------------------------------------------------


def test_hourly_rows_are_the_means_of_quarter_hours():
    quarters = make_transformer_station(4 * 499, covariates=True, n_feeders=2)
    hours = make_transformer_station(499, covariates=True, n_feeders=2, freq="1h")
    means = quarters.resample("1h").mean()
    np.testing.assert_allclose(hours, means, atol=0.1001)
    powers = [name for name in hours if name[:2] in ("HU", "MU", "LU")]
    np.testing.assert_allclose(hours[powers], means[powers], atol=0.01001)


def test_finer_rows_tell_the_same_days():
    quarters = make_transformer_station(120 * DAY)["HUFL"].resample("1D").mean()
    fine = make_transformer_station(120 * 3 * DAY, freq="5min")["HUFL"].resample("1D").mean()
    assert np.corrcoef(quarters, fine)[0, 1] > 0.8
    assert fine.std() == pytest.approx(quarters.std(), rel=0.25)


@pytest.mark.parametrize("step_hours", [1 / 12, 1 / 4, 1])
def test_noise_has_the_same_statistics_at_every_step(step_hours):
    clock = Clock(np.datetime64("2016-07-01T00:00"), round(40_000 / step_hours), step_hours)
    noise = ornstein_uhlenbeck(np.random.default_rng(7), clock, hours=5)
    assert noise.mean() == pytest.approx(0, abs=0.08)
    assert noise.std() == pytest.approx(1, abs=0.05)
    assert autocorrelation(noise, round(5 / step_hours)) == pytest.approx(np.exp(-1), abs=0.05)


def test_slow_noise_is_the_same_at_every_step():
    clocks = [Clock(np.datetime64("2016-07-01T00:00"), 24 * 41 * n, 1 / n) for n in (1, 4)]
    hourly, quarterly = (slow_walk(np.random.default_rng(7), c, days=3) for c in clocks)
    np.testing.assert_allclose(quarterly[::4], hourly, atol=1e-12)


def test_a_switch_is_on_for_its_share_of_time():
    clock = Clock(np.datetime64("2016-07-01T00:00"), 200_000, 0.25)
    on = telegraph(np.random.default_rng(7), clock, on_hours=3, off_hours=9)
    assert on.mean() == pytest.approx(0.25, abs=0.02)
    flips = np.flatnonzero(np.diff(on.astype(int)))
    assert len(flips) == pytest.approx(2 * 50_000 / 12, rel=0.1)


def test_streams_differ_by_name_and_by_feeder():
    streams = Streams(13)
    draws = [streams(feeder, name).random() for feeder in (0, 1) for name in ("a", "b")]
    assert len(set(draws)) == 4
    assert streams(1, "a").random() == draws[2]


@pytest.mark.parametrize(
    "day", ["2016-02-08", "2017-01-28", "2018-02-16", "2019-02-05", "2020-01-25", "2023-01-22"]
)
def test_spring_festival_starts_within_a_day_of_the_true_date(day):
    true = np.datetime64(day)
    year = np.arange(f"{day[:4]}-01-20", f"{day[:4]}-03-05", dtype="datetime64[D]")
    festival = year[public_holidays(year)]
    assert len(festival) == 7
    assert abs((festival[0] - true).astype(int)) <= 1


def test_working_level_knows_weekends_and_holidays():
    # Friday 30 September 2016, then national holidays to the 7th, a weekend, and a Monday.
    days = np.arange("2016-09-30", "2016-10-11", dtype="datetime64[D]")
    expected = [1.0, *[0.15] * 7, 0.6, 0.25, 1.0]
    np.testing.assert_array_equal(working_level(days), expected)


def test_sun_is_highest_at_noon_and_in_june_and_absent_at_night():
    clock = Clock(np.datetime64("2018-01-01T00:00"), 365 * 24, 1.0)
    sky = clear_sky_irradiance(clock).reshape(365, 24)
    assert (sky.argmax(axis=1) == 12).all()
    assert (sky[:, [0, 1, 22, 23]] == 0).all()
    assert 165 <= sky.sum(axis=1).argmax() <= 180
    # Haurwitz at the zenith angle of noon on 21 June: 32 - 23.45 degrees.
    height = np.cos(np.deg2rad(32 - 23.45))
    assert sky[171, 12] == pytest.approx(1098 * height * np.exp(-0.057 / height), rel=1e-3)


# -- the table -------------------------------------------------------------------------------------


def test_one_feeder_gives_a_table_like_ett():
    table = make_transformer_station(101, start="2018-02-28 22:15")
    assert list(table.columns) == COLUMNS
    assert table.shape == (101, 7)
    assert (table.dtypes == np.float64).all()
    assert table.index.name == "date"
    assert table.index[0] == pd.Timestamp("2018-02-28 22:15")
    assert table.index.freqstr == "15min"
    assert np.isfinite(table.to_numpy()).all()


def test_long_and_wide_hold_the_same_values():
    wide = make_transformer_station(29, n_feeders=3, covariates=True)
    long = make_transformer_station(29, n_feeders=3, covariates=True, layout="long")
    assert list(wide.columns) == [
        *[f"{name}_{i}" for i in (1, 2, 3) for name in COLUMNS],
        *["AMBIENT", "SUN", "WORKING"],
    ]
    assert list(long.columns) == ["feeder", "date", *COLUMNS, "AMBIENT", "SUN", "WORKING"]
    assert long.shape == (87, 12)
    second = long[long["feeder"] == "feeder_2"].set_index("date")
    np.testing.assert_array_equal(second[COLUMNS], wide[[f"{name}_2" for name in COLUMNS]])
    np.testing.assert_array_equal(second["SUN"], wide["SUN"])
    cube = long[COLUMNS].to_numpy().reshape(3, 29, 7)
    np.testing.assert_array_equal(cube[2, :, 6], wide["OT_3"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_steps": 0}, "n_steps must be a whole number of at least 1, got 0"),
        ({"n_feeders": 1.5}, "n_feeders must be a whole number of at least 1, got 1.5"),
        ({"freq": "MS"}, "freq must be a fixed length of time of at most a day.*got 'MS'"),
        ({"freq": "2D"}, "freq must be a fixed length of time of at most a day.*got '2D'"),
        ({"freq": None}, "freq must be a fixed length of time of at most a day.*got None"),
        ({"start": "soon"}, "start must be a date or time without time zone.*got 'soon'"),
        ({"start": pd.Timestamp("2016-07-01", tz="UTC")}, "without time zone.*UTC"),
        ({"n_steps": 10**15}, "beyond the last time stamp"),
        ({"layout": "cube"}, "layout must be one of 'wide', 'long'; got 'cube'"),
        ({"load_growth": 2}, "load_growth must be a number between -0.5 and 1, got 2"),
        ({"solar_growth": -0.1}, "solar_growth must be a number between 0 and 1, got -0.1"),
        ({"events": "no"}, "events must be one of True, False; got 'no'"),
        ({"random_state": -1}, "random_state must be a whole number of at least 0.*got -1"),
        ({"random_state": True}, "random_state must be a whole number of at least 0.*got True"),
        ({"random_state": "x"}, "random_state must be a whole number of at least 0.*got 'x'"),
    ],
)
def test_a_wrong_parameter_is_named_in_one_sentence(arguments, message):
    with pytest.raises(ParameterError, match=message):
        make_transformer_station(**{"n_steps": 7, **arguments})


def test_the_package_of_data_sets_imports_no_pandas():
    code = "import sys, titans_ts.datasets; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- is it worth forecasting? ----------------------------------------------------------------------


def test_ridge_beats_yesterday_and_is_far_from_perfect(two_years):
    context, horizon = 192, 96
    values = two_years[COLUMNS].to_numpy()[: 300 * DAY]
    train, test = values[: 200 * DAY], values[200 * DAY :]
    test, train = (part - train.mean(axis=0) for part in (test, train))
    test, train = test / train.std(axis=0), train / train.std(axis=0)

    def windows(part, stride):
        view = np.lib.stride_tricks.sliding_window_view(part, context + horizon, axis=0)
        rows = view[::stride].reshape(-1, context + horizon)
        mean = rows[:, :context].mean(axis=1, keepdims=True)
        return rows[:, :context] - mean, rows[:, context:] - mean

    past, future = windows(train, 13)
    weights = np.linalg.solve(past.T @ past + 100 * np.eye(context), past.T @ future)
    past, future = windows(test, 7)
    ridge = ((past @ weights - future) ** 2).mean()
    yesterday = ((past[:, -DAY:] - future) ** 2).mean()
    assert ridge < 0.8 * yesterday
    assert ridge > 0.15


@pytest.mark.real_data
@pytest.mark.skipif(not ETTM1.exists(), reason="ETTm1 does not lie beside the project")
def test_magnitudes_and_memory_are_those_of_a_real_station(two_years):
    real = pd.read_csv(ETTM1, index_col="date", parse_dates=True)
    ours = two_years[COLUMNS]
    assert list(real.columns) == COLUMNS
    loads = COLUMNS[:-1]
    ratio = ours[loads].mean() / real[loads].mean()
    assert ratio.between(0.5, 2).all()
    for column in COLUMNS:
        for lag in (1, DAY, 7 * DAY):
            simulated, measured = (autocorrelation(t[column].to_numpy(), lag) for t in (ours, real))
            assert simulated == pytest.approx(measured, abs=0.25), (column, lag)
