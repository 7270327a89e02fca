"""A function in a fresh process, whose peak memory and imports nothing else has touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "afresh"]

ROOT = Path(__file__).resolve().parents[2]


def afresh(function: str, **given: Any) -> Any:
    """Call ``"module:function"`` of this package in a process of its own.

    Parameters
    ----------
    function : str
        Such as ``"op:training_memory"``.
    **given
        Its arguments; they go through JSON, as does what comes back.

    Raises
    ------
    RuntimeError
        With the last lines of what the process wrote, where it failed.
    """
    command = [sys.executable, "-m", "benchmarks.speed.afresh", function, json.dumps(given)]
    environment = os.environ | {"PYTHONPATH": _with_root(os.environ.get("PYTHONPATH"))}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-8:])
        raise RuntimeError(f"{function} failed in a process of its own:\n{said}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _with_root(path: str | None) -> str:
    return os.pathsep.join([str(ROOT), *([path] if path else [])])


def main() -> None:
    function, given = sys.argv[1:]
    module, _, name = function.partition(":")
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    result = getattr(import_module(f"benchmarks.speed.{module}"), name)(**json.loads(given))
    print("\n" + json.dumps(result))


if __name__ == "__main__":
    main()
