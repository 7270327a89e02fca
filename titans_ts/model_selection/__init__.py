"""Choose a forecaster with scikit-learn's searches: folds that follow time, and what to compare."""

from titans_ts.model_selection.scoring import forecast_scorer
from titans_ts.model_selection.splitting import RollingOriginSplit

__all__ = ["RollingOriginSplit", "forecast_scorer"]
