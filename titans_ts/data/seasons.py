"""Seasons: after how many steps a series of some frequency may repeat itself."""

from __future__ import annotations

import pandas as pd

from titans_ts.data.frequency import parse_freq

__all__ = ["season_candidates"]

HOUR, DAY, WEEK = 3600, 24 * 3600, 7 * 24 * 3600  # seconds

# Steps in a season, for frequencies that are no fixed number of seconds: their pandas prefix,
# less what says start, end or business.
CALENDAR_SEASONS = {"B": 5, "W": 52, "SM": 24, "M": 12, "Q": 4, "Y": 1, "A": 1}


def season_candidates(freq: str | None) -> tuple[int, ...]:
    """Seasons worth trying at a frequency, in steps.

    ====================================  ==========================================
    Step                                  Seasons
    ====================================  ==========================================
    under a minute                        an hour and a day (``"10s"``: 360, 8640)
    a minute to under a day               a day and a week (``"15min"``: 96, 672;
                                          ``"h"``: 24, 168)
    a day, or days that divide a week     a week (``"D"``: 7)
    business days, weeks                  5, 52
    months, quarters (and their halves)   12, 4 (``"2MS"``: 6)
    years, none, anything else            none
    ====================================  ==========================================

    Parameters
    ----------
    freq : str or None
        As pandas writes it.

    Returns
    -------
    tuple of int
        Each above 1; empty where repeating the last value is all that one can do.

    Raises
    ------
    ParameterError
        It is no frequency.

    Examples
    --------
    >>> season_candidates("15min"), season_candidates("MS"), season_candidates("YE")
    ((96, 672), (12,), ())
    """
    if freq is None:
        return ()
    offset = parse_freq(freq)
    if isinstance(offset, pd.offsets.Tick | pd.offsets.Day):
        # A Day is a Tick in pandas 2, but not in pandas 3.
        days = isinstance(offset, pd.offsets.Day)
        step = offset.n * DAY if days else offset.nanos / 1e9
        seasons = (HOUR, DAY) if step < 60 else (DAY, WEEK) if step < DAY else (WEEK,)
        counts = [season / step for season in seasons]
    else:
        prefix = offset.rule_code.partition("-")[0]
        # ME, MS, BMS, BQE, SME ... say the same as M, Q and SM.
        stem = prefix if prefix == "B" else prefix.removeprefix("B").rstrip("ES")
        counts = [CALENDAR_SEASONS.get(stem, 1) / offset.n]
    return tuple(int(count) for count in counts if count > 1 and count == int(count))
