"""Who calls: for the few places where scikit-learn would turn a refusal into nan."""

from __future__ import annotations

import sys
from collections.abc import Collection

__all__ = ["called_by"]


def called_by(places: Collection[tuple[str, str]]) -> bool:
    """Tell whether the caller of the calling function is one of these, or serves one of them.

    Frames of scikit-learn between the two, such as those of a Pipeline, are passed over. To be
    used only where scikit-learn has no hook: a place that it renames is no longer found, and then
    what it does with exceptions is done.

    Parameters
    ----------
    places : collection of (module, function) names
    """
    frame = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if (module, frame.f_code.co_name) in places:
            return True
        if not module.startswith("sklearn."):
            return False
        frame = frame.f_back  # type: ignore[assignment]
    return False
