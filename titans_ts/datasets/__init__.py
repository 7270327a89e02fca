"""Data sets, in scikit-learn's words: ``load_*``, ``fetch_*`` and ``make_*``.

``load`` reads what is on this machine, ``fetch`` downloads where there is no copy, ``make``
simulates. The catalogue behind them is ``manifest.toml``.

Public names are imported on first use (PEP 562), as in :mod:`titans_ts`.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Dataset": "titans_ts.datasets.dataset",
    "fetch": "titans_ts.datasets.fetching",
    "load": "titans_ts.datasets.fetching",
    "list_datasets": "titans_ts.datasets.manifest",
    "get_data_home": "titans_ts.datasets.local",
    "make_transformer_station": "titans_ts.datasets.transformer_station",
    **dict.fromkeys(
        (
            "fetch_electricity",
            "fetch_etth1",
            "fetch_etth2",
            "fetch_ettm1",
            "fetch_ettm2",
            "fetch_exchange_rate",
            "fetch_national_illness",
            "fetch_traffic",
            "fetch_weather",
            "load_bike_sharing",
            "load_epf_prices",
            "load_national_illness",
        ),
        "titans_ts.datasets.named",
    ),
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
