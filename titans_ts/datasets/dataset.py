"""What loading a data set gives."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

__all__ = ["Dataset"]


@dataclass(frozen=True, repr=False, eq=False)
class Dataset:
    """A data set with what is known of it; ``data["frame"]`` is ``data.frame``, as in a Bunch.

    Attributes
    ----------
    name : str
        In the catalogue.
    frame : DataFrame
        One series: one column per variable, the time as index. A panel: long, with columns for id
        and time. With ``raw=True``, the table as published.
    roles : dict
        Parameters of a forecaster that say what the columns are: ``id_column``, ``time_column``,
        ``target``, ``past_covariates``, ``future_covariates``, ``static_covariates``, as far as
        they apply. A set whose columns are all to be forecast has none. With ``raw=True`` empty.
    freq : str or None
        Spacing of rows as a pandas frequency; None where time is counted in steps.
    split : dict
        The usual rows for training, validation and testing: ``n_train``, ``n_validation`` and
        ``n_test`` from the first row on, for :func:`titans_ts.backtesting.long_horizon_protocol`;
        rows after them stay unused. For panels these are the rows of each series. Sets with a
        published horizon have only ``n_test``: the last rows of each series.
    future : DataFrame or None
        Known-future covariates of the steps after the frame, where the publisher gives them. With
        ``raw=True``, the second file of sets that have two.
    DESCR : str
        The card: columns, units, quirks, licence.
    filename : str
        The file that was read.
    licence, citation : str
        Of the publisher; cite it where you publish results.

    Examples
    --------
    >>> from titans_ts.datasets import load_national_illness
    >>> data = load_national_illness()
    >>> data
    Dataset('national_illness': 966 rows x 7 columns, every W-TUE)
    >>> data.split
    {'n_train': 676, 'n_validation': 97, 'n_test': 193}
    """

    name: str
    frame: pd.DataFrame
    roles: dict[str, Any]
    freq: str | None
    split: dict[str, int]
    future: pd.DataFrame | None
    DESCR: str
    filename: str
    licence: str
    citation: str

    def keys(self) -> list[str]:
        """Names of what it holds."""
        return [field.name for field in fields(self)]

    def __getitem__(self, key: str) -> Any:
        if key not in self.keys():
            raise KeyError(key)
        return getattr(self, key)

    def __repr__(self) -> str:
        rows, columns = self.frame.shape
        step = f", every {self.freq}" if self.freq else ""
        return f"Dataset({self.name!r}: {rows:,} rows x {columns} columns{step})"
