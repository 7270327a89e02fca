"""Training through Lightning, and nowhere else."""

from titans_ts.training.fit import (
    TrainingResult,
    TrainingSettings,
    check_settings,
    train,
    uses_cuda,
)

__all__ = ["TrainingResult", "TrainingSettings", "check_settings", "train", "uses_cuda"]
