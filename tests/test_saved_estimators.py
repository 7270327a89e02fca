"""Saved estimators of any head: known by the registry's names, and by nothing else."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_packages import plugin_text
from means import Mean
from safetensors.numpy import load_file, save_file
from sklearn.exceptions import NotFittedError
from torch import nn

import titans_ts
from titans_ts import ParameterError, RidgeForecaster, SavedModelError, load_model
from titans_ts.nn.weights import module_from_arrays, weights_to_arrays
from titans_ts.persistence import SaveLoadMixin, load_estimator
from titans_ts.persistence.files import sha256_of, signed_text

X = np.random.default_rng(0).normal(size=(11, 3))
HERE = Path(__file__).parent / "data" / "saved"


@pytest.fixture
def echo(fake_packages):
    """An estimator of an installed head."""
    module = fake_packages.module("from means import Mean\nclass Echo(Mean): 'Echoes.'")
    fake_packages.head("echo", plugin_text(f"{module}:Echo"))
    return titans_ts.Echo


@pytest.fixture
def saved(echo, tmp_path):
    echo(scale=2.5).fit(X).save(tmp_path / "model")
    return tmp_path / "model"


def edit(folder, **changes):
    """Change entries of the JSON file as somebody who can write checksums."""
    file = folder / "model.json"
    file.write_text(signed_text(json.loads(file.read_text()) | changes))


def test_a_model_is_loaded_by_the_names_of_its_head_and_class(echo, saved):
    assert json.loads((saved / "model.json").read_text())["estimator"] == "echo/Echo"
    loaded = load_model(saved)
    assert type(loaded) is echo
    assert loaded.scale == 2.5
    np.testing.assert_array_equal(loaded.predict(X), echo(scale=2.5).fit(X).predict(X))


def test_a_model_is_two_files_of_which_none_names_a_module(saved):
    assert {path.name for path in saved.iterdir()} == {"model.json", "arrays.safetensors"}
    assert "fake_head" not in (saved / "model.json").read_text()


def test_a_class_that_no_head_lists_is_loaded_through_itself(tmp_path):
    Mean().fit(X).save(tmp_path / "model")
    assert Mean.load(tmp_path / "model").n_rows_ == 11
    with pytest.raises(SavedModelError, match=r"holds a Mean, which no installed head lists.*own"):
        load_model(tmp_path / "model")


def test_forecasters_are_loaded_by_the_same_function(tmp_path):
    forecaster = RidgeForecaster(horizon=3, context_length=11).fit(np.sin(np.arange(97.0))[:, None])
    forecaster.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert type(loaded) is RidgeForecaster
    np.testing.assert_array_equal(loaded.predict(), forecaster.predict())


@pytest.mark.parametrize("version", [1, 2])
def test_forecasters_of_every_format_are_loaded_by_it(version):
    assert np.isfinite(np.asarray(load_model(HERE / f"format_{version}").predict())).all()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("os/system", r"head 'os', which cannot be had here\. No head is called 'os'"),
        ("echo/Counter", "has no estimator 'Counter'"),
        ("echo/../Echo", "expected a head and its estimator by name"),
        ("collections:Counter", "expected a head and its estimator by name"),
        ("forecast/RidgeForecaster", "holds a RidgeForecaster, not an estimator that is saved so"),
        (["echo", "Echo"], "expected a head and its estimator by name"),
        (None, "expected a head and its estimator by name"),
        ("a" * 100_000, "which no installed head lists"),
    ],
)
def test_a_file_chooses_among_installed_heads_and_nothing_else(saved, said, message):
    edit(saved, estimator=said)
    with pytest.raises(SavedModelError, match=message) as caught:
        load_model(saved)
    assert len(str(caught.value)) < 1000


def test_a_file_cannot_have_a_module_imported(saved, fake_packages):
    module = fake_packages.module("class Echo: pass")
    for said in (module, f"{module}/Echo", f"echo/{module}", f"{module}:Echo", f"{module}.Echo"):
        edit(saved, estimator=said)
        with pytest.raises(SavedModelError):
            load_model(saved)
    assert module not in sys.modules


def test_a_head_that_was_uninstalled_is_named(saved, fake_packages):
    (info,) = fake_packages.folder.glob("*.dist-info")
    info.rename(info.with_suffix(".gone"))
    with pytest.raises(SavedModelError, match=r"a Echo of the head 'echo'.*Install the package"):
        load_model(saved)


def test_another_class_than_the_one_asked_for_is_refused(saved):
    class Other(Mean):
        pass

    with pytest.raises(SavedModelError, match=r"holds a Echo, not a Other.*load_model"):
        Other.load(saved)


def test_a_base_class_loads_what_is_derived_from_it(saved, echo):
    assert type(SaveLoadMixin.load(saved)) is echo
    assert type(load_estimator(saved)) is echo


def test_a_model_from_tomorrow_is_refused(saved):
    edit(saved, format_version=2, titans_ts_version="9.1.0")
    with pytest.raises(SavedModelError, match=r"saved by titans_ts 9\.1\.0 in format 2.*Upgrade"):
        load_model(saved)


def test_a_header_without_its_checksum_is_refused(saved):
    file = saved / "model.json"
    header = json.loads(file.read_text())
    del header["sha256"]
    file.write_text(json.dumps(header))
    with pytest.raises(SavedModelError, match="content and the checksum in it differ"):
        load_model(saved)


def test_lost_numbers_are_refused(saved):
    arrays = {name: a * np.nan for name, a in load_file(saved / "arrays.safetensors").items()}
    save_file(arrays, saved / "arrays.safetensors")
    file = saved / "arrays.safetensors"
    edit(saved, arrays_sha256=sha256_of(file), arrays_bytes=file.stat().st_size)
    with pytest.raises(SavedModelError, match="'mean' of the saved model holds NaN"):
        load_model(saved)


def test_what_a_plugin_raises_is_told_as_a_saved_model_error(saved):
    edit(saved, state={})
    with pytest.raises(SavedModelError, match=r"does not fit this version.*KeyError: 'n_rows'"):
        load_model(saved)


def test_the_package_that_a_model_is_from_is_named_with_its_versions(saved, fake_packages):
    (info,) = fake_packages.folder.glob("*.dist-info")
    metadata = info / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.2", "Version: 1.3"))
    edit(saved, state={})
    version = re.escape(titans_ts.__version__)
    both = rf"{version}, with fake-package 1\.2\) .* \({version}, with fake-package 1\.3\)"
    with pytest.raises(SavedModelError, match=both):
        load_model(saved)


def test_nothing_saved_gets_a_sentence(tmp_path):
    with pytest.raises(SavedModelError, match=r"No saved model in .*forecaster.json or model.json"):
        load_model(tmp_path)


def test_only_a_fitted_estimator_is_saved(tmp_path):
    with pytest.raises(NotFittedError):
        Mean().save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_parameter_that_json_cannot_keep_is_refused(tmp_path):
    with pytest.raises(ParameterError, match=r"options=<object .* cannot be saved"):
        Mean(options=object()).fit(X).save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_random_state_may_be_what_json_cannot_keep(tmp_path):
    Mean(random_state=np.random.default_rng(0)).fit(X).save(tmp_path / "model")
    assert Mean.load(tmp_path / "model").random_state is None


@pytest.mark.parametrize(
    ("values", "arrays", "message"),
    [
        ({"day": np.datetime64("2024-01-01")}, {}, "value 'day' .* has no form in JSON"),
        ({}, {"mask": np.array([0.0, -np.inf])}, "array 'mask' .* holds NaN or infinite"),
        ({}, {"labels": np.array(["a", "b"])}, "array 'labels' .* of type <U1, expected numbers"),
    ],
)
def test_what_could_not_be_loaded_again_is_not_saved(values, arrays, message, tmp_path):
    class Odd(Mean):
        def _fitted_state(self):
            return values, arrays

    Mean().fit(X).save(tmp_path / "model")
    with pytest.raises(SavedModelError, match=f"Odd was not saved: the {message}"):
        Odd().fit(X).save(tmp_path / "model")
    assert Mean.load(tmp_path / "model").n_rows_ == 11


def test_a_model_replaces_a_model_and_no_other_folder(tmp_path):
    Mean().fit(X).save(tmp_path / "model")
    Mean().fit(X[:7]).save(tmp_path / "model")
    assert Mean.load(tmp_path / "model").n_rows_ == 7
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(ParameterError, match=r"is not a saved model \(it holds mine.txt\)"):
        Mean().fit(X).save(tmp_path / "other")


# -- weights ----------------------------------------------------------------------------------


class Stack(nn.Module):
    def __init__(self, depth, dim):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(depth))
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_module_comes_back_in_the_precision_of_its_weights(dtype):
    stack = Stack(2, 3)
    stack.layers.to(dtype)
    stack.mean += 1 / 3
    random_state = torch.get_rng_state()
    again = module_from_arrays(lambda: Stack(2, 3), weights_to_arrays(stack))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not again.training
    for name, value in stack.state_dict().items():
        assert again.state_dict()[name].dtype == value.dtype
        assert torch.equal(again.state_dict()[name], value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 2, "dim": 5}, r"'layers.0.bias' has the shape \(3,\), expected \(5,\)"),
        ({"depth": 1, "dim": 3}, r"'layers.1.bias' has the shape \(3,\), expected none"),
        ({"depth": 3, "dim": 3}, r"'layers.2.bias' has the shape missing, expected \(3,\)"),
        ({"depth": 10**9, "dim": 3}, r"depth=1000000000 does not go with 27 weights"),
        ({"depth": 80, "dim": 3}, r"depth=80 does not go with 5 arrays of weights"),
        ({"depth": 2, "dim": 10**12}, r"dim=1000000000000 does not go with 27 weights"),
    ],
)
def test_a_module_of_another_size_than_its_weights_is_refused(fields, message):
    arrays = weights_to_arrays(Stack(2, 3))
    with pytest.raises(ValueError, match=message):
        module_from_arrays(lambda: Stack(**fields), arrays, fields)


def test_lengths_in_time_may_be_larger_than_all_weights():
    fields = {"depth": 2, "dim": 3, "segment_length": 10**6}
    module_from_arrays(lambda: Stack(2, 3), weights_to_arrays(Stack(2, 3)), fields)
