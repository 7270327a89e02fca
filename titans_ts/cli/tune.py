"""``titans-ts tune``: search parameters of our model, as one worker or as one of many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from titans_ts.cli.columns import Columns
from titans_ts.cli.files import check_outputs, write_whole
from titans_ts.cli.models import make_titans
from titans_ts.cli.sources import Source, read_source
from titans_ts.cli.tables import fact_table, listed, trials_table
from titans_ts.cli.terminal import Terminal
from titans_ts.errors import ParameterError
from titans_ts.parameters import check_int, check_number
from titans_ts.persistence import check_save_path

__all__ = ["Request", "run"]


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    file: Path
    horizon: int
    columns: Columns
    parameters: dict[str, Any]  # further ones of TitansForecaster, those that were given
    storage: str | None
    study: str
    trials: int | None
    timeout: float | None
    splits: int
    metric: str
    vary: Sequence[str] | None
    ensemble: int
    seed: int
    out: Path | None
    csv: Path | None
    quiet: bool


def run(request: Request) -> None:
    """Do it; what is written is written when the study's budget is used up."""
    storage = request.storage
    journal = None if storage is None or "://" in storage else Path(storage)
    check_outputs(
        request.file, {"--csv": request.csv}, others={"--storage": journal, "--out": request.out}
    )
    check_int("--horizon", request.horizon)
    check_int("--trials", request.trials, optional=True)
    check_int("--splits", request.splits)
    check_int("--ensemble", request.ensemble)
    if request.ensemble > 1 and request.out is None:
        raise ParameterError(
            f"--ensemble {request.ensemble} is about the model that --out saves; give --out FOLDER."
        )
    if request.timeout is not None:
        check_number("--timeout", request.timeout, minimum=0)
    elif request.trials is None:
        raise ParameterError("--trials 0 means any number, and needs --timeout to end.")
    if request.out is not None:
        check_save_path(request.out)
    request.columns.check()
    terminal = Terminal(quiet=request.quiet)
    source = read_source(request.file, request.columns, whole=True)
    search = _search(request, source, terminal)
    with terminal.training():
        search.fit(source.table)
    table = search.results_table()
    # The model first: it took longest.
    if request.out is not None:
        search.best_estimator_.save(request.out)
    if request.csv is not None:
        write_whole(request.csv, table.to_csv(index=False, lineterminator="\n"))
    _show(terminal, request, source, search, table)


def _search(request: Request, source: Source, terminal: Terminal) -> Any:
    from titans_ts.tuning import TitansSearchCV, default_space  # loads optuna
    from titans_ts.tuning.defaults import ALSO

    estimator = make_titans(
        horizon=request.horizon,
        random_state=request.seed,
        **request.columns.for_titans(source.time_column),
        **request.parameters,
    )
    space = None
    if request.vary is not None:
        # As many rows as the first fold learns from.
        n_rows = int(source.series.lengths.max()) * 4 // 5
        also = [name for name in request.vary if name in ALSO]
        space = default_space(estimator, n_rows, also=also)
        for name in request.vary:
            if name not in space:
                known = ", ".join(dict.fromkeys([*space, *ALSO]))
                raise ParameterError(
                    f"--vary names {name!r}, expected some of {known} with commas between."
                )
        space = {name: space[name] for name in request.vary}
    return TitansSearchCV(
        estimator,
        param_distributions=space,
        n_trials=request.trials,
        timeout=request.timeout,
        cv=request.splits,
        scoring=request.metric,
        refit=request.out is not None,
        ensemble_size=request.ensemble,
        storage=request.storage,
        study_name=request.study,
        random_state=request.seed,
        verbose=terminal.verbose,
    )


def _show(
    terminal: Terminal, request: Request, source: Source, search: Any, table: pd.DataFrame
) -> None:
    from titans_ts.tuning.workers import shown

    counts = table["state"].value_counts()
    states = ", ".join(f"{counts[name]} {name}" for name in counts.index)
    many = f"{len(table)} trial{'s' * (len(table) != 1)}"
    gain = ""
    if search._own_place is not None:
        own = search.cv_results_["mean_test_score"][search._own_place]
        if own == own and own:  # not stopped, and no perfect score
            gain = f", {100 * (search.best_score_ / own - 1):+.1f} % against the defaults"
    saved = ""
    if request.ensemble > 1:
        saved = f"the mean of {len(search.ensemble_params_)} candidates"
    written = [str(path) for path in (request.out, request.csv) if path is not None]
    where = "" if request.storage is None else f" in {shown(request.storage)}"
    terminal.print(
        fact_table(
            {
                "Read": source.words(),
                "Columns": listed(source.layout.channels),
                "Study": f"{request.study}{where}: {many}, {states}",
                "Best": f"{request.metric} {-search.best_score_:.4g}{gain}",
                "Parameters": ", ".join(f"{k}={v!r}" for k, v in search.best_params_.items()),
                "Model": saved,
                "Written": ", ".join(written),
            }
        )
    )
    terminal.print(trials_table(table))
