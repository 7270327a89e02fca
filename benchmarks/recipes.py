"""Whether a run that is kept comes of the recipe as it stands, or of another one."""

from __future__ import annotations

from typing import Any

__all__ = ["same_recipe"]


def same_recipe(kept: dict[str, Any], now: dict[str, Any], defaults: dict[str, Any]) -> bool:
    """Compare the fields of two recipes.

    Parameters
    ----------
    kept : dict
        As it was written down. A field that came later is at its default in it: new fields leave
        what there was as it was.
    now : dict
    defaults : dict
        Of the fields that have one.
    """
    return {**defaults, **kept} == {**defaults, **now}
