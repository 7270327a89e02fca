"""``titans-ts datasets``: list, show and fetch, with the exit codes of all commands."""

import hashlib

import pytest
from command_line import run, succeed, words
from published_sets import TIDE, published, put_into_catalogue, site, write_copy

from titans_ts.datasets import list_datasets


@pytest.fixture(autouse=True)
def no_other_copies(monkeypatch, tmp_path):
    monkeypatch.delenv("TITANS_TS_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "empty-cache")


@pytest.fixture
def tide(monkeypatch, tmp_path):
    """One set in the catalogue, on a server of our own; the address and its pages."""
    with site() as (address, pages):
        pages.serve("/tide.csv", TIDE)
        put_into_catalogue(monkeypatch, tmp_path / "catalogue", published("tide", TIDE, address))
        yield pages


def test_list_shows_every_set_and_which_are_here():
    lines = succeed("datasets", "list").splitlines()
    for name in list_datasets():
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        here = name in {"national_illness", "bike_sharing", "epf_prices"}
        assert (" yes " in line) == here
    ettm1 = next(line for line in lines if line.startswith("  ettm1 "))
    assert ettm1.split()[:6] == ["ettm1", "69,680", "8", "1", "15min", "10.4"]


def test_list_sees_local_copies(tide, tmp_path):
    assert " yes " not in succeed("datasets", "list")
    write_copy(tmp_path / "mine" / "deep" / "tide.csv.gz", TIDE)
    assert " yes " in succeed("datasets", "list", "--local", tmp_path / "mine")


def test_quiet_list_is_the_names_alone():
    assert succeed("datasets", "list", "-q").split() == list_datasets()


def test_show_tells_the_card_the_checksum_and_the_url():
    shown = words(succeed("datasets", "show", "ETTm1"))
    for fact in ("oil temperature", "CC BY-ND 4.0", "34,560 / 11,520 / 11,520", "10,360,719 bytes"):
        assert fact in shown
    assert "6ce1759b1a18e3328421d5d75fadcb316c449fcd7cec32820c8dafda71986c9e" in shown
    assert "https://raw.githubusercontent.com/zhouhaoyi/ETDataset" in shown


def test_quiet_show_is_the_card_as_it_is(tide):
    assert succeed("datasets", "show", "tide", "--quiet") == "# Tide\n"


def test_fetch_downloads_and_tells_where_the_file_lies(tide, tmp_path):
    home = tmp_path / "home"
    shown = succeed("datasets", "fetch", "tide", "--data-home", home)
    assert (home / "tide.csv").read_bytes() == TIDE
    assert f"{home / 'tide.csv'}: {len(TIDE)} bytes, as published" in words(shown)
    assert "CC0" in shown
    succeed("datasets", "fetch", "tide", "--data-home", home)
    assert tide.requests == ["/tide.csv"]


def test_quiet_fetch_prints_the_files_for_a_pipe(tide, tmp_path):
    copy = write_copy(tmp_path / "mine" / "tide.csv", TIDE)
    assert succeed("datasets", "fetch", "tide", "-q", "--local", copy.parent) == f"{copy}\n"
    assert tide.requests == []


def test_fetch_takes_a_changed_file_with_its_checksum(tide, tmp_path):
    changed = TIDE.replace(b"1.5", b"1.6")
    tide.serve("/tide.csv", changed)
    home, digits = tmp_path / "home", hashlib.sha256(changed).hexdigest()
    shown = succeed("datasets", "fetch", "tide", "--data-home", home, "--sha256", digits)
    assert "with the given checksum" in shown
    assert (home / "tide.csv").read_bytes() == changed


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fetch", "tidy"], 2, r"got 'tidy'. Did you mean 'tide'?"),
        (["show", "tidy"], 2, r"got 'tidy'. Did you mean 'tide'?"),
        (["fetch", "tide", "--local", "no"], 2, "--local 'no' is not a folder"),
        (["list", "--local", "no"], 2, "--local 'no' is not a folder"),
        (["fetch", "tide", "--sha256", "abc"], 2, "sha256 must be 64 hexadecimal digits"),
        (["fetch", "tide", "tide", "--sha256", "abc"], 2, "--sha256 is for one data set"),
        (["fetch"], 2, "Missing argument"),
        (["get"], 2, "No such command 'get'"),
    ],
)
def test_bad_usage_is_one_sentence_and_exit_code_2(tide, arguments, code, message):
    result = run("datasets", *arguments)
    assert result.exit_code == code
    assert message in words(result.stderr)
    assert result.stdout == ""
    assert "Traceback" not in result.output
    assert tide.requests == []


def test_a_download_that_differs_is_one_sentence_and_leaves_nothing(tide, tmp_path):
    tide.serve("/tide.csv", TIDE[:-3])
    home = tmp_path / "home"
    result = run("datasets", "fetch", "tide", "--data-home", home)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: http://127.0.0.1")
    assert "did not send tide.csv as it is catalogued" in result.stderr
    assert list(home.iterdir()) == []


def test_advice_is_worded_for_the_command_line(tide, tmp_path):
    tide.pages.clear()
    result = run("datasets", "fetch", "tide", "--data-home", tmp_path / "home")
    assert "give it as --local or in TITANS_TS_DATA" in result.stderr


def test_nothing_is_downloaded_where_one_of_several_names_is_unknown(tide, tmp_path):
    assert run("datasets", "fetch", "tide", "no").exit_code == 2
    assert tide.requests == []
