"""Saved forecasters: what comes back, what is refused, and that nothing half-written stays."""

import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

import titans_ts
from titans_ts import (
    LinearForecaster,
    ParameterError,
    RidgeForecaster,
    SavedModelError,
    SeasonalNaiveForecaster,
)
from titans_ts.base import BaseForecaster
from titans_ts.persistence import folder as folder_module
from titans_ts.persistence import forecasters as forecasters_module
from titans_ts.persistence import load_forecaster, save_forecaster
from titans_ts.persistence.files import signed_text, write_whole
from titans_ts.persistence.plain_json import decode, encode

LEVELS = (0.1, 0.5, 0.9)


def wide_frame(n=211):
    rng = np.random.default_rng(0)
    time = pd.date_range("2024-03-30", periods=n, freq="h", tz="Europe/Paris", name="time")
    values = np.sin(np.arange(n) * np.pi / 12)[:, None] * [1.0, 5.0, 1e-3] + rng.normal(size=(n, 3))
    return pd.DataFrame(values, columns=["OT", "HUFL", "load (kW)"], index=time)


def fitted(X=None):
    return RidgeForecaster(horizon=5, context_length=29).fit(wide_frame() if X is None else X)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model"
    fitted().save(path)
    return path


def edit(path, **changes):
    """Change entries of the JSON file as somebody who can write checksums; None takes one out."""
    file = path / "forecaster.json"
    header = json.loads(file.read_text()) | changes
    file.write_text(signed_text({k: v for k, v in header.items() if v is not None}))


def resign_arrays(path):
    """Make the header fit the file of arrays."""
    file = path / "arrays.safetensors"
    edit(path, arrays_sha256=folder_module.sha256_of(file), arrays_bytes=file.stat().st_size)


def listing(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


# -- there and back --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "forecaster",
    [
        RidgeForecaster(horizon=5, context_length=29, alpha=np.float64(0.25)),
        LinearForecaster(horizon=5, context_length=29, max_epochs=1, random_state=np.int64(3)),
        SeasonalNaiveForecaster(horizon=5, context_length=29, target=["HUFL", "OT"]),
    ],
    ids=lambda f: type(f).__name__,
)
def test_a_loaded_forecaster_is_the_saved_one(forecaster, tmp_path):
    X = wide_frame()
    forecaster.fit(X)
    forecaster.save(tmp_path / "model")
    loaded = type(forecaster).load(tmp_path / "model")
    assert type(loaded) is type(forecaster)
    assert loaded.get_params() == forecaster.get_params()
    assert set(vars(loaded)) == set(vars(forecaster))
    pd.testing.assert_frame_equal(loaded.predict(), forecaster.predict())
    later = X.iloc[-40:-3]
    pd.testing.assert_frame_equal(
        loaded.predict(later, quantiles=LEVELS), forecaster.predict(later, quantiles=LEVELS)
    )
    assert loaded.score(X) == forecaster.score(X)


@pytest.mark.parametrize(
    "X",
    [
        pytest.param(np.random.default_rng(0).normal(size=(97, 3)), id="2-D array"),
        pytest.param(np.random.default_rng(0).normal(size=(4, 97, 3)), id="3-D array"),
        pytest.param(np.arange(97, dtype=np.float32)[:, None], id="float32"),
    ],
)
def test_arrays_come_back_as_arrays(X, tmp_path):
    forecaster = fitted(X)
    forecaster.save(tmp_path / "model")
    loaded = RidgeForecaster.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(), forecaster.predict())
    assert loaded.predict().dtype == forecaster.predict().dtype
    assert not hasattr(loaded, "feature_names_in_")


def test_a_loaded_forecaster_can_be_saved_again_and_pickled(saved, tmp_path):
    loaded = RidgeForecaster.load(saved)
    loaded.save(tmp_path / "again")
    for name in listing(saved):
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(loaded)).predict(), loaded.predict())


def test_the_base_class_loads_whatever_was_saved(saved):
    assert type(BaseForecaster.load(str(saved))) is RidgeForecaster


class OwnRidge(RidgeForecaster):
    """A class that titans_ts does not know."""


def test_a_class_of_ones_own_loads_through_itself_only(tmp_path):
    OwnRidge(horizon=5, context_length=29).fit(wide_frame()).save(tmp_path / "own")
    assert type(OwnRidge.load(tmp_path / "own")) is OwnRidge
    with pytest.raises(SavedModelError, match="holds a 'OwnRidge', which titans_ts does not know"):
        RidgeForecaster.load(tmp_path / "own")


class Placed(OwnRidge):
    """Stands in for a forecaster with weights on a device."""

    def _to_device(self, device):
        self.device_ = device


def test_a_device_reaches_a_forecaster_that_has_weights_to_place(tmp_path):
    Placed(horizon=5, context_length=29).fit(wide_frame()).save(tmp_path / "placed")
    assert Placed.load(tmp_path / "placed", device="cuda:1").device_ == "cuda:1"
    assert not hasattr(Placed.load(tmp_path / "placed"), "device_")
    fitted().save(tmp_path / "ridge")
    RidgeForecaster.load(tmp_path / "ridge", device="cpu").predict()


class WithState(OwnRidge):
    """Keeps a scalar array and a strided one, as a model with weights does."""

    def _fitted_state(self):
        values, arrays = super()._fitted_state()
        strided = np.arange(15.0).reshape(3, 5).T
        return values | {"bounds": (1, np.inf)}, arrays | {"scalar": np.array(7.0), "t": strided}

    def _restore_state(self, values, arrays):
        super()._restore_state(values, arrays)
        self.extra = values["bounds"], arrays["scalar"], arrays["t"]


def test_shapes_strides_and_tuples_of_a_state_survive(tmp_path):
    WithState(horizon=5, context_length=29).fit(wide_frame()).save(tmp_path / "m")
    bounds, scalar, strided = WithState.load(tmp_path / "m").extra
    assert bounds == (1, np.inf)
    assert scalar.shape == ()
    np.testing.assert_array_equal(strided, np.arange(15.0).reshape(3, 5).T)


def test_parameters_that_no_longer_matter_are_left_out(tmp_path):
    forecaster = LinearForecaster(
        horizon=5, context_length=29, max_epochs=1, random_state=np.random.RandomState(0)
    ).fit(wide_frame())
    forecaster.save(tmp_path / "m")
    assert LinearForecaster.load(tmp_path / "m").random_state is None


def test_other_parameters_that_cannot_be_written_are_refused(tmp_path):
    forecaster = fitted()
    forecaster.target = object()
    with pytest.raises(ParameterError, match=r"target=<object .* cannot be saved \(a object has"):
        forecaster.save(tmp_path / "m")
    assert listing(tmp_path) == []


@pytest.mark.parametrize("write", [RidgeForecaster.save, save_forecaster])
def test_parameters_that_a_load_would_refuse_are_refused_by_a_save(write, tmp_path):
    forecaster = fitted().set_params(validation_fraction=0.95)
    with pytest.raises(ParameterError, match=r"validation_fraction must be .* got 0\.95"):
        write(forecaster, tmp_path / "m")
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        (1, (2.5, "a"), [None, {"x": ()}]),
        {1: "a", (2, 3): "b"},
        {"__type__": "tuple", "value": [1]},
        Path("a") / "b",
        float("inf"),
        -0.1,
        "text \N{GREEK SMALL LETTER THETA}",
        2**70,
    ],
    ids=repr,
)
def test_values_come_back_from_json_as_they_were(value):
    back = decode(json.loads(json.dumps(encode(value), allow_nan=False)))
    assert back == value
    assert type(back) is type(value)


def test_numpy_values_come_back_from_json():
    back = decode(json.loads(json.dumps(encode([np.float32(0.5), np.bool_(True), np.int8(3)]))))
    assert back == [0.5, True, 3]
    assert [type(v) for v in back] == [float, bool, int]
    array = np.array([[1.0, np.nan, -np.inf]], dtype=np.float32)
    again = decode(json.loads(json.dumps(encode(array), allow_nan=False)))
    np.testing.assert_array_equal(again, array)
    assert again.dtype == np.float32
    with pytest.raises(TypeError, match="a Generator has no form in JSON"):
        encode({"rng": [np.random.default_rng()]})


# -- where it is written ---------------------------------------------------------------------------


def test_a_save_writes_two_files_that_others_may_read_as_the_umask_says(saved):
    assert listing(saved.parent) == [
        "model",
        os.path.join("model", "arrays.safetensors"),
        os.path.join("model", "forecaster.json"),
    ]
    modes = {(saved / name).stat().st_mode for name in listing(saved)}
    assert len(modes) == 1


def test_a_save_makes_missing_folders_and_replaces_an_earlier_save(tmp_path):
    path = tmp_path / "runs" / "today" / "model"
    fitted().save(path)
    other = fitted(wide_frame().iloc[:-7])
    other.save(path)
    pd.testing.assert_frame_equal(RidgeForecaster.load(path).predict(), other.predict())
    assert listing(path.parent) == ["model", *(f"model{os.sep}{n}" for n in listing(path))]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "model").mkdir()
    fitted().save(tmp_path / "model")
    RidgeForecaster.load(tmp_path / "model")


def test_what_a_save_did_not_write_is_not_overwritten(saved, tmp_path):
    forecaster = fitted()
    file, strange = tmp_path / "data.csv", tmp_path / "strange"
    file.write_text("precious")
    strange.mkdir()
    (strange / "thesis.tex").write_text("precious")
    (saved / "notes.txt").write_text("precious")
    link = tmp_path / "link"
    link.symlink_to(saved)
    before = listing(tmp_path)
    for path, what in [
        (file, "is a file"),
        (strange, "not a saved forecaster .it holds thesis.tex"),
        (saved, r"not a saved forecaster .*notes.txt"),
        (link, "is a link"),
        (file / "model", f"cannot be a folder: {str(file)!r} is a file"),
    ]:
        with pytest.raises(ParameterError, match=f"{what}.*Choose another path"):
            forecaster.save(path)
    assert listing(tmp_path) == before
    assert file.read_text() == "precious"


def test_a_forecaster_that_is_not_fitted_is_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        RidgeForecaster().save(tmp_path / "m")
    assert listing(tmp_path) == []


class DiskFullError(OSError):
    """Raised on purpose."""


@pytest.mark.parametrize("step", ["save_file", "sha256_of", "flush", "put_in_place", "rename"])
@pytest.mark.parametrize("earlier", [True, False], ids=["over an earlier save", "fresh"])
@pytest.mark.parametrize("stop", [DiskFullError, KeyboardInterrupt])
def test_a_save_that_fails_leaves_everything_as_it_was(tmp_path, monkeypatch, step, earlier, stop):
    path = tmp_path / "runs" / "model"
    if earlier:
        fitted().save(path)
    before = listing(tmp_path)
    other = fitted(wide_frame().iloc[:-7])
    rename = Path.rename

    def fail(*args, **kwargs):
        if step == "save_file":  # half a file is on the disk by then
            Path(args[1]).write_bytes(b"half")
        raise stop("no space left")

    def fail_to_arrive(self, target):
        if self.suffix == ".part":
            raise stop("no space left")
        return rename(self, target)

    with monkeypatch.context() as patch:
        if step == "rename":
            patch.setattr(Path, "rename", fail_to_arrive)
        else:
            patch.setattr(folder_module, step, fail)
        with pytest.raises(stop):
            other.save(path)
    assert listing(tmp_path) == before
    if earlier:
        pd.testing.assert_frame_equal(RidgeForecaster.load(path).predict(), fitted().predict())


# -- what is refused -------------------------------------------------------------------------------


def test_a_missing_folder_gets_a_sentence(tmp_path):
    with pytest.raises(SavedModelError, match=r"No saved forecaster in .*nowhere.*Check the path"):
        RidgeForecaster.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("forecaster.json", "No saved forecaster in"),
        ("arrays.safetensors", "lacks the file arrays.safetensors"),
    ],
)
def test_a_missing_file_gets_a_sentence(saved, name, message):
    (saved / name).unlink()
    with pytest.raises(SavedModelError, match=message):
        RidgeForecaster.load(saved)


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", ["forecaster.json", "arrays.safetensors"])
def test_a_truncated_file_is_refused(saved, name, keep):
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(SavedModelError, match="truncated"):
        RidgeForecaster.load(saved)


def test_one_changed_byte_among_the_arrays_is_noticed(saved):
    content = bytearray((saved / "arrays.safetensors").read_bytes())
    content[-3] ^= 1
    (saved / "arrays.safetensors").write_bytes(content)
    with pytest.raises(SavedModelError, match="its checksum differs"):
        RidgeForecaster.load(saved)


@pytest.mark.parametrize(
    ("garbage", "message"),
    [
        pytest.param(b"\x80\x04\xff\x00garbage", "is no JSON", id="bytes"),
        pytest.param(b"[" * 100_000, "is no JSON", id="nested without end"),
        pytest.param(b"[1, 2]", "does not describe a forecaster", id="another JSON"),
        pytest.param(b"{}", "does not describe a forecaster", id="empty"),
    ],
)
def test_garbage_for_the_json_file_is_refused(saved, garbage, message):
    (saved / "forecaster.json").write_bytes(garbage)
    with pytest.raises(SavedModelError, match=message):
        RidgeForecaster.load(saved)


def test_garbage_for_the_arrays_is_refused_even_with_its_own_checksum(saved):
    (saved / "arrays.safetensors").write_bytes(b"garbage" * 11)
    resign_arrays(saved)
    with pytest.raises(SavedModelError, match="is no safetensors file"):
        RidgeForecaster.load(saved)


@pytest.mark.parametrize("entry", ["parameters", "fitted", "state", "class", "format_version"])
def test_a_missing_entry_of_the_json_file_gets_a_sentence(saved, entry):
    edit(saved, **{entry: None})
    with pytest.raises(SavedModelError, match=r"does not fit|does not know|format version"):
        RidgeForecaster.load(saved)


def test_a_newer_format_is_refused_with_both_versions(saved):
    edit(saved, format_version=3, titans_ts_version="9.1.0")
    with pytest.raises(
        SavedModelError,
        match=rf"saved by titans_ts 9\.1\.0 in format 3; this is titans_ts {titans_ts.__version__}"
        ".*up to 2. Upgrade titans_ts",
    ):
        RidgeForecaster.load(saved)


def test_another_kind_of_forecaster_is_refused_by_name(saved):
    message = r"holds a RidgeForecaster, not a LinearForecaster. Load it with RidgeForecaster.load"
    with pytest.raises(SavedModelError, match=message):
        LinearForecaster.load(saved)


@pytest.mark.parametrize("name", ["os.system", "__version__", "DataError", "BaseForecaster", 7])
def test_no_other_name_is_ever_looked_up(saved, name):
    edit(saved, **{"class": name})
    with pytest.raises(SavedModelError, match="which titans_ts does not know"):
        RidgeForecaster.load(saved)


def test_an_unknown_parameter_gets_a_sentence(saved):
    header = json.loads((saved / "forecaster.json").read_text())
    edit(saved, parameters=header["parameters"] | {"tomorrow": 1}, titans_ts_version="0.9.0")
    with pytest.raises(SavedModelError, match=r"written by titans_ts 0\.9\.0.*tomorrow"):
        RidgeForecaster.load(saved)


def test_a_context_that_does_not_fit_its_columns_is_refused(saved):
    from safetensors.numpy import load_file, save_file

    arrays = load_file(saved / "arrays.safetensors")
    arrays["context.offsets"] = np.array([0, 999])
    save_file(arrays, saved / "arrays.safetensors")
    resign_arrays(saved)
    with pytest.raises(SavedModelError, match=r"the kept context has values of shape \(29, 3\)"):
        RidgeForecaster.load(saved)


def test_the_functions_are_what_the_methods_call(tmp_path):
    forecaster = fitted()
    save_forecaster(forecaster, tmp_path / "m")
    loaded = load_forecaster(RidgeForecaster, tmp_path / "m")
    pd.testing.assert_frame_equal(loaded.predict(), forecaster.predict())


# -- a save that was killed ------------------------------------------------------------------------


def killed_between(path, *, part=True):
    """What a save leaves that was killed between its two renames, or before them."""
    beside = path.parent / f".{path.name}.{'0f' * 16}"
    if part:
        (beside.parent / f"{beside.name}.part").mkdir()
        (beside.parent / f"{beside.name}.part" / "arrays.safetensors").write_bytes(b"half")
    else:
        path.rename(f"{beside}.old")
    return beside


def test_a_save_killed_before_its_renames_leaves_the_old_model(saved):
    killed_between(saved)
    pd.testing.assert_frame_equal(RidgeForecaster.load(saved).predict(), fitted().predict())


def test_a_save_killed_between_its_renames_leaves_the_old_model(saved):
    killed_between(saved, part=False)
    assert not saved.exists()
    pd.testing.assert_frame_equal(RidgeForecaster.load(saved).predict(), fitted().predict())


def test_the_next_save_clears_away_what_a_killed_one_left(saved, tmp_path):
    killed_between(saved, part=False)
    abandoned = killed_between(saved).with_name(f".model.{'ab' * 16}.part")
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    (tmp_path / ".model.notes.old").mkdir()  # nobody's business
    other = fitted(wide_frame().iloc[:-7])
    other.save(saved)
    pd.testing.assert_frame_equal(RidgeForecaster.load(saved).predict(), other.predict())
    # One that may still be at work stays.
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        f".model.{'0f' * 16}.part",
        ".model.notes.old",
        "model",
    ]


# -- several at a time -----------------------------------------------------------------------------


def test_of_two_saves_at_a_time_both_arrive_and_the_later_one_stays(saved, tmp_path, monkeypatch):
    first, second = fitted(wide_frame().iloc[:-7]), fitted(wide_frame().iloc[:-3])
    rename = Path.rename

    def interfere(self, target):
        here = rename(self, target)
        if target.suffix == ".old":  # the first has just made room
            monkeypatch.setattr(Path, "rename", rename)
            second.save(saved)
        return here

    monkeypatch.setattr(Path, "rename", interfere)
    first.save(saved)
    pd.testing.assert_frame_equal(RidgeForecaster.load(saved).predict(), first.predict())
    assert listing(tmp_path) == ["model", *(f"model{os.sep}{n}" for n in listing(saved))]


@pytest.mark.parametrize("load", [RidgeForecaster.load, titans_ts.load_model])
def test_a_load_during_a_save_is_of_one_model(saved, monkeypatch, load):
    other, read = fitted(wide_frame().iloc[:-7]), forecasters_module.read_arrays

    def interfere(kind, folder, header):
        monkeypatch.setattr(forecasters_module, "read_arrays", read)
        other.save(saved)
        return read(kind, folder, header)

    monkeypatch.setattr(forecasters_module, "read_arrays", interfere)
    pd.testing.assert_frame_equal(load(saved).predict(), other.predict())


def test_a_load_waits_for_saves_that_are_between_their_renames(saved, monkeypatch):
    # The old model is half cleared away, and the new one has not its name yet.
    part = saved.rename(f"{killed_between(saved)}.part/whole")
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            part.rename(saved)

    monkeypatch.setattr("titans_ts.persistence.place.time.sleep", sleep)
    pd.testing.assert_frame_equal(RidgeForecaster.load(saved).predict(), fitted().predict())
    assert len(waited) == 3


def test_a_load_does_not_wait_for_a_model_that_nobody_saves(tmp_path, monkeypatch):
    monkeypatch.setattr("titans_ts.persistence.place.time.sleep", lambda _: pytest.fail("waited"))
    with pytest.raises(SavedModelError, match="No saved forecaster"):
        RidgeForecaster.load(tmp_path / "model")


def test_a_save_whose_place_was_taken_and_left_again_goes_on(saved, tmp_path, monkeypatch):
    rename, exists = Path.rename, Path.exists
    first, second = fitted(wide_frame().iloc[:-7]), fitted(wide_frame().iloc[:-3])
    third = tmp_path / "third"
    steps = []

    def interfere(self, target):
        here = rename(self, target)
        target = Path(target)
        if target.suffix == ".old" and not steps:  # the first has just made room: the second comes
            steps.append("second")
            second.save(saved)
        return here

    def gone(self):
        if self == saved and steps == ["second"]:  # and makes room for a third one
            steps.append("third")
            rename(self, third)
        return exists(self)

    monkeypatch.setattr(Path, "rename", interfere)
    monkeypatch.setattr(Path, "exists", gone)
    first.save(saved)
    monkeypatch.undo()
    pd.testing.assert_frame_equal(RidgeForecaster.load(saved).predict(), first.predict())


def test_many_saves_and_loads_at_a_time_all_succeed(saved, tmp_path):
    forecaster = fitted()
    with ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(forecaster.save, saved) for _ in range(60)]
        jobs += [threads.submit(RidgeForecaster.load, saved) for _ in range(20)]
    for job in jobs:
        job.result()
    assert listing(tmp_path) == ["model", *(f"model{os.sep}{n}" for n in listing(saved))]


def test_of_two_writes_of_a_file_at_a_time_both_arrive_and_the_last_one_stays(tmp_path):
    file = tmp_path / "model.onnx"

    def slowly(part):
        part.write_text("the first, ")
        write_whole(file, lambda other: other.write_text("the second"))
        assert file.read_text() == "the second"
        with part.open("a") as out:
            out.write("which goes on")

    write_whole(file, slowly)
    assert file.read_text() == "the first, which goes on"
    assert listing(tmp_path) == ["model.onnx"]


def test_a_name_with_signs_of_a_pattern_is_a_name(tmp_path):
    path = tmp_path / "a.+[b]"
    fitted().save(path)
    killed_between(path, part=False)
    RidgeForecaster.load(path)


def test_a_header_that_could_not_be_read_again_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("titans_ts.persistence.files.MOST_TEXT", 100)
    with pytest.raises(ParameterError, match=r"takes \d+ bytes, and 100 are the most"):
        fitted().save(tmp_path / "model")
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    "value",
    [
        {"__type__": "array", "dtype": "U100000000", "value": ["a", "b"]},
        {"__type__": "array", "dtype": "U1", "value": ["a" * 100_000] + [""] * 10_000},
        {"__type__": "array", "dtype": "U1000000", "value": [0, 1, 2]},
        {"__type__": "array", "dtype": "O", "value": [None]},
        {"__type__": "array", "dtype": "f8", "value": [{"a": 1}]},
        {"__type__": "array", "dtype": "f8,f8", "value": [1.0]},
    ],
    ids=lambda value: value["dtype"],
)
def test_arrays_in_json_are_of_numbers_and_text_of_the_size_they_have(value):
    with pytest.raises(ValueError, match="an array of type"):
        decode(value)
