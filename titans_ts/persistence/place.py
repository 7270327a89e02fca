"""A folder in the place of another: at every moment the old one or the new one can be found.

Several saves to one name may go on at a time, and loads beside them: every save arrives, the last
one stays, and a load reads one of them whole.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from titans_ts.errors import SavedModelError
from titans_ts.persistence.files import flush

__all__ = ["find_whole", "put_in_place", "read_whole"]

# Seconds after which a folder that a save has not finished is that of one that was killed.
ABANDONED = 24 * 3600.0

# Times that a folder is read which saves keep replacing, and seconds before the second of them,
# which double from time to time.
MOST_READS = 10
FIRST_WAIT = 0.001

# What systems say of a folder that cannot be renamed over.
FULL = (errno.EEXIST, errno.ENOTEMPTY)

Result = TypeVar("Result")


def put_in_place(part: Path, goal: Path) -> None:
    """Give a finished folder its name, and remove what was called so before.

    Parameters
    ----------
    part : Path
        ``.NAME.HEX.part`` beside ``goal``, where HEX is 32 digits.
    goal : Path
        ``NAME``; missing, or a folder to replace. Killed in between, its content is found by
        :func:`find_whole`.
    """
    # Not those that come later: another save may have put this model there meanwhile.
    left = [(name, folder, _time_of(folder)) for name, folder in _beside(goal)]
    gone = [old for name, old, _ in left if name == "old"]
    while True:
        # A folder that is not empty cannot be renamed over; it steps aside, and back if need be.
        old = _step_aside(goal)
        try:
            part.rename(goal)
        except BaseException as error:
            # Taken then, though that model may have stepped aside for a third one by now.
            taken = getattr(error, "errno", None) in FULL or goal.exists()
            if old is not None and not taken:
                old.rename(goal)
            if not taken or not isinstance(error, OSError):
                raise
            # Another save was faster, and its model steps aside next.
        else:
            break
        finally:
            gone += [] if old is None else [old]
    flush(goal.parent)
    # The models that stepped aside, and whatever saves left that were killed.
    gone += [folder for _, folder, since in left if 0 <= since < time.time() - ABANDONED]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)


def _step_aside(goal: Path) -> Path | None:
    # Each time under a name of its own: what others clear away then is what they have seen.
    old = goal.parent / f".{goal.name}.{uuid.uuid4().hex}.old"
    try:
        goal.rename(old)
    except FileNotFoundError:
        return None
    return old


def _time_of(folder: Path) -> float:
    """When it was last written to; -1 if another save has just removed or renamed it."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return -1.0


def _beside(goal: Path) -> list[tuple[str, Path]]:
    """Folders in which saves to ``goal`` work, or worked."""
    pattern = re.compile(re.escape(f".{goal.name}.") + r"[0-9a-f]{32}\.(part|old)")
    if not goal.parent.is_dir():
        return []
    found = ((pattern.fullmatch(entry.name), entry) for entry in goal.parent.iterdir())
    return [(match[1], entry) for match, entry in found if match]


def find_whole(folder: Path, sign: str) -> Path:
    """The folder, or the model that stood there when a save was killed between two renames.

    ``sign`` is a file that it must have.
    """
    if folder.exists():
        return folder
    goal = Path(os.path.abspath(folder))
    old = [left for name, left in _beside(goal) if name == "old" and (left / sign).is_file()]
    return max(old, key=_time_of, default=folder)


def read_whole(folder: Path, sign: str, read: Callable[[Path], Result]) -> Result:
    """Read a folder, and again where a save replaced it meanwhile.

    Files of two models are never taken for one: ``read`` checks that they belong together.

    Parameters
    ----------
    folder : Path
    sign : str
        A file that it must have, another one after each save.
    read : callable
        Reads the folder that it is given.
    """
    goal = Path(os.path.abspath(folder))
    for attempt in range(MOST_READS):
        found = find_whole(folder, sign)
        with _held(found / sign) as before:
            try:
                return read(found)
            except (SavedModelError, FileNotFoundError):
                # What saves have left beside it may be a model that is between its renames, or
                # one that is being cleared away. Asked first: both are there before they are gone.
                at_work = bool(_beside(goal))
                same = _is_still(before, find_whole(folder, sign) / sign)
                if (same and not at_work) or attempt == MOST_READS - 1:
                    raise
        time.sleep(FIRST_WAIT * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def _held(file: Path) -> Iterator[os.stat_result | None]:
    """What tells a file from all that come later: open, it keeps its number to itself."""
    try:
        # A pipe that lies there instead is not waited for.
        held = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        yield None
        return
    try:
        yield os.fstat(held)
    finally:
        os.close(held)


def _is_still(before: os.stat_result | None, file: Path) -> bool:
    try:
        after = file.stat()
    except OSError:
        return before is None
    return before is not None and os.path.samestat(before, after)
