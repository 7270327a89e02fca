"""Heads by name, found by entry points: our own in just the way that a stranger's package is.

A package offers a head by an entry point of the group ``titans_ts.heads`` that names a
:class:`HeadPlugin`::

    [project.entry-points."titans_ts.heads"]
    language = "titans_ts.plugins.language:plugin"

That module is imported when heads are listed, so it should import little. Estimators and the
command are named by text, and imported when they are used.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from titans_ts.errors import HeadPluginError, HeadPluginWarning, ParameterError

if TYPE_CHECKING:
    from importlib.metadata import Distribution

__all__ = ["GROUP", "FoundHead", "HeadPlugin", "find_heads", "get_estimator", "get_head"]

GROUP = "titans_ts.heads"

#: Its heads go before those of others that are called the same.
OURS = "titans-ts"

# What was warned of, so that each is told once.
_told: set[str] = set()


@dataclass(frozen=True)
class HeadPlugin:
    """What a package says of its head.

    Parameters
    ----------
    name : str
        As the entry point is called: small letters, digits and hyphens.
    summary : str
        One line, for ``titans-ts heads`` and ``titans-ts --help``.
    estimators : mapping of str to str
        Where each public class is, as ``"module:Class"``, by its name; imported on use. The names
        are what saved models are known by, so they outlive a move to another module.
    command : str, optional
        A typer app as ``"module:app"``, which becomes ``titans-ts NAME ...``; imported on use.

    Raises
    ------
    ParameterError
        A field is not of this form.

    Examples
    --------
    >>> from titans_ts.heads import HeadPlugin
    >>> plugin = HeadPlugin(
    ...     name="activity",
    ...     summary="Tell what somebody is doing from what sensors measure.",
    ...     estimators={"ActivityClassifier": "titans_activity.classifier:ActivityClassifier"},
    ... )
    """

    name: str
    summary: str
    estimators: Mapping[str, str]
    command: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[a-z][a-z0-9-]*", self.name):
            raise ParameterError(
                "A head's name must be small letters, digits and hyphens, such as 'activity'; got "
                f"{self.name!r}."
            )
        if not isinstance(self.summary, str) or not self.summary.strip() or "\n" in self.summary:
            raise ParameterError(
                f"The summary of head {self.name!r} must be one line of text, got {self.summary!r}."
            )
        if not isinstance(self.estimators, Mapping) or not self.estimators:
            raise ParameterError(
                f"estimators of head {self.name!r} must map names of classes to places such as "
                f"{{'MyEstimator': 'my_package.model:MyEstimator'}}, got {self.estimators!r}."
            )
        for name, place in self.estimators.items():
            if not isinstance(name, str) or not name.isidentifier():
                raise ParameterError(
                    f"estimators of head {self.name!r} names {name!r}, expected a class's name."
                )
            _check_place(f"estimators[{name!r}] of head {self.name!r}", place)
        if self.command is not None:
            _check_place(f"command of head {self.name!r}", self.command)


@dataclass(frozen=True)
class FoundHead:
    """A head that an installed package offers, whole or broken."""

    name: str
    package: str  # as it was installed
    version: str
    plugin: HeadPlugin | None  # None where it is broken
    problem: str | None = None  # why it is, and what to do


def find_heads() -> tuple[FoundHead, ...]:
    """Return every head that is installed, in the order of their names.

    Warns
    -----
    HeadPluginWarning
        For each that is broken, once; it is returned with its ``problem``.

    Examples
    --------
    >>> from titans_ts.heads import find_heads
    >>> "forecast" in [head.name for head in find_heads()]
    True
    """
    heads = survey()
    for head in heads:
        if head.problem is not None and head.problem not in _told:
            _told.add(head.problem)
            warnings.warn(head.problem, HeadPluginWarning, stacklevel=2)
    return heads


def survey() -> tuple[FoundHead, ...]:
    """What :func:`find_heads` returns, without a warning: for lists that show what is broken."""
    offers, unreadable = _offers()
    heads = [_load(name, offers[name]) for name in offers]
    return tuple(sorted([*heads, *unreadable], key=lambda head: (head.name, head.package)))


def get_head(name: str) -> HeadPlugin:
    """Return a head by its name; no other is imported.

    Raises
    ------
    ParameterError
        No installed package offers it; the message lists those that are.
    HeadPluginError
        It is broken; the message says of which package it is, and what to do.

    Examples
    --------
    >>> from titans_ts.heads import get_head
    >>> sorted(get_head("forecast").estimators)[-1]
    'TitansForecaster'
    """
    offers, _ = _offers()
    if name not in offers:
        raise ParameterError(
            f"No head is called {name!r}; {_known('installed are', offers, name)} "
            "`titans-ts heads` lists them. Install the package that brings it, or correct the name."
        )
    found = _load(name, offers[name])
    if found.plugin is None:
        raise HeadPluginError(found.problem)
    return found.plugin


def get_estimator(head: str, name: str) -> type:
    """Return an estimator's class by the name of its head and its own.

    Raises
    ------
    ParameterError
        There is no such head, or it has no such estimator.
    HeadPluginError
        The head is broken, or what it names cannot be imported.

    Examples
    --------
    >>> from titans_ts.heads import get_estimator
    >>> get_estimator("forecast", "RidgeForecaster")
    <class 'titans_ts.baselines.ridge.RidgeForecaster'>
    """
    plugin = get_head(head)
    if name not in plugin.estimators:
        raise ParameterError(
            f"The head {head!r} has no estimator {name!r}; "
            f"{_known('it has', plugin.estimators, name)}"
        )
    found = import_place(plugin.estimators[name], f"The estimator {name} of head {head!r}")
    if not isinstance(found, type):
        raise HeadPluginError(
            f"The estimator {name} of head {head!r} is a {type(found).__name__} "
            f"({plugin.estimators[name]}), expected a class. Tell its authors."
        )
    return found


def find_estimator(name: str) -> type | None:
    """Return the one estimator of this name among all heads; None where there is none.

    Raises
    ------
    ParameterError
        Several heads have one, and none of them is ours, which go before those of others.
    HeadPluginError
        What the head names cannot be imported.
    """
    having = [head for head in survey() if head.plugin and name in head.plugin.estimators]
    having = [head for head in having if _plain(head.package) == OURS] or having
    if len(having) > 1:
        heads = " and ".join(f"{head.name!r} of package {head.package}" for head in having)
        raise ParameterError(
            f"The heads {heads} have an estimator {name!r} each. Say whose: "
            f"titans_ts.heads.get_estimator({having[0].name!r}, {name!r})."
        )
    return get_estimator(having[0].name, name) if having else None


def find_estimator_name(cls: type) -> str:
    """Return ``"head/Class"`` for a class that a head lists, and its bare name for another."""
    head = find_head_of(cls)
    return cls.__name__ if head is None else f"{head.name}/{cls.__name__}"


def find_head_of(cls: type) -> FoundHead | None:
    """Return the head that lists a class; None where none does."""
    for head in survey():
        if head.plugin is not None and cls.__name__ in head.plugin.estimators:
            try:
                found = get_estimator(head.name, cls.__name__)
            except HeadPluginError:  # a namesake of another head that cannot be imported
                continue
            if found is cls:
                return head
    return None


def import_place(place: str, what: str) -> Any:
    """Import what stands at ``"module:name"``.

    Parameters
    ----------
    place : str
        From a :class:`HeadPlugin`, never from a file.
    what : str
        What it is, to begin a sentence with.

    Raises
    ------
    HeadPluginError
        It cannot be imported.
    """
    module, _, attribute = place.partition(":")
    try:
        found = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except KeyboardInterrupt:
        raise
    # Whatever a stranger's module raises, which need not be an Exception (a panic of Rust is none);
    # one that ends the process must not end ours.
    except BaseException as error:
        raise HeadPluginError(
            f"{what} cannot be imported from {place!r}: {_in_words(error)}. Install what it "
            "needs, or upgrade the package that brings it."
        ) from error
    return found


# -- inside -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Offer:
    """An entry point of ours in an installed package."""

    package: str
    version: str
    value: str


def _offers() -> tuple[dict[str, list[_Offer]], list[FoundHead]]:
    """Who offers each name, and packages whose list of entry points cannot be read."""
    offers: dict[str, list[_Offer]] = {}
    unreadable = []
    for package, version, distribution in _packages():
        try:
            points = distribution.entry_points.select(group=GROUP)
        # One malformed file must not hide the heads of other packages.
        except Exception as error:
            unreadable.append(
                FoundHead(
                    "?",
                    package,
                    version,
                    None,
                    f"The heads of package {package} {version} cannot be read: its list of entry "
                    f"points is malformed ({_in_words(error)}). Install it again, or uninstall it.",
                )
            )
            continue
        for point in points:
            # Our own plug-ins are folders that may be taken out, or left out of a wheel.
            if _plain(package) == OURS and not _is_there(point.value.partition(":")[0]):
                continue
            offer = _Offer(package, version, point.value)
            if offer not in offers.setdefault(point.name, []):
                offers[point.name].append(offer)
    return offers, unreadable


def _packages() -> Iterator[tuple[str, str, Distribution]]:
    """Installed packages with an entry point of ours, each once."""
    from importlib.metadata import PackageNotFoundError, distribution, distributions

    seen = set()
    for candidate in distributions():
        # As text first: reading the metadata of all that is installed takes a second.
        if not _speaks_of_heads(candidate):
            continue
        try:
            # The one that Python would import, where two versions are on its path.
            first = distribution(candidate.name)
            package, version = first.name, first.version
        except (PackageNotFoundError, KeyError, TypeError, ValueError):  # without a name
            continue
        key = _plain(package)
        if key not in seen and _speaks_of_heads(first):
            seen.add(key)
            yield package, version, first


def _speaks_of_heads(distribution: Distribution) -> bool:
    try:
        return GROUP in (distribution.read_text("entry_points.txt") or "")
    except UnicodeDecodeError as error:
        return GROUP.encode() in error.object
    # It may; whoever reads it next tells what is wrong.
    except Exception:
        return True


def _load(name: str, offers: list[_Offer]) -> FoundHead:
    ours = [offer for offer in offers if _plain(offer.package) == OURS]
    offers = sorted(ours or offers, key=lambda offer: offer.package)
    offer = offers[0]
    of = f"The head {name!r} of package {offer.package} {offer.version}"

    def broken(why: str, advice: str) -> FoundHead:
        return FoundHead(name, offer.package, offer.version, None, f"{why} {advice}")

    if len(offers) > 1:
        # Not the first on the path: which model a saved folder is must not hang on its order.
        packages = " and ".join(f"{o.package} {o.version} ({o.value})" for o in offers)
        return broken(
            f"Two heads are called {name!r}, so neither is used: {packages}.",
            "Uninstall one of the packages.",
        )
    advice = "Install what it needs, or upgrade or uninstall the package; other heads work on."
    try:
        plugin = import_place(offer.value, of)
    except HeadPluginError as error:
        return broken(f"{of} is broken: {_in_words(error.__cause__ or error)}.", advice)
    if not isinstance(plugin, HeadPlugin):
        return broken(
            f"{of} is broken: {offer.value!r} is a {type(plugin).__name__}, expected a "
            "titans_ts.heads.HeadPlugin.",
            advice,
        )
    if plugin.name != name:
        return broken(
            f"{of} is broken: it calls itself {plugin.name!r}, and its entry point {name!r}.",
            advice,
        )
    return FoundHead(name, offer.package, offer.version, plugin)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # nor is the package that it would be in
        return False


def _plain(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _check_place(what: str, place: Any) -> None:
    module, colon, attribute = place.partition(":") if isinstance(place, str) else ("", "", "")
    parts = [*module.split("."), *attribute.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise ParameterError(
            f"{what} must be a place such as 'my_package.model:MyEstimator', got {place!r}."
        )


def _known(begin: str, names: Mapping[str, Any], given: str) -> str:
    near = difflib.get_close_matches(str(given), names, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return f"{begin} {', '.join(map(repr, sorted(names))) or 'none'}.{guess}"


def _in_words(error: BaseException) -> str:
    try:
        first = str(error).strip().split("\n")[0].rstrip(".")
    except Exception:  # a stranger's error may have no words
        first = ""
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
