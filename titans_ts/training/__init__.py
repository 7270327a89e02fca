"""Training through Lightning, and nowhere else."""

from titans_ts.training.fit import TrainingResult, TrainingSettings, train

__all__ = ["TrainingResult", "TrainingSettings", "train"]
