"""The tutorial's head, installed as a stranger's package: found, fitted, saved, and checked."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import titans_ts

pytestmark = pytest.mark.slow

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorials" / "activity_head"

USE = """
import titans_ts
from titans_activity.recordings import make_recordings

assert "torch" not in __import__("sys").modules
classifier = titans_ts.TitansActivityClassifier(random_state=0)
classifier.fit(*make_recordings(240, random_state=0))
X, y = make_recordings(200, random_state=1)
assert classifier.score(X, y) > 0.9, classifier.score(X, y)
classifier.save("model")
loaded = titans_ts.load_model("model")
assert type(loaded) is type(classifier)
assert (loaded.predict_proba(X) == classifier.predict_proba(X)).all()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder on Python's path into which pip has installed the tutorial's package."""
    pytest.importorskip("hatchling", reason="the extra dev has what builds a package")
    folder = tmp_path_factory.mktemp("installed")
    source = shutil.copytree(TUTORIAL, folder / "source")
    site = folder / "site"
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target"]
    run("pip", "install", *options, str(site), str(source), cwd=folder)
    return site


def run(*command, cwd, site=None):
    """Run a Python module; what it wrote to standard output."""
    here = Path(titans_ts.__file__).parents[1]
    paths = [str(site or ""), str(here), os.environ.get("PYTHONPATH")]
    result = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-m", *command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_list_of_heads_has_the_installed_one(installed, tmp_path):
    lines = run("titans_ts.cli", "heads", cwd=tmp_path, site=installed).splitlines()
    (line,) = (line for line in lines if "TitansActivityClassifier" in line)
    assert "activity" in line
    assert "titans-activity 0.1.0" in line
    assert line.rstrip().endswith("ok")


def test_without_the_package_there_is_no_such_head(tmp_path):
    assert "activity" not in run("titans_ts.cli", "heads", cwd=tmp_path)


def test_the_head_recognises_activities_and_comes_back_from_a_folder(installed, tmp_path):
    (tmp_path / "use_it.py").write_text(USE)
    assert run("use_it", cwd=tmp_path, site=installed) == ""
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"use_it.py", "model"}


def test_its_command_runs(installed, tmp_path):
    shown = run("titans_ts.cli", "activity", "demo", "--windows=120", cwd=tmp_path, site=installed)
    assert shown.endswith("of 200 new windows are recognised; by chance it would be 25%.\n")
    assert int(shown.split("%")[0]) > 60


def test_it_keeps_the_contract(installed, tmp_path):
    tests = shutil.copytree(TUTORIAL / "tests", tmp_path / "tests")
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    shown = run("pytest", *options, str(tests), cwd=tmp_path, site=installed)
    assert " passed" in shown
    assert "skipped" not in shown
