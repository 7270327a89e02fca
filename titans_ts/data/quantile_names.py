"""Names of columns that hold quantiles: how they are made, and how they are read."""

from __future__ import annotations

import re

__all__ = ["quantile_name", "read_quantile_name"]

# As Python writes a float between 0 and 1: so ``sales_q1`` is no quantile, but a quarter.
_NAME = re.compile(r"(?:(?P<channel>.*)_)?q(?P<level>0?\.\d+(?:e-\d+)?|\d+e-\d+)", re.DOTALL)


def quantile_name(level: float, channel: str | None = None) -> str:
    """The column of a quantile of a channel, such as ``OT_q0.1``; of the only one ``q0.1``."""
    prefix = "" if channel is None else f"{channel}_"
    return f"{prefix}q{float(level)!r}"


def read_quantile_name(name: str) -> tuple[str | None, float] | None:
    """Channel and level that a column's name tells; None where it is not one of a quantile."""
    match = _NAME.fullmatch(name)
    return None if match is None else (match["channel"] or None, float(match["level"]))
