"""Write a forecaster to a folder and read it back.

::

    folder/
      forecaster.json        format version, class, parameters, what was fitted, checksums of
      arrays.safetensors     (the kept context, weights and whatever else is an array) and itself

A save is written to a folder beside its goal and renamed when complete, so a folder that can be
seen is whole. A load checks both checksums before it believes a word, and what a checksum cannot
tell, since whoever alters a file may also write that, before it makes anything of a size that the
files name.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from safetensors.numpy import load_file, save_file

import titans_ts
from titans_ts.data.schema import Layout
from titans_ts.data.series import SeriesSet
from titans_ts.errors import ParameterError, SavedModelError
from titans_ts.persistence.files import (
    OWN_SUM,
    flush,
    has_own_sum,
    read_json,
    sha256_of,
    signed_text,
)
from titans_ts.persistence.place import find_whole, put_in_place
from titans_ts.persistence.plain_json import decode, encode

__all__ = [
    "FORMAT_VERSION",
    "check_save_path",
    "fingerprint",
    "load_forecaster",
    "save_forecaster",
]

#: Raised when a folder written today could not be read by yesterday's code, or says more that must
#: be there. 2: the header has a checksum of its own, and the size of the arrays.
FORMAT_VERSION = 2

JSON_FILE, ARRAYS_FILE = "forecaster.json", "arrays.safetensors"
FORMAT_NAME = "titans_ts forecaster"

# A folder names its class; only these names of titans_ts are ever looked up.
_CLASSES = {
    "LinearForecaster",
    "RidgeForecaster",
    "SeasonalNaiveForecaster",
    "TitansForecaster",
}

# Parameters that no longer matter once a forecaster is fitted: where they hold what JSON cannot
# (callbacks, a generator), null is written instead of refusing to save.
_DISPENSABLE = {"trainer_kwargs", "random_state"}

_CONTEXT = ("values", "observed", "offsets")

# Letters of a message in which a file has its say.
MOST_WORDS = 800


class Saveable(Protocol):
    """What is needed of a forecaster; :class:`titans_ts.base.BaseForecaster` has it."""

    layout_: Layout
    context_: SeriesSet
    context_length_: int
    n_features_in_: int
    freq_: str | None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's parameters."""

    def _check_loaded(self) -> None: ...

    def _fitted_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]: ...

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None: ...

    def _transform_state(self) -> tuple[dict[str, Any] | None, dict[str, np.ndarray]]: ...

    def _restore_transform(
        self, values: dict[str, Any] | None, arrays: dict[str, np.ndarray]
    ) -> None: ...


Forecaster = TypeVar("Forecaster", bound=Saveable)


def save_forecaster(forecaster: Saveable, path: str | Path) -> None:
    """Write a fitted forecaster to a folder.

    Parameters ``trainer_kwargs`` and ``random_state`` are written as null where they hold objects
    that JSON cannot keep, such as callbacks; they do not matter after ``fit``.

    Parameters
    ----------
    forecaster : BaseForecaster
        Fitted.
    path : str or Path
        A folder that does not exist yet, or one that an earlier save wrote, which is replaced as a
        whole. Missing parent folders are made.

    Raises
    ------
    ParameterError
        ``path`` is a file or a folder that is not a saved forecaster, or another parameter holds
        an object that cannot be saved.
    OSError
        The disk is full or not writable. Whatever was at ``path`` before is still there, and
        nothing else.
    """
    goal = Path(os.path.abspath(path))
    check_save_path(path)
    header, arrays = _describe(forecaster)
    made = [p for p in (goal.parent, *goal.parent.parents) if not p.exists()]
    part = goal.parent / f".{goal.name}.{uuid.uuid4().hex}.part"
    try:
        part.mkdir(parents=True)
        save_file(arrays, part / ARRAYS_FILE)
        header["arrays_bytes"] = (part / ARRAYS_FILE).stat().st_size
        header["arrays_sha256"] = sha256_of(part / ARRAYS_FILE)
        (part / JSON_FILE).write_text(signed_text(header), encoding="utf-8")
        # safetensors lets only the owner read; a server often runs as somebody else.
        (part / ARRAYS_FILE).chmod((part / JSON_FILE).stat().st_mode)
        for file in (part / ARRAYS_FILE, part / JSON_FILE, part):
            flush(file)
        put_in_place(part, goal)
    except BaseException:  # an interrupt too must leave nothing behind
        shutil.rmtree(part, ignore_errors=True)
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise


def load_forecaster(
    cls: type[Forecaster], path: str | Path, *, device: str | None = None
) -> Forecaster:
    """Read a forecaster that :func:`save_forecaster` wrote.

    Parameters
    ----------
    cls : type
        The class to expect, or a base class of it. A class of the caller's own is found by its
        name being that of ``cls``.
    path : str or Path
    device : str, optional
        Where weights go, for a forecaster that has any.

    Returns
    -------
    BaseForecaster
        Fitted, of the class that was saved.

    Raises
    ------
    SavedModelError
        The folder is missing, damaged, holds another kind of forecaster or is from a newer
        version.
    """
    folder = find_whole(Path(path), JSON_FILE)
    header = _read_header(folder)
    target = _class_of(header, cls, folder)
    arrays = _read_arrays(folder, header)
    try:
        forecaster = _restore(target, header, arrays)
    except OSError:
        raise
    except SavedModelError as error:
        if len(str(error)) <= MOST_WORDS:
            raise
        raise SavedModelError(f"{str(error)[:MOST_WORDS]}...") from None  # a file may name a book
    # Whatever is raised by what stands in a file that may say anything.
    except Exception as error:
        raise SavedModelError(
            f"The saved forecaster in {str(folder)!r} (written by titans_ts {_writer(header)}) "
            f"does not fit this version of titans_ts ({titans_ts.__version__}): "
            f"{type(error).__name__}: {str(error)[:MOST_WORDS]}. Save the model again."
        ) from error
    to_device: Callable[[str], None] | None = getattr(forecaster, "_to_device", None)
    if device is not None and to_device is not None:
        to_device(device)
    return forecaster


def fingerprint(path: str | Path) -> str:
    """Tell one saved forecaster from all others: the checksum of the file that has all checksums.

    Parameters
    ----------
    path : str or Path
        A folder that :func:`load_forecaster` reads.
    """
    return sha256_of(find_whole(Path(path), JSON_FILE) / JSON_FILE)


def _restore(
    target: type[Forecaster], header: dict[str, Any], arrays: dict[str, np.ndarray]
) -> Forecaster:
    _refuse_lost_numbers(arrays)
    forecaster = target(**decode(header["parameters"]))
    fitted = decode(header["fitted"])
    for name in ("context_length_", "n_features_in_", "freq_"):
        setattr(forecaster, name, fitted[name])
    if fitted["feature_names_in_"] is not None:
        names = np.array(fitted["feature_names_in_"], dtype=object)
        setattr(forecaster, "feature_names_in_", names)  # noqa: B010 - may be absent
    forecaster.layout_ = Layout.from_dict(fitted["layout_"])
    forecaster.context_ = _context_of(arrays, forecaster.layout_)
    forecaster._check_loaded()
    # Written since target transforms exist.
    transform = decode(header.get("target_transform"))
    forecaster._restore_transform(transform, _under(arrays, "target_transform."))
    forecaster._restore_state(decode(header["state"]), _under(arrays, "state."))
    return forecaster


# -- writing --------------------------------------------------------------------------------------


def _describe(forecaster: Saveable) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What goes into the two files."""
    parameters = {}
    transform, transform_arrays = forecaster._transform_state()
    for name, value in forecaster.get_params(deep=False).items():
        if name == "target_transform":  # kept as it was fitted
            value = None
        try:
            parameters[name] = encode(value)
        except TypeError as error:
            if name not in _DISPENSABLE:
                raise ParameterError(
                    f"{name}={value!r} cannot be saved ({error}). Give it as numbers, text, "
                    "lists, tuples, dicts or paths, and fit again."
                ) from error
            parameters[name] = None
    names = getattr(forecaster, "feature_names_in_", None)
    values, own = forecaster._fitted_state()
    fitted = {
        "layout_": forecaster.layout_.to_dict(),
        "context_length_": forecaster.context_length_,
        "n_features_in_": forecaster.n_features_in_,
        "feature_names_in_": None if names is None else list(names),
        "freq_": forecaster.freq_,
    }
    header = {
        "format": FORMAT_NAME,
        "format_version": FORMAT_VERSION,
        "titans_ts_version": titans_ts.__version__,
        "class": type(forecaster).__name__,
        "parameters": parameters,
        "fitted": encode(fitted),
        "target_transform": encode(transform),
        "state": encode(values),
    }
    arrays = _set_arrays(forecaster.context_, "context.")
    arrays.update({f"target_transform.{name}": a for name, a in transform_arrays.items()})
    arrays.update({f"state.{name}": array for name, array in own.items()})
    # safetensors writes memory as it lies, so a view with strides would come back scrambled.
    # (ascontiguousarray would give a scalar an axis.)
    return header, {name: np.asarray(array, order="C") for name, array in arrays.items()}


def check_save_path(path: str | Path) -> None:
    """Raise ParameterError where a forecaster cannot be saved; to be asked before a long fit."""
    goal = Path(os.path.abspath(path))
    if not goal.exists() and not goal.is_symlink():
        return
    expected = "expected a folder that does not exist yet, or one that an earlier save wrote"
    if not goal.is_dir() or goal.is_symlink():
        what = "a link" if goal.is_symlink() else "a file"
        raise ParameterError(f"{str(path)!r} is {what}; {expected}. Choose another path.")
    names = {entry.name for entry in goal.iterdir()}
    if names and not (JSON_FILE in names and names <= {JSON_FILE, ARRAYS_FILE}):
        raise ParameterError(
            f"The folder {str(path)!r} is not a saved forecaster (it holds "
            f"{', '.join(sorted(names)[:3])}); {expected}. Choose another path."
        )


# -- reading --------------------------------------------------------------------------------------


def _read_header(folder: Path) -> dict[str, Any]:
    file = folder / JSON_FILE
    if not file.is_file():
        raise SavedModelError(
            f"No saved forecaster in {str(folder)!r}: expected a folder, written by save, with "
            f"the file {JSON_FILE}. Check the path."
        )
    try:
        header = read_json(file)
    except ValueError as error:
        raise SavedModelError(
            f"{str(file)!r} is no JSON: {error}. The file is truncated or damaged; "
            "save the model again."
        ) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT_NAME:
        raise SavedModelError(
            f"{str(file)!r} does not describe a forecaster of titans_ts. Check the path."
        )
    version = header.get("format_version")
    if type(version) is not int or version < 1:
        raise SavedModelError(
            f"{str(file)!r} has the format version {str(version)[:40]}, expected a number. The "
            "file is damaged; save the model again."
        )
    if version > FORMAT_VERSION:
        raise SavedModelError(
            f"{str(folder)!r} was saved by titans_ts {_writer(header)} in format "
            f"{version}; this is titans_ts {titans_ts.__version__}, which reads formats up to "
            f"{FORMAT_VERSION}. Upgrade titans_ts, or save the model with this version."
        )
    # Format 1 had no checksum of the header.
    if (version > 1 or OWN_SUM in header) and not has_own_sum(header):
        raise SavedModelError(
            f"{str(file)!r} is not what was saved: its content and the checksum in it differ. It "
            "was altered; copy it again, or save the model again."
        )
    return header


def _writer(header: dict[str, Any]) -> str:
    return str(header.get("titans_ts_version"))[:40]


def _class_of(header: dict[str, Any], cls: type[Forecaster], folder: Path) -> type[Forecaster]:
    name = header.get("class")
    if name == cls.__name__:
        return cls
    if not isinstance(name, str) or name not in _CLASSES:
        raise SavedModelError(
            f"{str(folder)!r} holds a {name!r:.80}, which titans_ts does not know. If it is a "
            "class of your own, load it through that class."
        )
    saved = getattr(titans_ts, name)
    if not issubclass(saved, cls):
        raise SavedModelError(
            f"{str(folder)!r} holds a {name}, not a {cls.__name__}. Load it with {name}.load."
        )
    return saved


def _read_arrays(folder: Path, header: dict[str, Any]) -> dict[str, np.ndarray]:
    file = folder / ARRAYS_FILE
    if not file.is_file():
        raise SavedModelError(
            f"{str(folder)!r} lacks the file {ARRAYS_FILE}. The folder was copied in part; "
            "copy it again, or save the model again."
        )
    # The size first: a file of holes may take hours to read.
    size = header.get("arrays_bytes", file.stat().st_size)
    if size != file.stat().st_size or sha256_of(file) != header.get("arrays_sha256"):
        raise SavedModelError(
            f"{str(file)!r} is not the file that was saved: its checksum differs from the one in "
            f"{JSON_FILE}. It is truncated or was altered; copy it again, or save the model again."
        )
    try:
        return dict(load_file(file))
    except OSError:
        raise
    # Not SafetensorError alone: numpy has not all the types that a file may name.
    except Exception as error:
        raise SavedModelError(
            f"{str(file)!r} is no safetensors file: {error}. Save the model again."
        ) from error


def _refuse_lost_numbers(arrays: dict[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        # A static covariate may be missing, and a transform may not know a series.
        sure = name.startswith(("state.", "context.")) and not name.endswith(".static")
        if sure and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise SavedModelError(
                f"The array {name[:80]!r} of the saved forecaster holds NaN or infinite numbers, "
                "of which no forecast can be made. The folder was altered, or the model had learnt "
                "nothing; fit and save it again."
            )


def _under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _set_arrays(series: SeriesSet, prefix: str) -> dict[str, np.ndarray]:
    """The arrays of a set, its covariates included."""
    arrays = {f"{prefix}{name}": getattr(series, name) for name in _CONTEXT}
    for role, part in (("past", series.past), ("known", series.known)):
        if part is not None:
            arrays |= _set_arrays(part, f"{prefix}{role}.")
    return arrays if series.static is None else {**arrays, f"{prefix}static": series.static}


def _context_of(arrays: dict[str, np.ndarray], layout: Layout) -> SeriesSet:
    def read(prefix: str, channels: tuple[str, ...]) -> SeriesSet:
        values, observed, offsets = (arrays[f"{prefix}{name}"] for name in _CONTEXT)
        rows = (values.ndim == 2, observed.shape == values.shape, values.shape[-1] == len(channels))
        cuts = offsets.ndim == 1 and len(offsets) > 1 and offsets[0] == 0
        if not all(rows) or not cuts or offsets[-1] != len(values) or (np.diff(offsets) < 0).any():
            raise ValueError(
                f"the kept context has values of shape {values.shape}, a mask of shape "
                f"{observed.shape} and offsets {offsets.tolist()[:5]} for {len(channels)} channels"
            )
        return SeriesSet.from_rows(values, observed, offsets, channels)

    series = read("context.", layout.channels)
    covariates = layout.covariates
    past, known = (
        tuple(str(c.label) for c in part) for part in (covariates.past, covariates.known)
    )
    return replace(
        series,
        past=read("context.past.", past) if past else None,
        known=read("context.known.", known) if known else None,
        static=arrays["context.static"] if covariates.static else None,
        ids=layout.ids or None,
    )
