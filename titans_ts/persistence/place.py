"""A folder in the place of another: at every moment the old one or the new one can be found."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from titans_ts.persistence.files import flush

__all__ = ["find_whole", "put_in_place"]

# Seconds after which a folder that a save has not finished is that of one that was killed.
ABANDONED = 24 * 3600.0


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
    if goal.exists():
        # A folder that is not empty cannot be renamed over; it steps aside, and back if need be.
        old = part.with_suffix(".old")
        goal.rename(old)
        try:
            part.rename(goal)
        except BaseException:
            old.rename(goal)
            raise
    else:
        part.rename(goal)
    flush(goal.parent)
    # The model that stepped aside, and whatever saves left that were killed.
    for name, left in _beside(goal):
        if name == "old" or time.time() - left.stat().st_mtime > ABANDONED:
            shutil.rmtree(left, ignore_errors=True)


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
    return max(old, key=lambda left: left.stat().st_mtime, default=folder)
