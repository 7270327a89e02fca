"""What is done, as lines of JSON that a kill at any moment leaves readable."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["Record", "add_record", "read_records"]

Record = dict[str, Any]


def read_records(file: Path) -> list[Record]:
    """All records of a file; a line that was cut short is not one."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def add_record(file: Path, record: Record) -> None:
    """Append a record, on a line of its own whatever the last one was cut to."""
    file.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(record).encode() + b"\n"
    with file.open("ab+") as out:
        if out.tell():
            out.seek(-1, os.SEEK_END)
            line = line if out.read(1) == b"\n" else b"\n" + line
        out.write(line)
        out.flush()
        os.fsync(out.fileno())
