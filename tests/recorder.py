"""CUDA graphs as a CPU can have them."""

import torch

from titans_ts.nn.restart import tensors_of
from titans_ts.training.graphed import Recorded


class Recorder:
    """A CUDA graph as a CPU can have it: the same places are written to, again and again."""

    def __init__(self, error=None):
        self.error = error
        self.n_recorded = self.n_again = 0

    def __call__(self, work, device):
        self.n_recorded += 1
        if self.error is not None:
            raise self.error
        loss, gradients, rest = work()

        def again():
            self.n_again += 1
            with torch.enable_grad():
                new, found, more = work()
            loss.copy_(new)
            for place, gradient in zip(gradients, found, strict=True):
                if place is not None:
                    place.copy_(gradient)
            for place, tensor in zip(tensors_of(rest), tensors_of(more), strict=True):
                place.copy_(tensor)

        return Recorded(again, loss, gradients, rest)
