"""Find good parameters with Optuna, alone or with many workers; the only home of optuna."""

from titans_ts.tuning.defaults import default_space
from titans_ts.tuning.search import TitansSearchCV

__all__ = ["TitansSearchCV", "default_space"]
