"""Peak memory of a process, as the operating system knows it; imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

__all__ = ["from_proc", "peak_memory"]


def peak_memory() -> int:
    """Peak resident size of this process so far, in bytes."""
    # Not getrusage where there is a choice: it hands the parent's peak on to a child.
    size = from_proc("self/status", "VmHWM")
    if size is not None:
        return int(size.split()[0]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def from_proc(file: str, key: str) -> str | None:
    """What a file below /proc says of ``key``, the first time; None where there is no such."""
    try:
        rows = Path("/proc", file).read_text().splitlines()
    except OSError:
        return None
    found = (row.partition(":")[2].strip() for row in rows if row.partition(":")[0].strip() == key)
    return next(found, None)
