"""Top-oil temperature of an oil-immersed transformer, after IEC 60076-7 and IEEE C57.91."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.signal import lfilter

from titans_ts.datasets.processes import decay

__all__ = ["OilCooling", "top_oil_rise", "top_oil_temperature"]


@dataclass(frozen=True)
class OilCooling:
    """Thermal characteristics of a transformer.

    The defaults are IEC 60076-7's for medium and large power transformers with natural cooling
    (ONAN), whose oil follows a step of the load with a time constant of 105 minutes.

    Parameters
    ----------
    rated_rise : float, default 52
        Top-oil rise over ambient at rated load, in K (IEC: delta theta_or; IEEE: delta
        theta_TO,R).
    loss_ratio : float, default 6
        Load losses at rated load over no-load losses (R).
    oil_exponent : float, default 0.8
        IEC: x; IEEE: n.
    oil_time_constant : float, default 210
        Average oil time constant in minutes (tau_o).
    k11 : float, default 0.5
        IEC's factor from the average oil's time constant to the top oil's. With 1, the
        ``oil_time_constant`` is IEEE's tau_TO.
    """

    rated_rise: float = 52.0
    loss_ratio: float = 6.0
    oil_exponent: float = 0.8
    oil_time_constant: float = 210.0
    k11: float = 0.5

    @property
    def time_constant(self) -> float:
        """Time constant of the top oil, ``k11 * oil_time_constant``, in minutes."""
        return self.k11 * self.oil_time_constant


def top_oil_rise(load_factor: Any, cooling: OilCooling | None = None) -> Any:
    """Return the rise over ambient at which the top oil settles under a constant load.

    With load factor K, loss ratio R and exponent n::

        rise_ultimate = rise_rated * ((K^2 R + 1) / (R + 1))^n

    IEEE Std C57.91-2011, clause 7.2 (ultimate top-oil rise); the same expression stands in IEC
    60076-7:2018, clause 8.2, with x for n.

    Parameters
    ----------
    load_factor : float or ndarray
        Apparent power over rated power, both in MVA (K).
    cooling : OilCooling, optional

    Returns
    -------
    float or ndarray of the same shape
        In K.

    Examples
    --------
    >>> from titans_ts.datasets.thermal import top_oil_rise
    >>> top_oil_rise(1.0)
    52.0
    """
    c = cooling or OilCooling()
    losses = (load_factor**2 * c.loss_ratio + 1) / (c.loss_ratio + 1)
    return c.rated_rise * losses**c.oil_exponent


def top_oil_temperature(
    rise: np.ndarray,
    ambient: np.ndarray,
    *,
    step_minutes: float,
    cooling: OilCooling | None = None,
) -> np.ndarray:
    """Return the top-oil temperature that follows from its ultimate rise and the air.

    IEC 60076-7:2018, clause 8.2 (differential equation of the top oil)::

        k11 tau_o d(theta_o)/dt = rise_ultimate + theta_a - theta_o

    With rise and ambient held over a step, its exact solution is::

        theta_o[t] = theta_o[t-1] + (rise[t] + theta_a[t] - theta_o[t-1]) * (1 - exp(-step / tau))

    with tau = k11 tau_o. IEEE Std C57.91-2011, clause 7.2, has the same exponential for the rise
    alone and adds the air undelayed; here, as in IEC, the oil follows the air with its own inertia.

    Parameters
    ----------
    rise : ndarray of shape (time,)
        Ultimate rise over ambient in each step, in K; see :func:`top_oil_rise`.
    ambient : ndarray of shape (time,)
        In degrees Celsius.
    step_minutes : float
    cooling : OilCooling, optional

    Returns
    -------
    ndarray of shape (time,)
        In degrees Celsius. The first value is the steady state of the first step.

    Examples
    --------
    >>> import numpy as np
    >>> from titans_ts.datasets.thermal import top_oil_temperature
    >>> top_oil_temperature(np.array([40.0, 40.0]), np.array([20.0, 20.0]), step_minutes=15)
    array([60., 60.])
    """
    settled = rise + ambient
    keep = decay(step_minutes, (cooling or OilCooling()).time_constant)
    # The filter's state is chosen so that the first output is settled[0].
    return lfilter([1 - keep], [1.0, -keep], settled, zi=keep * settled[:1])[0]
