"""Checks of an estimator in memory: parameters, fit, randomness, silence, refusals."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from titans_ts.testing.case import EstimatorCase, fail, identical, refusal

__all__ = [
    "check_bad_input",
    "check_bad_parameters",
    "check_copies",
    "check_data_untouched",
    "check_fit",
    "check_parameters",
    "check_refit",
    "check_repeatable",
    "check_silent",
    "check_unfitted",
]


def check_parameters(case: EstimatorCase) -> None:
    """The constructor only stores keyword arguments; get_params, set_params and clone agree."""
    estimator = case.make()
    for name, parameter in inspect.signature(type(estimator)).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            fail(
                f"{case.name}.__init__ takes {name!r} otherwise than by keyword; put a * before "
                "the first parameter, and take no *args or **kwargs."
            )
        if parameter.default is inspect.Parameter.empty:
            fail(f"{case.name}.__init__ gives {name!r} no default.")
    parameters = estimator.get_params(deep=False)
    for name, value in type(estimator)(**parameters).get_params(deep=False).items():
        if value is not parameters[name]:
            fail(
                f"{case.name}.__init__ stores something else as {name!r} than it is given; keep "
                "it as it is, and check or convert it in fit."
            )
    left = [name for name in vars(estimator) if name not in parameters]
    if left:
        fail(f"{case.name}.__init__ sets {left}; only parameters may be set before fit.")
    for name, value in parameters.items():
        marker = object()
        if getattr(estimator.set_params(**{name: marker}), name) is not marker:
            fail(f"{case.name}.set_params({name}=...) does not set {name!r}, or checks it.")
        estimator.set_params(**{name: value})
    copied = clone(estimator)
    if not identical(_plain(copied), _plain(estimator)):
        fail(f"sklearn.base.clone of a {case.name} has other parameters.")


def check_fit(case: EstimatorCase) -> None:
    """``fit`` returns self, keeps parameters as they are, and marks what it learnt with ``_``."""
    estimator = case.make()
    before = _plain(estimator)
    if estimator.fit(*case.fit) is not estimator:
        fail(f"{case.name}.fit must return self.")
    if not identical(_plain(estimator), before):
        fail(
            f"{case.name}.fit changes a parameter of the constructor; store what it makes of one "
            "under another name that ends with an underscore."
        )
    learnt = [name for name in vars(estimator) if name not in estimator.get_params(deep=False)]
    wrong = [name for name in learnt if not name.startswith("_") and not name.endswith("_")]
    if wrong:
        fail(f"{case.name}.fit sets {wrong}: names of what was learnt end with an underscore.")
    if not any(name.endswith("_") and not name.startswith("_") for name in learnt):
        fail(f"{case.name}.fit sets no attribute that ends with an underscore, as fitted ones do.")


def check_unfitted(case: EstimatorCase) -> None:
    """Before ``fit``, everything is refused with scikit-learn's NotFittedError."""
    for what, call in (
        ("used", lambda: case.answer(case.make())),
        ("saved", lambda: case.make().save(Path(tempfile.gettempdir()) / "never-written")),
    ):
        try:
            call()
        except NotFittedError:
            continue
        except Exception as error:
            fail(
                f"A {case.name} that is {what} before fit raises {type(error).__name__}: {error}; "
                "call sklearn.utils.validation.check_is_fitted(self) first."
            )
        fail(f"A {case.name} can be {what} before fit; raise sklearn's NotFittedError.")


def check_data_untouched(case: EstimatorCase) -> None:
    """Neither ``fit`` nor use changes the caller's data."""
    before = copy.deepcopy(case.fit)
    case.answer(case.make().fit(*case.fit))
    if not identical(case.fit, before):
        fail(f"{case.name} changes the data it is given; work on a copy.")


def check_repeatable(case: EstimatorCase) -> None:
    """The same ``random_state`` gives the same results, and moves nobody else's numbers."""
    before = _global_randomness()
    estimator = case.make().fit(*case.fit)
    first = case.answer(estimator)
    if not identical(_global_randomness(), before):
        fail(
            f"{case.name} draws from, or seeds, a global random generator (random, numpy or "
            "torch); draw from a generator of its own, made of random_state."
        )
    # As somebody else's program may have drawn in between.
    random.random(), np.random.random(), torch.rand(1)  # noqa: NPY002
    if not identical(case.answer(case.make().fit(*case.fit)), first):
        fail(
            f"Two {case.name} with the same random_state, fitted to the same data, answer "
            "differently; make every draw come from random_state."
        )
    if not identical(case.answer(estimator), first):
        fail(f"A {case.name} that is asked twice answers differently; use must change no state.")


def check_refit(case: EstimatorCase) -> None:
    """A second ``fit`` starts afresh."""
    estimator = case.make().fit(*case.fit)
    if not identical(case.answer(estimator.fit(*case.fit)), case.said):
        fail(f"A {case.name} that is fitted twice answers otherwise than one fitted once.")


def check_silent(case: EstimatorCase) -> None:
    """Nothing is printed, warned of, or left on the disk."""
    with _watched() as seen:
        case.answer(case.make().fit(*case.fit))
    for what, found in seen.items():
        if found:
            fail(f"{case.name} {what} while it is fitted and used: {found[:300]!r}.")


def check_copies(case: EstimatorCase) -> None:
    """Pickles and deep copies answer the same; a clone is not fitted."""
    for what, copied in (
        ("pickled", lambda: pickle.loads(pickle.dumps(case.fitted))),
        ("copied by copy.deepcopy", lambda: copy.deepcopy(case.fitted)),
    ):
        try:
            answer = case.answer(copied())
        except Exception as error:
            fail(f"A fitted {case.name} cannot be {what}: {type(error).__name__}: {error}")
        if not identical(answer, case.said):
            fail(f"A fitted {case.name} that was {what} answers differently.")
    try:
        case.answer(clone(case.fitted))
    except NotFittedError:
        return
    fail(f"sklearn.base.clone of a fitted {case.name} is fitted; it must keep parameters alone.")


def check_bad_input(case: EstimatorCase) -> None:
    """Bad data are refused by ``fit`` with a TitansError that says what is wrong."""
    if not case.bad_input:
        fail("The case names no bad_input; give a few arguments of fit that must be refused.")
    for what, arguments in case.bad_input.items():
        estimator = case.make()
        refusal(lambda: estimator.fit(*arguments), f"{case.name}.fit with bad data ({what})")  # noqa: B023
        try:
            case.answer(estimator)
        except NotFittedError:
            continue
        except Exception as error:
            fail(
                f"After bad data ({what}), a {case.name} raises {type(error).__name__} ({error}) "
                "instead of NotFittedError: check before anything is set."
            )
        fail(f"After bad data ({what}) were refused, a {case.name} is fitted all the same.")


def check_bad_parameters(case: EstimatorCase) -> None:
    """Bad values are taken by the constructor, and refused by ``fit`` with their name."""
    if not case.bad_parameters:
        fail("The case names no bad_parameters; give a value that fit must refuse for a few.")
    for name, value in case.bad_parameters.items():
        estimator = case.make().set_params(**{name: value})
        what = f"{case.name}.fit with {name}={value!r}"
        sentence = refusal(lambda: estimator.fit(*case.fit), what)  # noqa: B023
        if name not in sentence:
            fail(f"{what} is refused with {sentence!r}, which does not name {name!r}.")


# -- inside -----------------------------------------------------------------------------------


def _plain(estimator: Any) -> dict[str, Any]:
    """Parameters that can be compared later, whatever happens to them."""
    return copy.deepcopy(estimator.get_params(deep=False))


def _global_randomness() -> list[Any]:
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return [random.getstate(), name, keys.copy(), rest, torch.get_rng_state()]


@contextmanager
def _watched() -> Iterator[dict[str, str]]:
    """Run in an empty folder, and note what is written there, to the console, and as warnings."""
    seen: dict[str, str] = {}
    out, home = StringIO(), Path.cwd()
    sys.stdout.flush(), sys.stderr.flush()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as below:
        kept = [os.dup(number) for number in (1, 2)]
        os.chdir(folder)
        try:
            # Below Python too: a logger may hold a stream from before, and C prints past both.
            for number in (1, 2):
                os.dup2(below.fileno(), number)
            with (
                redirect_stdout(out),
                redirect_stderr(out),
                warnings.catch_warnings(record=True) as warned,
            ):
                warnings.simplefilter("always")
                yield seen
        finally:
            for number, old in zip((1, 2), kept, strict=True):
                os.dup2(old, number)
                os.close(old)
            os.chdir(home)
        below.seek(0)
        seen["prints"] = out.getvalue() + below.read().decode(errors="replace")
        seen["warns"] = "; ".join(f"{w.category.__name__}: {w.message}" for w in warned)
        seen["writes files into the working folder"] = ", ".join(sorted(os.listdir(folder)))
