"""Where an estimator's model computes, and how it is pickled."""

from __future__ import annotations

import copy
from typing import Any

import torch

from titans_ts.errors import ParameterError
from titans_ts.training.settings import uses_cuda

__all__ = ["DeviceMixin"]


class DeviceMixin:
    """For an estimator with a ``model_`` and an ``accelerator``; stands before scikit-learn's base.

    Fitting and loading say nothing of a device: ``accelerator`` chooses one when the model is used,
    unless :meth:`_to_device` has named one, as ``load(device=)`` does. A pickle names none.

    Examples
    --------
    >>> import torch
    >>> from sklearn.base import BaseEstimator
    >>> from titans_ts.training import DeviceMixin
    >>> class Doubling(DeviceMixin, BaseEstimator):
    ...     def __init__(self, *, accelerator="cpu"):
    ...         self.accelerator = accelerator
    ...
    ...     def fit(self, X, y=None):
    ...         self._forget_device()  # of what a load was told
    ...         self.model_ = torch.nn.Upsample(scale_factor=2)
    ...         return self
    ...
    ...     def predict(self, X):
    ...         return self._model_in_place()(X.to(self._device())).cpu()
    >>> Doubling().fit(None).predict(torch.ones(1, 1, 2))
    tensor([[[1., 1., 1., 1.]]])
    """

    model_: Any  # a torch module
    accelerator: str
    device_: str

    def _device(self) -> torch.device:
        """Where the model computes."""
        if hasattr(self, "device_"):
            return torch.device(self.device_)
        return torch.device("cuda" if uses_cuda(self.accelerator) else "cpu")

    def _model_in_place(self) -> Any:
        """The model on its device, ready to be read from."""
        return self.model_.to(self._device()).eval()

    def _to_device(self, device: str) -> None:
        """Put the model there, and keep it there."""
        try:
            self.model_.to(torch.device(device))
        except (RuntimeError, AssertionError) as error:
            raise ParameterError(
                f"device={device!r} cannot be used here: {error}. "
                "Give device='cpu', or leave it out."
            ) from error
        self.device_ = device

    def _forget_device(self) -> None:
        """Leave the choice to ``accelerator`` again, as a new fit does."""
        self.__dict__.pop("device_", None)

    def __getstate__(self) -> dict[str, Any]:
        held: Any = super().__getstate__()  # scikit-learn's
        state = dict(held)
        if "model_" in state:
            # A pickle made beside a GPU must open where there is none.
            state["model_"] = copy.deepcopy(state["model_"]).cpu()
            state.pop("device_", None)
        return state
