"""From a table as published to one that a forecaster takes: only what the manifest names.

The steps, in this order: ``missing_values`` (numbers that stand for missing ones), the time (of a
column, of several, or of a start and a step), the id, ``drop``, ``sort``, ``duplicates``, ``grid``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from titans_ts.datasets.manifest import CatalogueEntry

__all__ = ["mend"]


def mend(entry: CatalogueEntry, tables: list[pd.DataFrame]) -> tuple[pd.DataFrame, Any]:
    """Mend the tables of a set as its card says.

    Parameters
    ----------
    entry : CatalogueEntry
    tables : list of DataFrame
        One per file, as published; left untouched.

    Returns
    -------
    frame : DataFrame
        Wide: the time is the index, named as published. Long: id and time come first.
    future : DataFrame or None
        Known-future covariates after the end of ``frame``.
    """
    if entry.read.get("layout") == "m4":
        return _m4(tables), None
    frames = [_mended(entry, table) for table in tables]
    return frames[0], frames[1] if len(frames) > 1 else None


def _mended(entry: CatalogueEntry, table: pd.DataFrame) -> pd.DataFrame:
    read, steps = entry.read, entry.mend
    frame = _without_sentinels(table, steps.get("missing_values", {}))
    if read["format"] == "tsf":
        frame = frame.rename(columns={"series_name": "unique_id", "value": "y"})
    frame = _with_time(frame, read)
    time, keys = read["time"]["name"], []
    if "id_from" in read:
        words = [frame[column].astype(str) for column in read["id_from"]]
        frame.insert(0, "series", words[0].str.cat(words[1:], sep="/"))
    if "id_column" in entry.roles:
        keys = [entry.roles["id_column"]]
    frame = frame.drop(columns=list(steps.get("drop", ())))
    first = [*keys, time]
    frame = frame[[*first, *(c for c in frame.columns if c not in first)]]
    if steps.get("sort"):
        frame = frame.sort_values(first, kind="stable", ignore_index=True)
    how = steps.get("duplicates")
    if how == "first":
        frame = frame.drop_duplicates(first, ignore_index=True)
    elif how == "mean":
        frame = frame.groupby(first, as_index=False, sort=False).mean()
    if keys:
        return frame.reset_index(drop=True)
    frame = frame.set_index(time)
    whole = pd.date_range(frame.index[0], frame.index[-1], freq=entry.freq, name=time)
    if steps.get("grid"):
        return frame.reindex(whole)
    # The same stamps, and an index that knows their spacing; other stamps would not be the file's.
    assert whole.equals(frame.index), f"{entry.name} is not regular"
    return frame.set_axis(whole, axis=0)


def _without_sentinels(table: pd.DataFrame, missing: Mapping[str, list[float]]) -> pd.DataFrame:
    frame = table.copy()
    for column, values in missing.items():
        numeric = list(frame.select_dtypes("number").columns)
        for label in numeric if column == "*" else [column]:
            bad = frame[label].isin(values)
            if bad.any():
                frame[label] = frame[label].mask(bad)
    return frame


def _with_time(frame: pd.DataFrame, read: Mapping[str, Any]) -> pd.DataFrame:
    """A copy with the time as a column; columns that it was made of are gone."""
    time = read["time"]
    name = time["name"]
    if "parts" in time:
        parts = frame[time["parts"]]
        frame = frame.drop(columns=time["parts"])
        frame[name] = pd.to_datetime(parts)
    elif "start" in time:
        frame = frame.copy()
        frame[name] = pd.date_range(time["start"], periods=len(frame), freq=time["freq"])
    elif "starts" in time:
        # Once per start, not per row. Floored: some series of KDD Cup 2018 start a second late.
        codes, starts = pd.factorize(frame[time["starts"]])
        first = pd.to_datetime(pd.Series(starts), format="%Y-%m-%d %H-%M-%S").dt.floor("h")
        start = first.to_numpy()[codes]
        frame = frame.drop(columns=[time["starts"]])
        frame[name] = start + pd.to_timedelta(frame.pop("step").to_numpy(), unit="h")
    elif time.get("steps"):
        frame = frame.drop(columns=["start_timestamp"]).rename(columns={"step": name})
        frame[name] += 1
    else:
        frame = frame.copy()
        frame[name] = pd.to_datetime(
            frame[name], format=time.get("format"), utc=time.get("utc", False)
        )
    return frame


def _m4(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Training and test rows of each series, one below the other; ``ds`` counts from 1."""
    ids = tables[0].iloc[:, 0]
    tests = tables[1].set_index(tables[1].columns[0]).loc[ids]
    whole = np.concatenate([tables[0].iloc[:, 1:].to_numpy(float), tests.to_numpy(float)], axis=1)
    there = ~np.isnan(whole)  # the training rows are padded on the right, so in the middle here
    lengths = there.sum(axis=1)
    return pd.DataFrame(
        {
            "unique_id": np.repeat(ids.to_numpy(dtype=object), lengths),
            "ds": np.concatenate([np.arange(1, n + 1) for n in lengths]),
            "y": whole[there],
        }
    )
