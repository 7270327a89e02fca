"""Fetching a data set: from a copy, from a server, or refused; never half of one."""

import gzip
import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
from published_sets import TIDE, published, put_into_catalogue, site, write_copy

from titans_ts.datasets import fetch, get_data_home, load
from titans_ts.errors import DataFileError, ParameterError

CUT_SHORT, ALTERED = TIDE[:-7], TIDE.replace(b"2.5", b"2.6")


@pytest.fixture(autouse=True)
def no_other_copies(monkeypatch, tmp_path):
    monkeypatch.delenv("TITANS_TS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "system-cache"))


@pytest.fixture
def web():
    with site() as (address, pages):
        yield address, pages


@pytest.fixture
def tide(monkeypatch, tmp_path, web):
    """A set on a server of our own; the cache is empty."""
    address, pages = web
    entry = published("tide", TIDE, address)
    put_into_catalogue(monkeypatch, tmp_path / "catalogue", entry)
    pages.serve("/tide.csv", TIDE)
    return entry


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def held(folder):
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


# -- downloads ------------------------------------------------------------------------------------


def test_a_set_is_downloaded_once_and_then_read_from_the_cache(tide, cache, web):
    _, pages = web
    first = fetch("tide", data_home=cache)
    assert held(cache) == ["tide.csv"]
    assert (cache / "tide.csv").read_bytes() == TIDE
    again = fetch("tide", data_home=cache)
    assert pages.requests == ["/tide.csv"]
    pd.testing.assert_frame_equal(first.frame, again.frame)
    assert again.filename == str(cache / "tide.csv")
    assert first.frame["level"].tolist() == [1.5, 2.5, 3.5]
    assert first.frame.index.tolist() == list(pd.date_range("1990-01-01", periods=3))


@pytest.mark.parametrize(
    ("sent", "advice"),
    [
        pytest.param(CUT_SHORT, "may have broken off: try again", id="cut short"),
        pytest.param(b"", "may have broken off: try again", id="empty"),
        pytest.param(ALTERED, "publisher may have changed the file", id="altered"),
        pytest.param(TIDE + b"1\r\n", "publisher may have changed the file", id="longer"),
    ],
)
def test_a_download_that_differs_is_refused_and_never_enters_the_cache(
    tide, cache, web, sent, advice
):
    web[1].serve("/tide.csv", sent)
    with pytest.raises(DataFileError) as caught:
        fetch("tide", data_home=cache)
    message = str(caught.value)
    assert f"expected {len(TIDE)} bytes with SHA-256 {tide.files[0].sha256}" in message
    assert f"received {len(sent)} bytes with SHA-256 {hashlib.sha256(sent).hexdigest()}" in message
    assert tide.files[0].url in message
    assert advice in message
    assert held(cache) == []


def test_a_connection_that_breaks_off_leaves_nothing_in_the_cache(tide, cache, web):
    web[1].announce_more = True
    with pytest.raises(DataFileError, match=r"tide\.csv cannot be downloaded.*broke off"):
        fetch("tide", data_home=cache)
    assert held(cache) == []


def test_a_good_copy_in_the_cache_survives_a_set_that_changed_on_the_server(tide, cache, web):
    fetch("tide", data_home=cache)
    web[1].serve("/tide.csv", ALTERED)
    assert fetch("tide", data_home=cache).frame["level"].iloc[1] == 2.5
    assert web[1].requests == ["/tide.csv"]


def test_a_page_that_is_gone_is_told_with_the_server_s_answer(tide, cache, web):
    web[1].pages.clear()
    with pytest.raises(DataFileError, match=r"the server answered 404 Not Found\. Check the net"):
        fetch("tide", data_home=cache)
    assert held(cache) == []


def test_a_server_that_cannot_be_reached_is_told_in_one_sentence(monkeypatch, tmp_path, cache):
    # Port 9 of this machine: nobody listens.
    put_into_catalogue(monkeypatch, tmp_path / "catalogue", published("tide", TIDE))
    with pytest.raises(DataFileError, match=r"/tide\.csv: the server cannot be reached\. Check"):
        fetch("tide", data_home=cache)
    assert held(cache) == []


def test_an_interrupted_download_leaves_nothing_in_the_cache(tide, cache, monkeypatch):
    def interrupt(name, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("tide", data_home=cache, progress=interrupt)
    assert held(cache) == []


def test_a_cache_that_cannot_be_made_is_refused(tide, tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    with pytest.raises(DataFileError, match=r"cannot be written to the cache .*data_home="):
        fetch("tide", data_home=in_the_way / "cache")


def test_progress_counts_up_to_the_size_of_the_file(monkeypatch, tmp_path, cache, web):
    big = b"date,level\n" + b"1990/1/1 0:00,1\n" * 20_011
    put_into_catalogue(monkeypatch, tmp_path / "catalogue", published("tide", big, web[0]))
    web[1].serve("/tide.csv", big)
    calls = []
    fetch("tide", data_home=cache, raw=True, progress=lambda *call: calls.append(call))
    assert calls[-1] == ("tide.csv", len(big), len(big))
    done = [call[1] for call in calls]
    assert done == sorted(done)
    assert done[0] < len(big)


def test_a_download_is_silent(tide, cache, capfd):
    fetch("tide", data_home=cache)
    assert capfd.readouterr() == ("", "")


def test_a_bar_is_shown_on_standard_error_if_asked_for(tide, cache, capfd):
    pytest.importorskip("tqdm")
    fetch("tide", data_home=cache, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "100%" in err


# -- without a download ---------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [load, lambda n, **o: fetch(n, download_if_missing=False, **o)])
def test_without_a_copy_and_without_the_network_the_way_on_is_told(tide, cache, web, ask):
    with pytest.raises(DataFileError) as caught:
        ask("tide", data_home=cache)
    for word in ("tide.csv", str(cache), "fetch('tide')", "local=", "TITANS_TS_DATA"):
        assert word in str(caught.value)
    assert web[1].requests == []
    assert held(cache) == []


def test_what_was_fetched_can_be_loaded(tide, cache):
    pd.testing.assert_frame_equal(
        fetch("tide", data_home=cache).frame, load("tide", data_home=cache).frame
    )


def test_the_cache_is_among_the_caches_of_the_system_by_default(tide, tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "caches" / name)
    assert get_data_home() == tmp_path / "caches" / "titans-ts"
    fetch("tide")
    assert held(tmp_path / "caches" / "titans-ts") == ["tide.csv"]


# -- local copies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["tide.csv", "tide.csv.gz", "a/b/tide.csv", "a/b/tide.csv.gz"])
@pytest.mark.parametrize("how", ["parameter", "variable"])
def test_a_local_copy_is_read_at_any_depth_plain_or_compressed(
    tide, cache, web, tmp_path, monkeypatch, where, how
):
    copy = write_copy(tmp_path / "mine" / where, TIDE)
    if how == "parameter":
        data = load("tide", local=tmp_path / "mine", data_home=cache)
    else:
        monkeypatch.setenv("TITANS_TS_DATA", str(tmp_path / "mine"))
        data = load("tide", data_home=cache)
    assert data.filename == str(copy)
    assert data.frame["level"].tolist() == [1.5, 2.5, 3.5]
    assert web[1].requests == []
    assert held(cache) == []


def test_the_variable_may_name_several_folders(tide, tmp_path, monkeypatch):
    write_copy(tmp_path / "second" / "tide.csv", TIDE)
    (tmp_path / "first").mkdir()
    folders = [str(tmp_path / "first"), str(tmp_path / "second")]
    monkeypatch.setenv("TITANS_TS_DATA", os.pathsep.join(folders))
    assert load("tide").filename == str(tmp_path / "second" / "tide.csv")


def test_the_parameter_goes_before_the_variable_and_both_before_the_cache(
    tide, cache, tmp_path, monkeypatch
):
    named, given = (write_copy(tmp_path / n / "tide.csv", TIDE) for n in ("named", "given"))
    fetch("tide", data_home=cache)
    assert load("tide", data_home=cache).filename == str(cache / "tide.csv")
    monkeypatch.setenv("TITANS_TS_DATA", str(named.parent))
    assert load("tide", data_home=cache).filename == str(named)
    assert load("tide", data_home=cache, local=[given.parent]).filename == str(given)


def test_copies_go_by_their_other_names_too(monkeypatch, tmp_path):
    entry = published("tide", TIDE)
    file = replace(entry.files[0], also=("Tide_Levels.csv",))
    put_into_catalogue(monkeypatch, tmp_path / "catalogue", replace(entry, files=(file,)))
    copy = write_copy(tmp_path / "mine" / "Tide_Levels.csv.gz", TIDE)
    assert load("tide", local=tmp_path / "mine").filename == str(copy)


@pytest.mark.parametrize("name", ["tide.csv", "tide.csv.gz"])
@pytest.mark.parametrize("content", [CUT_SHORT, ALTERED], ids=["cut short", "altered"])
def test_a_local_copy_that_differs_is_refused_and_left_alone(tide, web, tmp_path, name, content):
    copy = write_copy(tmp_path / "mine" / name, content)
    before = copy.read_bytes()
    with pytest.raises(DataFileError) as caught:
        fetch("tide", local=tmp_path / "mine")
    message = str(caught.value)
    assert f"{copy} is not tide.csv as it was published" in message
    assert f"expected {len(TIDE)} bytes" in message
    assert f"received {len(content)} bytes" in message
    assert "give another folder" in message
    assert web[1].requests == []
    assert copy.read_bytes() == before


def test_a_compressed_copy_that_breaks_off_is_refused(tide, tmp_path):
    copy = tmp_path / "mine" / "tide.csv.gz"
    copy.parent.mkdir()
    copy.write_bytes(gzip.compress(TIDE)[:-11])
    with pytest.raises(DataFileError, match=r"tide\.csv\.gz is damaged: its gzip compression"):
        load("tide", local=tmp_path / "mine")


def test_a_file_in_the_cache_that_differs_is_refused(tide, cache):
    write_copy(cache / "tide.csv", ALTERED)
    with pytest.raises(
        DataFileError, match=r"is not tide\.csv as it was published.*Remove it, and"
    ):
        fetch("tide", data_home=cache)


def test_among_several_copies_the_right_one_is_found(tide, tmp_path):
    write_copy(tmp_path / "mine" / "a" / "tide.csv", ALTERED)
    right = write_copy(tmp_path / "mine" / "b" / "tide.csv", TIDE)
    assert load("tide", local=tmp_path / "mine").filename == str(right)


def test_a_folder_in_the_variable_that_does_not_exist_is_refused(tide, tmp_path, monkeypatch):
    monkeypatch.setenv("TITANS_TS_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataFileError, match=r"TITANS_TS_DATA names .*nowhere, which is not a fol"):
        load("tide")


# -- checksums of one's own -----------------------------------------------------------------------


def test_a_changed_file_is_taken_with_its_checksum(tide, cache, web):
    web[1].serve("/tide.csv", ALTERED)
    digits = hashlib.sha256(ALTERED).hexdigest()
    assert fetch("tide", data_home=cache, sha256=digits).frame["level"].iloc[1] == 2.6
    # And only with it: the cache now holds what the catalogue does not know.
    with pytest.raises(DataFileError, match="as it was published"):
        fetch("tide", data_home=cache)
    assert load("tide", data_home=cache, sha256=digits.upper()).frame.shape == (3, 1)


def test_a_checksum_of_one_s_own_is_held_to(tide, cache, web):
    other = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(DataFileError, match=f"expected SHA-256 {other}, received"):
        fetch("tide", data_home=cache, sha256=other)
    assert held(cache) == []


# -- bad parameters -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "tidy"}, r"got 'tidy'\. Did you mean 'tide'\?"),
        ({"name": 3}, r"name must be the name of a data set such as 'ettm1', got 3"),
        ({"local": 3}, r"local must be a folder with copies.*got 3"),
        ({"local": "nowhere"}, r"local='nowhere' is not a folder"),
        ({"sha256": "abc"}, r"sha256 must be 64 hexadecimal digits.*'abc'"),
        ({"sha256": {"x.csv": "a" * 64}}, r"for any of tide\.csv"),
        ({"raw": "yes"}, r"raw must be one of True, False"),
        ({"progress": "bar"}, r"progress must be one of True, False"),
        ({"download_if_missing": None}, r"download_if_missing must be one of"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(tide, options, message):
    with pytest.raises(ParameterError, match=message):
        fetch(**({"name": "tide"} | options))


def test_a_checksum_for_several_files_is_a_dict_by_name():
    with pytest.raises(ParameterError, match=r"sha256 must be a dict by file name, since 'epf_pri"):
        load("epf_prices", sha256="a" * 64)


def test_listing_data_sets_loads_neither_pandas_nor_the_network(tmp_path):
    code = (
        "import sys; from titans_ts.datasets import list_datasets; list_datasets();"
        "sys.stdout.write(' '.join({'pandas', 'torch', 'requests', 'pooch'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout == result.stderr == ""
