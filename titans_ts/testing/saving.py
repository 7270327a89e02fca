"""Checks of what an estimator saves: it comes back to the last bit, or it is refused."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from titans_ts.errors import SavedModelError
from titans_ts.persistence import load_model
from titans_ts.persistence.files import sha256_of, signed_text
from titans_ts.persistence.plain_json import decode
from titans_ts.testing.case import EstimatorCase, fail, identical

__all__ = ["check_damaged_folders", "check_save_and_load"]

ARRAYS = "arrays.safetensors"


def check_save_and_load(case: EstimatorCase) -> None:
    """A saved estimator comes back with its class, its parameters, and the same answers."""
    before = case.said
    with _saved(case) as folder:
        for how, load in (
            (f"{case.name}.load", type(case.fitted).load),
            ("titans_ts.load_model", load_model),
        ):
            try:
                loaded = load(folder)
            except SavedModelError as error:
                fail(
                    f"A {case.name} that was saved cannot be loaded by {how}: {error} "
                    "(titans_ts.load_model knows what a head's HeadPlugin lists in estimators.)"
                )
            if type(loaded) is not type(case.fitted):
                fail(f"{how} returns a {type(loaded).__name__}, not a {case.name}.")
            kept, back = case.fitted.get_params(deep=False), loaded.get_params(deep=False)
            for name, value in kept.items():
                plain = isinstance(value, bool | int | float | str | tuple | list | dict)
                if plain and not identical(value, back[name]):
                    fail(f"{how} gives {name}={back[name]!r}; it was saved with {value!r}.")
            if not identical(case.answer(loaded), before):
                fail(
                    f"A {case.name} from {how} answers differently than the saved one; "
                    "_fitted_state must return all that the answers hang on, in full precision."
                )
    if not identical(case.answer(case.fitted), before):
        fail(f"{case.name}.save changes the estimator.")


def check_damaged_folders(case: EstimatorCase) -> None:
    """A folder that was damaged, or written by somebody else, is refused with SavedModelError."""
    for what, damage in (*_DAMAGES.items(), *_forged_values(case)):
        with _saved(case) as folder:
            if damage(folder) is False:
                continue
            try:
                loaded = load_model(folder)
                answer = case.answer(loaded)
            except SavedModelError:
                continue
            except Exception as error:
                fail(
                    f"A saved {case.name} with {what} raises {type(error).__name__} ({error}); "
                    "_restore_state must raise a ValueError where numbers do not fit each other, "
                    "before they are used."
                )
            if not identical(answer, case.said):
                fail(
                    f"A saved {case.name} with {what} is loaded, and answers differently; "
                    "_restore_state must look at every value, and every array, its shape and type."
                )


# -- inside -----------------------------------------------------------------------------------


@contextmanager
def _saved(case: EstimatorCase) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        case.fitted.save(folder)
        yield folder


def _json_of(folder: Path) -> Path:
    (file,) = folder.glob("*.json")
    return file


def _sign(folder: Path) -> None:
    """Make the checksums right, as somebody can who alters a file on purpose."""
    file = _json_of(folder)
    header = json.loads(file.read_text(encoding="utf-8"))
    header["arrays_sha256"] = sha256_of(folder / ARRAYS)
    header["arrays_bytes"] = (folder / ARRAYS).stat().st_size
    file.write_text(signed_text(header), encoding="utf-8")


def _lose(name: str) -> Callable[[Path], None]:
    return lambda folder: (_json_of(folder) if name == "json" else folder / name).unlink()


def _cut(folder: Path) -> None:
    file = folder / ARRAYS
    file.write_bytes(file.read_bytes()[:-1])


def _flip(folder: Path) -> None:
    file = folder / ARRAYS
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _edit(folder: Path) -> None:
    file = _json_of(folder)
    header = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**header, "parameters": {}}), encoding="utf-8")


def _rearrange(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], bool]:
    def damage(folder: Path) -> bool:
        arrays = dict(load_file(folder / ARRAYS))
        if not arrays:
            return False
        change(arrays)
        save_file(arrays, folder / ARRAYS)
        _sign(folder)
        return True

    return damage


def _first(arrays: dict[str, np.ndarray]) -> str:
    return max(arrays, key=lambda name: arrays[name].size)


def _stretch(arrays: dict[str, np.ndarray]) -> None:
    name = _first(arrays)
    arrays[name] = np.concatenate([arrays[name].ravel()] * 2)


def _shrink_all(arrays: dict[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        arrays[name] = np.zeros((0,), array.dtype)


def _state_of(folder: Path) -> dict[str, Any]:
    """The values of a folder as its JSON has them."""
    state: dict[str, Any] = json.loads(_json_of(folder).read_text(encoding="utf-8")).get("state")
    return state or {}


def _put_state(folder: Path, state: dict[str, Any]) -> None:
    """Write other values, with the checksum that goes with them."""
    file = _json_of(folder)
    header = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(signed_text({**header, "state": state}), encoding="utf-8")


def _empty_state(folder: Path) -> bool:
    if not _state_of(folder):
        return False
    _put_state(folder, {})
    return True


def _forged_values(case: EstimatorCase) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """For each value, what is of another kind in its place."""
    with _saved(case) as folder:
        state = _state_of(folder)
    for key, value in state.items():
        kept = decode(value)
        # Text as long as a list goes far where nobody looks.
        others = [None, "x" * len(kept) if hasattr(kept, "__len__") else "x"]
        for other in others[: 1 if isinstance(kept, str) else 2]:
            forged = partial(_put_state, state={**state, key: other})
            yield f"forged checksums and {key}={other!r}", forged


def _replace_by_model(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "model.json").write_text("[]", encoding="utf-8")


_DAMAGES: dict[str, Callable[[Path], bool | None]] = {
    "its JSON lost": _lose("json"),
    "its arrays lost": _lose(ARRAYS),
    "the last byte lost": _cut,
    "one bit flipped": _flip,
    "its JSON edited": _edit,
    "nothing but an empty list": _replace_by_model,
    "forged checksums and one array less": _rearrange(lambda arrays: arrays.pop(_first(arrays))),
    "forged checksums and one array twice as long": _rearrange(_stretch),
    "forged checksums and all arrays empty": _rearrange(_shrink_all),
    "forged checksums and no values": _empty_state,
}
