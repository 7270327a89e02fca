"""Clock changes: local times without a zone repeat an hour in autumn and skip one in spring."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["repeats_hour", "skips_hour", "steps_back_an_hour"]

_HOUR = pd.Timedelta(1, "h")

# When clocks change: on a Sunday of these months (in the south the other way round), in the night.
_SUNDAY, _MONTHS, _NIGHT = 6, (3, 4, 9, 10, 11), (1, 2, 3)


def repeats_hour(index: pd.DatetimeIndex) -> str:
    """Word what to do where stamps that repeat are all of an hour that clocks go back.

    Parameters
    ----------
    index : DatetimeIndex
        With or without stamps that repeat.

    Returns
    -------
    str
        A sentence that begins with a space; empty where something else repeats.
    """
    stamps = index[index.duplicated()]
    days = stamps.normalize()
    # One hour of a day at most: more is a second series, or a file that was appended twice.
    spans = pd.Series(stamps).groupby(np.asarray(days)).agg(["min", "max"])
    if not _at_night(stamps) or ((spans["max"] - spans["min"]) >= _HOUR).any():
        return ""
    return _twice()


def steps_back_an_hour(index: pd.DatetimeIndex) -> str:
    """Do the same where stamps that step back all do so by an hour at most, as clocks do."""
    at = np.flatnonzero(np.diff(index.asi8) < 0)
    before, after = index[at], index[at + 1]
    return _twice() if _at_night(after) and (before - after < _HOUR).all() else ""


def skips_hour(before: pd.DatetimeIndex, after: pd.DatetimeIndex, step: pd.Timedelta) -> str:
    """Word what to do where all gaps are the hour that clocks skip.

    Parameters
    ----------
    before, after : DatetimeIndex
        Stamps around each gap.
    step : Timedelta
        Between rows.

    Returns
    -------
    str
        A sentence that begins with a space; empty where something else is missing.
    """
    if not _at_night(before + step) or not (after - before - step == _HOUR).all():
        return ""
    return (
        " If it is the hour that summer time skips, give the local times their zone instead, such "
        "as tz_localize('Europe/Berlin')."
    )


def _twice() -> str:
    return (
        " If it is the hour that comes twice when summer time ends, give the local times their "
        "zone instead, such as tz_localize('Europe/Berlin', ambiguous='infer')."
    )


def _at_night(stamps: pd.DatetimeIndex) -> bool:
    if stamps.tz is not None or not len(stamps):
        return False
    sunday = stamps.day_of_week == _SUNDAY
    return bool((sunday & stamps.month.isin(_MONTHS) & stamps.hour.isin(_NIGHT)).all())
