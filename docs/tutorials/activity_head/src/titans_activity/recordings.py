"""Made-up recordings of an accelerometer on somebody's hip."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

__all__ = ["ACTIVITIES", "make_recordings"]

RATE = 20.0  # measurements a second

# Steps a second; how hard they are felt upwards; and by how much harder every second one is.
ACTIVITIES = {
    "standing": (0.0, 0.0, 0.0),
    "walking": (1.8, 0.35, 0.0),
    "limping": (1.8, 0.35, 0.8),
    "running": (2.7, 0.9, 0.0),
}


def make_recordings(
    n_windows: int = 240, *, n_steps: int = 64, random_state: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Make windows of three axes, in units of gravity, and what was done in each.

    Parameters
    ----------
    n_windows : int, default 240
    n_steps : int, default 64
        Measurements in a window, 20 a second.
    random_state : int, RandomState or None

    Returns
    -------
    X : ndarray of shape (n_windows, n_steps, 3)
    y : ndarray of shape (n_windows,), text

    Examples
    --------
    >>> X, y = make_recordings(8, random_state=0)
    >>> X.shape, sorted(set(y.tolist()))
    ((8, 64, 3), ['limping', 'running', 'standing', 'walking'])
    """
    draws = check_random_state(random_state)
    names = np.array(list(ACTIVITIES))
    y = draws.permutation(names[np.arange(n_windows) % len(names)])
    pace, force, limp = (np.array([ACTIVITIES[name] for name in y]).T)[:, :, None]
    seconds = np.arange(n_steps) / RATE
    cycles = pace * draws.uniform(0.9, 1.1, (n_windows, 1)) * seconds
    cycles = cycles + draws.uniform(0, 2, (n_windows, 1))
    step, stride = np.sin(2 * np.pi * cycles), np.sin(np.pi * cycles)
    up = force * (step + limp * stride) + 1
    forward, sideways = 0.5 * force * np.roll(step, 2, axis=1), 0.3 * force * stride
    X = np.stack([up, forward, sideways], axis=-1)
    # A phone sits a little askew, and sensors are noisy.
    X = X + draws.normal(0, 0.1, (n_windows, 1, 3)) + draws.normal(0, 0.15, X.shape)
    return X, y
