"""What a figure was measured on: the machine, the versions, and its rate of matrix products."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.memory_peak import from_proc
from benchmarks.speed.timing import CLOCK, interleave

__all__ = ["calibrate", "describe", "product_rate", "products"]

# Rows, inner and columns. The large one is what BLAS libraries are tuned for, the small one is a
# chunk of 64 tokens that meets a layer of a memory of width 128.
PRODUCTS = ((2048, 2048, 2048), (64, 128, 512))
PACKAGES = ("torch", "numpy", "lightning", "pandas", "titans-pytorch", "neuralforecast")
VECTORS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "sve")


def describe() -> dict[str, Any]:
    """Facts of this machine and process; nothing that names the machine."""
    malloc = {name: os.environ[name] for name in sorted(os.environ) if "MALLOC" in name}
    if "LD_PRELOAD" in os.environ:
        malloc["LD_PRELOAD"] = Path(os.environ["LD_PRELOAD"]).name
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": from_proc("cpuinfo", "model name") or platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "vectors": sorted(set(VECTORS) & set((from_proc("cpuinfo", "flags") or "").split())),
        "memory_gib": round(_total_memory() / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "clock": CLOCK,
        "threads": torch.get_num_threads(),
        "malloc": malloc or "default",
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def products() -> dict[str, Callable[[], object]]:
    """The float32 matrix products that calibrate a machine, by name, ready to be timed."""

    def product(n: int, inner: int, m: int) -> Callable[[], object]:
        a, b, out = torch.randn(n, inner), torch.randn(inner, m), torch.empty(n, m)
        return lambda: torch.mm(a, b, out=out)

    return {"x".join(map(str, shape)): product(*shape) for shape in PRODUCTS}


def product_rate(seconds: dict[str, float]) -> dict[str, Any]:
    """Rates from the times of :func:`products`: the larger, which it was, and both."""
    rates = {}
    for n, inner, m in PRODUCTS:
        name = f"{n}x{inner}x{m}"
        rates[name] = 2 * n * inner * m / seconds[name] / 1e9
    best = max(rates, key=rates.__getitem__)
    return {"gflops": rates[best], "shape": best, "rates": rates}


def calibrate(rounds: int = 5) -> dict[str, Any]:
    """The machine's float32 matrix-product rate with the threads of this process."""
    return product_rate(interleave(products(), rounds=rounds))


def _total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
