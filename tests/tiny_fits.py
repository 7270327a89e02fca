"""A forecaster whose fit takes a moment, and series for it."""

import numpy as np

from titans_ts import TitansForecaster


def waves(n=401, channels=2, noise=0.2):
    """Sine waves of different periods with noise, shape (n, channels)."""
    rng = np.random.default_rng(0)
    steps = np.arange(n)[:, None] / (3 + np.arange(channels))
    return np.sin(steps) + noise * rng.normal(size=(n, channels))


def tiny(**options):
    """Three steps an epoch; whatever ``options`` say comes first."""
    small = {"horizon": 7, "context_length": 96, "patch_length": 16, "dim": 8, "max_epochs": 1}
    small |= {"depth": 1, "n_heads": 1, "batch_size": 53, "random_state": 0, "variant": "lmm"}
    trainer = {"limit_train_batches": 3, **options.pop("trainer_kwargs", {})}
    return TitansForecaster(**{**small, **options}, trainer_kwargs=trainer)
