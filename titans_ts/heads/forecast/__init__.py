"""The forecast head: patches of a series in, one direct multi-step forecast out."""

from titans_ts.heads.registry import HeadPlugin

__all__ = ["plugin"]

plugin = HeadPlugin(
    name="forecast",
    summary="Forecast multivariate time series.",
    # With the baselines: models of one kind, which are saved and compared alike.
    estimators={
        "TitansForecaster": "titans_ts.forecaster:TitansForecaster",
        "SeasonalNaiveForecaster": "titans_ts.baselines:SeasonalNaiveForecaster",
        "RidgeForecaster": "titans_ts.baselines:RidgeForecaster",
        "LinearForecaster": "titans_ts.baselines:LinearForecaster",
    },
)
