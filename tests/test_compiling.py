"""A compiled fit learns what a plain one does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_fits import tiny, waves
from torch._dynamo import lookup_backend

from titans_ts import TitansForecaster
from titans_ts.config import BackboneConfig
from titans_ts.nn.backbone import TitansBackbone
from titans_ts.ops.memory_net import MOST_ERROR, bound_error
from titans_ts.training import CompileModel

# torch's own, while it traces: pytest makes errors of them.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def fit(callback, **options):
    options = {"backbone_options": {"dropout": 0.0}, "max_epochs": 2} | options
    return tiny(trainer_kwargs={"callbacks": callback}, **options).fit(waves())


def test_the_model_is_compiled_for_the_fit_alone(tmp_path):
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        return graph.forward

    compiled = fit(CompileModel(backend=backend), depth=0, max_epochs=1)
    assert seen
    n = len(seen)
    np.testing.assert_allclose(
        compiled.predict(), fit([], depth=0, max_epochs=1).predict(), rtol=1e-4
    )
    assert len(seen) == n
    compiled.set_params(trainer_kwargs=None).save(tmp_path / "model")
    loaded = TitansForecaster.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(), compiled.predict())


@pytest.mark.parametrize("size", [MOST_ERROR / 2, MOST_ERROR * 2])
def test_the_bound_on_errors_is_compiled_in_one_graph(size):
    error = torch.full((2, 3, 5), size)
    compiled = torch.compile(bound_error, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(error), bound_error(error))


# torch's own again, where a graph ends; it is not shown to users.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("memory_depth", [1, 2])
@pytest.mark.parametrize("time", [40, 150])
def test_a_compiled_memory_has_the_same_derivatives(time, memory_depth):
    # Traced as a compiler for a device does it: that cannot follow the buffers which the memory of
    # a long sequence works in, and "eager" would not notice. A short one is in one graph.
    options = {"memory_depth": memory_depth, "chunk_size": 16, "dropout": 0.0}
    config = BackboneConfig(variant="lmm", dim=8, n_heads=2, depth=1, **options)
    model, x = TitansBackbone(config), torch.randn(1, time, 8)
    graphs = []

    def learn():
        model.zero_grad()
        y, _ = model(x, need_state=False)
        y.square().sum().backward()
        return [y, *(p.grad for p in model.parameters() if p.grad is not None)]

    def backend(graph, inputs):
        graphs.append(graph)
        return lookup_backend("aot_eager")(graph, inputs)

    plain = learn()
    model.compile(backend=backend, fullgraph=time == 40)
    torch.testing.assert_close(learn(), plain)
    assert graphs


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from test_compiling import fit
from titans_ts.training import CompileModel
options = dict(variant="mac", context_length=16)
compiled = fit(CompileModel(backend="eager", fullgraph=True), **options)
for one, other in zip(fit([], **options).history_, compiled.history_, strict=True):
    assert set(one) == set(other)
    assert all(abs(one[name] - other[name]) <= 1e-4 * abs(one[name]) for name in one), (one, other)
"""


# Not with torch's default backend: what it makes of a MAC block takes minutes, and is not ours to
# test. What is: that the model is one graph, and that the graph learns the same. In a process of
# its own, since torch writes out all that it traces where pytest listens to logs, for minutes too.
@pytest.mark.slow
def test_compiled_and_plain_have_the_same_losses():
    warnings = ["-W", "error", "-W", "ignore::DeprecationWarning"]
    program = PROGRAM.format(tests=str(Path(__file__).parent))
    subprocess.run([sys.executable, *warnings, "-c", program], check=True)
