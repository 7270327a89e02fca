"""Catalogue -> fetch -> verify -> load."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import pandas as pd

from titans_ts.datasets.dataset import Dataset
from titans_ts.datasets.download import Progress, download
from titans_ts.datasets.local import (
    LOCAL_VARIABLE,
    difference,
    find_copies,
    get_data_home,
    local_folders,
    read_copy,
)
from titans_ts.datasets.manifest import CatalogueEntry, DataFile, find_entry
from titans_ts.errors import DataFileError, ParameterError
from titans_ts.parameters import check_choice

__all__ = ["FetchOptions", "Obtained", "fetch", "load", "obtain"]

Place = str | os.PathLike[str]


class FetchOptions(TypedDict, total=False):
    """Parameters of :func:`fetch` after the name."""

    data_home: Place | None
    local: Place | Sequence[Place] | None
    download_if_missing: bool
    raw: bool
    sha256: str | Mapping[str, str] | None
    progress: bool | Progress


class Obtained(NamedTuple):
    """A file of a data set, verified."""

    file: DataFile
    path: Path
    data: bytes  # as published, whatever the compression of the copy


def fetch(
    name: str,
    *,
    data_home: Place | None = None,
    local: Place | Sequence[Place] | None = None,
    download_if_missing: bool = True,
    raw: bool = False,
    sha256: str | Mapping[str, str] | None = None,
    progress: bool | Progress = False,
) -> Dataset:
    """Load a data set of the catalogue; download it first where there is no copy.

    A copy is looked for in ``local``, in the folders of the environment variable
    ``TITANS_TS_DATA``, in the cache, and among the few sets that come with the package. Whatever is
    read has the checksum of the catalogue; a file that differs is refused.

    Parameters
    ----------
    name : str
        Such as ``"ettm1"``, of :func:`titans_ts.datasets.list_datasets`; common other names are
        understood.
    data_home : path, optional
        Where downloads are kept. Default: see :func:`titans_ts.datasets.get_data_home`.
    local : path or list of paths, optional
        Folders with copies, at any depth, plain or compressed with gzip (``ETTm1.csv.gz``); they
        are only read.
    download_if_missing : bool, default True
        False refuses instead of using the network.
    raw : bool, default False
        The table as published: time as text, sentinels, duplicates and gaps as they are. Otherwise
        the times are read, and faults are mended in the way that the card of the set tells.
    sha256 : str or dict of str to str, optional
        Checksum to hold the file to instead of the catalogue's, for a changed file that you trust;
        for sets of several files a dict by file name.
    progress : bool or callable, default False
        Of a download. True: a bar on standard error. A callable gets the file's name, the bytes
        received and the bytes in all.

    Returns
    -------
    Dataset

    Raises
    ------
    ParameterError
        There is no such set, or a parameter makes no sense.
    DataFileError
        There is no copy and it cannot or may not be downloaded, or a file differs from what was
        published.

    Examples
    --------
    >>> from titans_ts.datasets import fetch
    >>> bikes = fetch("bike_sharing", download_if_missing=False)  # comes with the package
    >>> bikes.roles["target"], bikes.freq
    (['users'], 'h')
    """
    check_choice("raw", raw, (True, False))
    entry = find_entry(name)
    obtained = obtain(
        entry,
        data_home=data_home,
        local=local,
        download_if_missing=download_if_missing,
        sha256=sha256,
        progress=progress,
    )
    from titans_ts.datasets.mend import mend
    from titans_ts.datasets.parse import parse

    tables = [parse(part.file.name, part.data, entry.read) for part in obtained]
    if raw:
        frame, future = tables[0], tables[1] if len(tables) > 1 else None
    else:
        frame, future = mend(entry, tables)
    return Dataset(
        name=entry.name,
        frame=frame,
        roles={} if raw else {role: _copied(names) for role, names in entry.roles.items()},
        freq=entry.freq,
        split=_split(entry, frame, raw),
        future=future,
        DESCR=entry.card,
        filename=str(obtained[0].path),
        licence=entry.licence,
        citation=entry.citation,
    )


def load(
    name: str,
    *,
    data_home: Place | None = None,
    local: Place | Sequence[Place] | None = None,
    raw: bool = False,
    sha256: str | Mapping[str, str] | None = None,
) -> Dataset:
    """Load a data set of the catalogue from this machine; never uses the network.

    Parameters
    ----------
    name, data_home, local, raw, sha256
        As in :func:`fetch`.

    Returns
    -------
    Dataset

    Raises
    ------
    ParameterError
        There is no such set, or a parameter makes no sense.
    DataFileError
        There is no copy, or it differs from what was published.

    Examples
    --------
    >>> from titans_ts.datasets import load
    >>> load("epf_prices").future.shape
    (96, 11)
    """
    return fetch(
        name, data_home=data_home, local=local, download_if_missing=False, raw=raw, sha256=sha256
    )


def obtain(
    entry: CatalogueEntry,
    *,
    data_home: Place | None = None,
    local: Place | Sequence[Place] | None = None,
    download_if_missing: bool = True,
    sha256: str | Mapping[str, str] | None = None,
    progress: bool | Progress = False,
) -> list[Obtained]:
    """The files of a data set, found or downloaded, and verified; parameters as :func:`fetch`."""
    check_choice("download_if_missing", download_if_missing, (True, False))
    if not callable(progress):
        check_choice("progress", progress, (True, False))
    sums = _checksums(entry, sha256)
    home, folders = get_data_home(data_home), local_folders(local)
    result = []
    for file in entry.files:
        found = _found(file, folders, home, sums[file.name])
        if found is None:
            if not download_if_missing:
                raise _absent(entry, file, folders, home)
            found = download(file, home, sha256=sums[file.name], progress=progress)
        result.append(Obtained(file, *found))
    return result


def _found(
    file: DataFile, folders: list[Path], home: Path, sha256: str
) -> tuple[Path, bytes] | None:
    """The first copy that is right; a wrong one is an error only where none is."""
    refusal = None
    for path, local in find_copies(file, folders, home):
        data = read_copy(path)
        wrong = difference(file, data, sha256)
        if not wrong:
            return path, data
        advice = (
            "Put the published file there, or give another folder"
            if local
            else f"Remove it, and fetch it again with data_home={str(home)!r}"
        )
        refusal = refusal or DataFileError(
            f"{path} is not {file.name} as it was published: {wrong}. {advice}; or, if you trust "
            "this file, give its checksum as sha256=."
        )
    if refusal is not None:
        raise refusal
    return None


def _checksums(entry: CatalogueEntry, given: str | Mapping[str, str] | None) -> dict[str, str]:
    sums = {file.name: file.sha256 for file in entry.files}
    if given is None:
        return sums
    if isinstance(given, str):
        if len(sums) > 1:
            raise ParameterError(
                f"sha256 must be a dict by file name, since {entry.name!r} has the files "
                f"{', '.join(sums)}; got {given!r}."
            )
        given = dict.fromkeys(sums, given)
    for name, value in given.items():
        text = value.strip().lower() if isinstance(value, str) else ""
        if name not in sums or len(text) != 64 or set(text) - set("0123456789abcdef"):
            raise ParameterError(
                f"sha256 must be 64 hexadecimal digits for any of {', '.join(sums)}; got {value!r} "
                f"for {name}."
            )
        sums[name] = text
    return sums


def _absent(
    entry: CatalogueEntry, file: DataFile, folders: list[Path], home: Path
) -> DataFileError:
    places = ", ".join(str(place) for place in (*folders, home))
    return DataFileError(
        f"There is no copy of {file.name} ({entry.name!r}) in {places}. Download it with "
        f"fetch({entry.name!r}), or put it into a folder and give that as local= or in the "
        f"environment variable {LOCAL_VARIABLE}."
    )


def _split(entry: CatalogueEntry, frame: pd.DataFrame, raw: bool) -> dict[str, int]:
    """Rows of each period, as the manifest says."""
    split = entry.split
    if "last" in split:
        return {"n_test": split["last"]}
    rows = split.get("rows")
    if rows is None or (raw and "fractions" in split):
        n_rows = len(frame) // entry.series
        train, _, test = split["fractions"]
        n_train, n_test = int(n_rows * train), int(n_rows * test)
        rows = [n_train, n_rows - n_train - n_test, n_test]
    return dict(zip(("n_train", "n_validation", "n_test"), rows, strict=True))


def _copied(names: Any) -> Any:
    return list(names) if isinstance(names, (list, tuple)) else names
