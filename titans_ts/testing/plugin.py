"""A check of a plug-in as it was installed."""

from __future__ import annotations

import subprocess
import sys

from sklearn.base import BaseEstimator

from titans_ts.errors import HeadPluginError
from titans_ts.heads.registry import find_estimator_name, get_estimator, get_head, import_place
from titans_ts.persistence import SaveLoadMixin
from titans_ts.testing.case import fail

__all__ = ["check_plugin"]

# What a head's description has no need for.
HEAVY = ("torch", "lightning", "pandas", "sklearn", "matplotlib", "optuna")


def check_plugin(name: str) -> None:
    """Raise AssertionError, with a sentence, unless an installed head can be found and used.

    Its description is light to import, and every class and the command that it names are there.

    Parameters
    ----------
    name : str
        Of the head, as its entry point is called.

    Raises
    ------
    ParameterError
        No installed package offers it.

    Examples
    --------
    >>> from titans_ts.testing import check_plugin
    >>> check_plugin("forecast")
    """
    try:
        plugin = get_head(name)
    except HeadPluginError as error:
        fail(str(error))
    for label in plugin.estimators:
        try:
            found = get_estimator(name, label)
        except HeadPluginError as error:
            fail(str(error))
        if found.__name__ != label:
            fail(f"estimators[{label!r}] of head {name!r} is a class called {found.__name__!r}.")
        if not issubclass(found, BaseEstimator):
            fail(f"{label} of head {name!r} is no subclass of sklearn.base.BaseEstimator.")
        # A forecaster is saved with its table, in a way of its own.
        if not issubclass(found, SaveLoadMixin) and not hasattr(found, "load"):
            fail(f"{label} of head {name!r} cannot be saved; derive it from SaveLoadMixin.")
        if find_estimator_name(found) != f"{name}/{label}":
            fail(f"{label} is listed by {find_estimator_name(found)!r} too; list it in one head.")
        if not (found.__doc__ or "").strip():
            fail(f"{label} of head {name!r} has no docstring.")
    if plugin.command is not None:
        import typer

        try:
            app = import_place(plugin.command, f"The command of head {name!r}")
        except HeadPluginError as error:
            fail(str(error))
        if not isinstance(app, typer.Typer):
            fail(f"command of head {name!r} is a {type(app).__name__}, expected a typer.Typer.")
    _check_light(name)


def _check_light(name: str) -> None:
    code = (
        "import sys; from titans_ts.heads import get_head; get_head(sys.argv[1]);"
        " sys.stdout.write(' '.join(m for m in sys.argv[2:] if m in sys.modules))"
    )
    command = [sys.executable, "-c", code, name, *HEAVY]
    heavy = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if heavy:
        fail(
            f"Describing head {name!r} imports {heavy}, and so would titans-ts --help: name "
            "estimators as text in a module that imports titans_ts.heads and nothing else."
        )
