"""Where the models of estimators compute, and what a pickle says of it."""

import pickle

import pytest
import torch
from sklearn.base import BaseEstimator

from titans_ts import TitansForecaster
from titans_ts.errors import ParameterError
from titans_ts.plugins.genomics import TitansSequenceClassifier, TitansSequenceModel
from titans_ts.plugins.language.model import TitansLanguageModel
from titans_ts.training.device import DeviceMixin


class Elsewhere(torch.nn.Linear):
    """A layer that says it is on a GPU until it is asked to the CPU."""

    place = "gpu"

    def cpu(self):
        self.place = "cpu"
        return super().cpu()


class Placed(DeviceMixin, BaseEstimator):
    def __init__(self, accelerator="cpu"):
        self.accelerator = accelerator


@pytest.fixture
def placed():
    estimator = Placed()
    estimator.model_ = Elsewhere(2, 3)
    estimator._to_device("cpu")
    return estimator


def test_a_pickle_is_on_the_cpu_and_what_was_pickled_stays_where_it_is(placed):
    again = pickle.loads(pickle.dumps(placed))
    assert (again.model_.place, placed.model_.place) == ("cpu", "gpu")
    assert torch.equal(again.model_.weight, placed.model_.weight)


def test_a_pickle_names_no_device(placed):
    assert placed.device_ == "cpu"
    assert not hasattr(pickle.loads(pickle.dumps(placed)), "device_")


def test_an_estimator_without_a_model_is_pickled_too():
    assert pickle.loads(pickle.dumps(Placed("gpu"))).accelerator == "gpu"


def test_a_device_that_does_not_exist_is_named(placed):
    with pytest.raises(ParameterError, match=r"device='cuda:77' cannot be used here.*device='cpu'"):
        placed._to_device("cuda:77")


@pytest.mark.parametrize(
    "estimator",
    [TitansForecaster, TitansLanguageModel, TitansSequenceClassifier, TitansSequenceModel],
)
def test_every_estimator_with_weights_is_pickled_so(estimator):
    fitted = estimator()
    fitted.model_ = Elsewhere(2, 3)
    assert fitted.__getstate__()["model_"].place == "cpu"
