"""A saved ensemble is a folder of its members, whole or not there."""

import json
import shutil

import pandas as pd
import pytest
from ensembles import frame, pair, ridge

from titans_ts import (
    EnsembleForecaster,
    ParameterError,
    RidgeForecaster,
    SavedModelError,
    load_model,
)
from titans_ts.persistence import fingerprint
from titans_ts.persistence.files import signed_text


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model"
    pair().fit(frame()).save(path)
    return path


def listing(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.mark.parametrize("load", [load_model, EnsembleForecaster.load])
def test_a_loaded_ensemble_is_the_saved_one(load, tmp_path):
    ensemble = pair().fit(frame())
    ensemble.save(tmp_path / "model")
    loaded = load(tmp_path / "model", device="cpu")
    assert repr(loaded) == repr(ensemble)
    assert set(vars(loaded)) == set(vars(ensemble))
    pd.testing.assert_frame_equal(loaded.predict(), ensemble.predict())
    later = frame()[-70:]
    pd.testing.assert_frame_equal(
        loaded.predict(later, quantiles=(0.1, 0.9)), ensemble.predict(later, quantiles=(0.1, 0.9))
    )
    pd.testing.assert_frame_equal(loaded.fit(frame()).predict(), ensemble.predict())


def test_members_lie_inside_as_models_of_their_own(saved):
    member = load_model(saved / "members" / "0")
    pd.testing.assert_frame_equal(member.predict(), load_model(saved).members_[0].predict())
    assert not [name for name in listing(saved) if name.endswith((".pkl", ".part", ".old"))]


def test_ensembles_within_ensembles_come_back(tmp_path):
    outer = EnsembleForecaster([("inner", pair()), ("alone", ridge(11))]).fit(frame())
    outer.save(tmp_path / "model")
    pd.testing.assert_frame_equal(load_model(tmp_path / "model").predict(), outer.predict())


def test_an_ensemble_and_a_single_forecaster_take_each_other_s_place(saved):
    alone = ridge().fit(frame())
    alone.save(saved)
    assert type(load_model(saved)) is RidgeForecaster
    assert listing(saved) == ["arrays.safetensors", "forecaster.json"]
    pair().fit(frame()).save(saved)
    assert type(load_model(saved)) is EnsembleForecaster
    assert len(listing(saved)) == 8
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


def test_the_wrong_class_is_refused(saved):
    with pytest.raises(SavedModelError, match=r"holds a EnsembleForecaster, not a RidgeForecaster"):
        RidgeForecaster.load(saved)


def test_a_save_that_fails_at_a_member_leaves_what_was_there(saved, monkeypatch):
    before, mark = load_model(saved).predict(), fingerprint(saved)
    other = pair().set_params(weights=[1, 1]).fit(frame())

    def full(self):
        raise OSError("No space left on device")

    monkeypatch.setattr(other.members_[1], "_fitted_state", full.__get__(other.members_[1]))
    with pytest.raises(OSError, match="No space left"):
        other.save(saved)
    assert fingerprint(saved) == mark
    pd.testing.assert_frame_equal(load_model(saved).predict(), before)
    with pytest.raises(OSError, match="No space left"):
        other.save(saved.parent / "new" / "model")
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("inside", ["members/0/notes.txt", "members/notes.txt", "notes.txt"])
def test_a_folder_with_something_else_inside_is_not_replaced(inside, saved):
    (saved / inside).write_text("mine")
    with pytest.raises(ParameterError, match="is not a saved forecaster"):
        pair().fit(frame()).save(saved)
    assert (saved / inside).read_text() == "mine"


def test_a_member_of_a_class_that_could_not_be_found_again_is_refused(tmp_path):
    class Own(RidgeForecaster):
        pass

    ensemble = EnsembleForecaster([("mine", Own(horizon=5, context_length=29))]).fit(frame())
    with pytest.raises(ParameterError, match="The member 'mine' is a Own"):
        ensemble.save(tmp_path / "model")
    assert listing(tmp_path) == []


# -- damage ---------------------------------------------------------------------------------------


def test_a_missing_member_is_named(saved):
    shutil.rmtree(saved / "members" / "1")
    with pytest.raises(SavedModelError, match="lacks its member members/1"):
        load_model(saved)


@pytest.mark.parametrize("file", ["arrays.safetensors", "forecaster.json"])
def test_a_truncated_file_of_a_member_is_named(file, saved):
    damaged = saved / "members" / "1" / file
    damaged.write_bytes(damaged.read_bytes()[:-7])
    with pytest.raises(SavedModelError, match=r"members.1.*its checksum differs"):
        load_model(saved)


def test_a_member_in_the_place_of_another_is_refused(saved):
    shutil.rmtree(saved / "members" / "1")
    shutil.copytree(saved / "members" / "0", saved / "members" / "1")
    with pytest.raises(SavedModelError, match=r"members.1' is not the member that was saved"):
        load_model(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": [1]}, "weights must be a number for each of the 2 forecasters"),
        ({"names": ["a", "a"]}, "Two forecasters are called 'a'"),
        ({"names": ["a"]}, "ValueError"),
        ({"members": []}, "does not fit this version"),
        ({"members": 3}, "does not fit this version"),
        ({"class": "RidgeForecaster"}, "does not fit this version"),
    ],
)
def test_what_an_altered_file_says_becomes_one_sentence(changes, message, saved):
    file = saved / "forecaster.json"
    file.write_text(signed_text(json.loads(file.read_text()) | changes))
    with pytest.raises(SavedModelError, match=message):
        load_model(saved)


def test_members_that_were_fitted_to_other_tables_are_refused(saved, tmp_path):
    ridge(19).fit(frame(150)).save(tmp_path / "other")
    shutil.rmtree(saved / "members" / "1")
    shutil.copytree(tmp_path / "other", saved / "members" / "1")
    file = saved / "forecaster.json"
    header = json.loads(file.read_text())
    header["members"][1] = fingerprint(saved / "members" / "1")
    file.write_text(signed_text(header))
    with pytest.raises(SavedModelError, match="not fitted to the same table"):
        load_model(saved)
