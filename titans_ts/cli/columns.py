"""What the columns of a table are for, as the options say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from titans_ts.data.layout import Layout
from titans_ts.errors import ParameterError

__all__ = ["Columns"]


@dataclass(frozen=True)
class Columns:
    """Options that say what the columns of a table are; None where one was not given."""

    time_column: str | None = None
    id_column: str | None = None
    freq: str | None = None
    target: list[str] | None = None
    past_covariates: list[str] | None = None
    future_covariates: list[str] | None = None
    static_covariates: list[str] | None = None
    calendar: bool = False
    holidays: str | None = None

    def check(self) -> None:
        """Raise ParameterError where options do not go together."""
        if self.holidays is None:
            return
        if not self.calendar:
            raise ParameterError(
                f"--holidays {self.holidays} adds public holidays to what --calendar tells, but "
                "--calendar was not given. Give both, or neither."
            )
        from titans_ts.data.calendar import check_holidays

        check_holidays(self.holidays)

    def of_fit(self) -> dict[str, Any]:
        """Those that were given and belong to fitting a model, by the names of its parameters."""
        named = {
            "target": self.target,
            "id_column": self.id_column,
            "freq": self.freq,
            "past_covariates": self.past_covariates,
            "future_covariates": self.future_covariates,
            "static_covariates": self.static_covariates,
            "calendar": self.calendar or None,
            "holidays": self.holidays,
        }
        return {name: value for name, value in named.items() if value is not None}

    def for_table(self, time_column: str | None) -> dict[str, Any]:
        """Parameters of :func:`titans_ts.data.schema.read_table`.

        Parameters
        ----------
        time_column : str or None
            Where the time is a column of the table, and not its index.
        """
        extra = ("calendar", "holidays")
        named = {name: value for name, value in self.of_fit().items() if name not in extra}
        return {**named, "time_column": time_column}

    def for_titans(self, time_column: str | None) -> dict[str, Any]:
        """Parameters of our model; ``time_column`` as in :meth:`for_table`."""
        return {**self.of_fit(), "time_column": time_column}

    def for_baselines(self, time_column: str | None, layout: Layout) -> dict[str, Any]:
        """Parameters of the baselines, which read no covariates; they forecast the same columns."""
        # Named only where other columns lie beside them.
        named = self.target or self.past_covariates or self.future_covariates
        target = list(layout.labels) if named or self.static_covariates else None
        common = {"id_column": self.id_column, "freq": self.freq, "time_column": time_column}
        return {**common, "target": target}
