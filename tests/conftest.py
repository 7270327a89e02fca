"""What all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples every time: a run says something about the code, not about the luck of a draw.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")

# Before numpy and torch are imported: parallel test processes that each take all cores only get
# in each other's way, and with one thread sums are taken in the same order on every machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test opens a window.
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets: beside the project, or where TITANS_TS_SHARED_DATA says."""
    named = os.environ.get("TITANS_TS_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if folder.is_dir():
        return folder
    if named:
        pytest.fail(f"TITANS_TS_SHARED_DATA names {named}, which is not a folder.")
    pytest.skip(f"no real data sets in {folder}; set TITANS_TS_SHARED_DATA to where they are")


@pytest.fixture
def fake_packages(tmp_path, monkeypatch):
    """Install packages for this test alone."""
    # Here: test modules import no helper before the variables above are set.
    from fake_packages import FakePackages

    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    packages = FakePackages(folder)
    yield packages
    packages.uninstall()
