"""Save an ensemble as a folder with its members' folders inside, and load it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sklearn.base import clone

import titans_ts
from titans_ts.errors import ParameterError, SavedModelError
from titans_ts.persistence.files import MOST_TEXT, sha256_of
from titans_ts.persistence.folder import (
    FORECASTER,
    MEMBERS,
    encoded_parameters,
    new_folder,
    restoring,
    write_header,
)
from titans_ts.persistence.plain_json import decode

__all__ = ["Ensemble", "load_ensemble", "save_ensemble"]


class Ensemble(Protocol):
    """What is needed of an ensemble; :class:`titans_ts.EnsembleForecaster` has it."""

    forecasters: list[tuple[str, Any]]
    weights: Any
    members_: list[Any]

    def __init__(self, forecasters: list[tuple[str, Any]], *, weights: Any) -> None: ...

    def _take(self, members: list[Any]) -> None: ...

    def _check_loaded(self) -> None: ...


AnyEnsemble = TypeVar("AnyEnsemble", bound=Ensemble)


def save_ensemble(ensemble: Ensemble, path: str | Path, save: Callable[[Any, Path], None]) -> None:
    """Write a fitted ensemble to a folder, or leave everything as it was.

    Parameters
    ----------
    ensemble : EnsembleForecaster
        Fitted.
    path : str or Path
        As for :func:`titans_ts.persistence.save_forecaster`.
    save : callable
        Writes a member to the folder it is given.

    Raises
    ------
    ParameterError
        As for a forecaster; or a member is of a class that only its own ``load`` finds.
    """
    names = [name for name, _ in ensemble.forecasters]
    for name, member in zip(names, ensemble.members_, strict=True):
        refuse_other_class(member, f"The member {name!r}", "Save the members one by one.")
    weights = encoded_parameters({"weights": ensemble.weights}, dispensable=())
    with new_folder(FORECASTER, path) as part:
        sums = []
        for i, member in enumerate(ensemble.members_):
            folder = part / MEMBERS / str(i)
            save(member, folder)
            sums.append(sha256_of(folder / FORECASTER.json_file))
        about = {"class": type(ensemble).__name__, "names": names, **weights, MEMBERS: sums}
        write_header(FORECASTER, part, about)


def refuse_other_class(forecaster: Any, what: str, instead: str) -> None:
    """Raise ParameterError for a class that only its own ``load`` finds."""
    kind = type(forecaster)
    if kind is not getattr(titans_ts, kind.__name__, None):
        raise ParameterError(
            f"{what} is a {kind.__name__}, which titans_ts could not find again: expected one of "
            f"its own forecasters. {instead}"
        )


def load_ensemble(
    target: type[AnyEnsemble],
    folder: Path,
    header: dict[str, Any],
    load: Callable[[Path], Any],
) -> AnyEnsemble:
    """Read an ensemble that :func:`save_ensemble` wrote.

    Parameters
    ----------
    target : type
        The class to make.
    folder : Path
    header : dict
        What the folder says in JSON.
    load : callable
        Reads a member from its folder.

    Raises
    ------
    SavedModelError
        A member is missing, damaged or another than was saved; or they do not fit together.
    """
    with restoring(FORECASTER, folder, header):
        members = []
        for i, expected in enumerate(header[MEMBERS]):
            place = folder / MEMBERS / str(i)
            file = place / FORECASTER.json_file
            if not file.is_file():
                raise SavedModelError(
                    f"{str(folder)!r} lacks its member {MEMBERS}/{i}. The folder was copied in "
                    "part; copy it again, or save the ensemble again."
                )
            # Before it is read: so no member can hold itself.
            if file.stat().st_size > MOST_TEXT or sha256_of(file) != expected:
                raise SavedModelError(
                    f"{str(place)!r} is not the member that was saved: its checksum differs from "
                    f"the one in {FORECASTER.json_file} of the ensemble. It was altered or "
                    "exchanged; copy the folder again, or save the ensemble again."
                )
            members.append(load(place))
        named = zip(header["names"], members, strict=True)
        ensemble = target(
            [(name, clone(member)) for name, member in named], weights=decode(header["weights"])
        )
        ensemble._take(members)
        ensemble._check_loaded()
    return ensemble
