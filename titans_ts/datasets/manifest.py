"""The catalogue: what is known of each data set before a byte of it is read.

``manifest.toml`` and the cards are text beside the code: a checkout has them in its top-level
folder ``datasets``, a wheel inside the package as ``titans_ts/datasets/catalogue``.
"""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from titans_ts.errors import ParameterError

__all__ = [
    "CatalogueEntry",
    "DataFile",
    "catalogue",
    "catalogue_folder",
    "find_entry",
    "list_datasets",
]

MANIFEST = "manifest.toml"


@dataclass(frozen=True)
class DataFile:
    """One published file.

    Parameters
    ----------
    name : str
        Its name here: in the cache, and among local copies (plain, or with ``.gz`` after it).
    bytes : int
        Its size as published, uncompressed.
    sha256 : str
        Of the same bytes, in hexadecimal.
    url : str
        Where it is downloaded from.
    also : tuple of str
        Names under which local copies go, too.
    """

    name: str
    bytes: int
    sha256: str
    url: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class CatalogueEntry:
    """What the manifest says of one data set; its head explains each field."""

    name: str
    title: str
    summary: str
    licence: str
    publisher: str
    citation: str
    rows: int
    columns: int
    series: int
    freq: str | None
    verified: bool
    evidence: str
    files: tuple[DataFile, ...]
    split: Mapping[str, Any]
    read: Mapping[str, Any]
    mend: Mapping[str, Any] = field(default_factory=dict)
    roles: Mapping[str, Any] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    sample: bool = False

    @property
    def card(self) -> str:
        """The card of the set, as text in Markdown."""
        return (catalogue_folder() / "cards" / f"{self.name}.md").read_text(encoding="utf-8")

    @property
    def n_bytes(self) -> int:
        """Size of all its files, uncompressed."""
        return sum(file.bytes for file in self.files)


@functools.cache
def catalogue_folder() -> Path:
    """The folder that holds the manifest, the cards and the samples."""
    package = Path(str(files("titans_ts")))
    places = (package / "datasets" / "catalogue", package.parent / "datasets")
    for place in places:
        if (place / MANIFEST).is_file():
            return place
    raise FileNotFoundError(
        f"The catalogue of data sets is missing: no {MANIFEST} in {places[0]} or {places[1]}. "
        "Install titans-ts again."
    )


@functools.cache
def catalogue() -> Mapping[str, CatalogueEntry]:
    """Every entry of the catalogue by name, in the order of the manifest."""
    with open(catalogue_folder() / MANIFEST, "rb") as manifest:
        return {name: _entry(name, table) for name, table in tomllib.load(manifest).items()}


def _entry(name: str, table: dict[str, Any]) -> CatalogueEntry:
    data_files = tuple(
        DataFile(**(facts | {"also": tuple(facts.get("also", ()))})) for facts in table.pop("files")
    )
    aliases = tuple(table.pop("aliases", ()))
    # TOML has no word for nothing.
    freq = table.pop("freq", None)
    return CatalogueEntry(name=name, files=data_files, aliases=aliases, freq=freq, **table)


def list_datasets() -> list[str]:
    """Names of all data sets in the catalogue.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from titans_ts.datasets import list_datasets
    >>> list_datasets()[:4]
    ['etth1', 'etth2', 'ettm1', 'ettm2']
    """
    return list(catalogue())


def find_entry(name: str) -> CatalogueEntry:
    """The entry of this name; case, ``-`` for ``_`` and the set's aliases do not matter.

    Raises
    ------
    ParameterError
        There is none.
    """
    known = catalogue()
    if not isinstance(name, str):
        raise ParameterError(
            f"name must be the name of a data set such as 'ettm1', got {name!r}. "
            "titans_ts.datasets.list_datasets() gives all of them."
        )
    wanted = name.strip().lower().replace("-", "_")
    names = {word: entry for entry in known.values() for word in (*entry.aliases, entry.name)}
    if wanted in names:
        return names[wanted]
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
    guess = f" Did you mean {names[near[0]].name!r}?" if near else ""
    raise ParameterError(
        f"name must be the name of a data set, got {name!r}.{guess} There are {', '.join(known)}."
    )
