"""SearchBar: one bar for the trials of a study."""

from __future__ import annotations

from typing import Any, Self

from optuna.study import Study
from optuna.trial import TrialState
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from titans_ts.tuning.trials import Ledger

__all__ = ["SearchBar"]


class SearchBar:
    """A progress bar on standard error, with the best score so far.

    Parameters
    ----------
    shown : bool
    n_trials : int or None
        The budget.
    """

    def __init__(self, shown: bool, n_trials: int | None) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not shown,
        )
        self._task = self._bar.add_task("Trials", total=n_trials)

    def __enter__(self) -> Self:
        if not self._bar.disable:
            self._bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if not self._bar.disable:  # rich 13 ends even a bar that is not shown with a blank line
            self._bar.stop()

    def update(self, study: Study, ledger: Ledger) -> None:
        """Show what was done so far, by whomever."""
        if self._bar.disable:
            return
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        best = max((trial.values[0] for trial in trials), default=None)
        words = "Trials" if best is None else f"Trials, best score {best:.4g}"
        self._bar.update(self._task, completed=ledger.n_done, description=words)
