"""The catalogue: complete, of one mind with its cards and the code, and found by any install."""

import gzip
import hashlib
import re
from pathlib import Path

import pytest

from titans_ts import datasets
from titans_ts.backtesting import ETT_SPLITS, fraction_split
from titans_ts.datasets import list_datasets, manifest
from titans_ts.datasets.fetching import _split
from titans_ts.datasets.manifest import catalogue, catalogue_folder, find_entry

ROLES = {
    "id_column",
    "time_column",
    "target",
    "past_covariates",
    "future_covariates",
    "static_covariates",
}
STEPS = {"missing_values", "drop", "sort", "duplicates", "grid"}
NAMES = list_datasets()


@pytest.mark.parametrize(
    "name",
    [
        "etth1",
        "etth2",
        "ettm1",
        "ettm2",
        "electricity",
        "traffic",
        "weather",
        "exchange_rate",
        "national_illness",
    ],
)
def test_the_common_benchmarks_have_functions_of_their_own(name):
    function = getattr(datasets, f"fetch_{name}")
    assert f'fetch("{name}", **options)' in function.__doc__
    assert name in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_is_complete(name):
    entry = find_entry(name)
    for field in ("title", "summary", "licence", "publisher", "citation", "evidence"):
        assert getattr(entry, field).strip(), field
    assert entry.files
    for file in entry.files:
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.bytes > 0
        assert file.url.startswith("https://")
    assert set(entry.roles) <= ROLES
    assert set(entry.mend) <= STEPS
    assert entry.read["format"] in {"csv", "tsf", "parquet"}
    assert ("id_column" in entry.roles) == (entry.series > 1)


def test_no_two_files_share_a_name_or_a_checksum():
    files = [file for entry in catalogue().values() for file in entry.files]
    assert len({file.name for file in files}) == len({file.sha256 for file in files}) == len(files)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_tells_what_the_manifest_says(name):
    entry = find_entry(name)
    card = entry.card
    assert card.startswith(f"# {entry.title}\n")
    for fact in (f"`{name}`", entry.licence, entry.publisher, entry.evidence):
        assert fact in card
    assert f"{entry.rows:,}" in card
    roles = [n for role in ROLES - {"id_column", "time_column"} for n in entry.roles.get(role, [])]
    assert [column for column in roles if f"`{column}`" not in card] == []
    # A step of mending that no card names would be done behind the reader's back.
    assert ("Nothing is mended" in card) == (not entry.mend and _keeps_the_rows(entry))


def _keeps_the_rows(entry):
    time = entry.read.get("time", {})
    return not {"start", "starts", "parts", "steps"} & set(time) and "layout" not in entry.read


def test_every_card_belongs_to_a_set():
    cards = {path.stem for path in (catalogue_folder() / "cards").glob("*.md")}
    assert cards == {*NAMES, "transformer_station"}


@pytest.mark.parametrize("name", ["ETTh1", "ETTh2", "ETTm1", "ETTm2"])
def test_the_splits_of_ett_are_those_of_the_protocol(name):
    assert find_entry(name).split["rows"] == list(ETT_SPLITS[name])


@pytest.mark.parametrize("n_rows", [10, 966, 7_588, 17_544, 26_304, 52_696])
def test_fractions_are_cut_as_the_protocol_cuts_them(n_rows):
    frame = range(n_rows)
    for entry in catalogue().values():
        if "fractions" in entry.split and "rows" not in entry.split and entry.series == 1:
            assert _split(entry, frame, raw=False) == fraction_split(n_rows)._asdict(), entry.name


@pytest.mark.parametrize("asked", ["ETTm1", "ettM1", " ettm1 ", "Ettm1"])
def test_names_are_found_whatever_their_case(asked):
    assert find_entry(asked).name == "ettm1"


@pytest.mark.parametrize(
    ("alias", "name"),
    [("ILI", "national_illness"), ("ECL", "electricity"), ("exchange", "exchange_rate")],
)
def test_common_other_names_are_understood(alias, name):
    assert find_entry(alias).name == name


def test_cut_outs_do_not_go_by_the_name_of_the_whole():
    assert find_entry("traffic").columns == 863
    assert find_entry("traffic_6").columns == 7
    assert find_entry("electricity").columns == 322
    assert find_entry("electricity_6").columns == 7


def test_samples_are_whole_files_with_the_checksum_of_the_catalogue():
    held = {path.name: path for path in (catalogue_folder() / "samples").iterdir()}
    for entry in catalogue().values():
        for file in entry.files if entry.sample else ():
            data = gzip.decompress(held.pop(f"{file.name}.gz").read_bytes())
            assert len(data) == file.bytes
            assert hashlib.sha256(data).hexdigest() == file.sha256
    assert held == {}, "a sample of no set, or of one that may not be shared"


@pytest.mark.parametrize("name", [n for n in NAMES if find_entry(n).sample])
def test_samples_have_a_licence_that_allows_them(name):
    assert re.search(r"public domain|CC BY 4\.0", find_entry(name).licence)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A place where the package seems to be installed."""
    monkeypatch.setattr(manifest, "files", lambda name: tmp_path / name)
    catalogue_folder.cache_clear()
    yield tmp_path
    catalogue_folder.cache_clear()


def write_manifest(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.toml").write_text("")
    return folder


def test_in_a_wheel_the_catalogue_lies_inside_the_package(packages):
    inside = write_manifest(packages / "titans_ts" / "datasets" / "catalogue")
    write_manifest(packages / "datasets")  # somebody else's
    assert catalogue_folder() == inside


def test_in_a_checkout_the_catalogue_lies_beside_the_package(packages):
    beside = write_manifest(packages / "datasets")
    assert catalogue_folder() == beside


def test_a_lost_catalogue_is_told(packages):
    with pytest.raises(FileNotFoundError, match=r"no manifest\.toml in .* Install titans-ts again"):
        catalogue_folder()
