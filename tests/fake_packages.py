"""Packages that are installed for one test: a module, and the folder that pip writes beside it."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from titans_ts.heads import registry

_numbers = itertools.count()


class FakePackages:
    """Installs packages into a folder on Python's path.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def module(self, text: str, *, suffix: str = "") -> str:
        """Write a module under a name that was never imported."""
        name = f"fake_head_{next(_numbers)}{suffix}"
        (self.folder / f"{name}.py").write_text(text)
        self.modules.append(name)
        return name

    def install(
        self, package: str, entry_points: str, version: str = "1.2", encoding: str = "utf-8"
    ) -> None:
        """Write what pip writes of a package; ``entry_points`` is the text of its file."""
        info = self.folder / f"{package.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        )
        (info / "entry_points.txt").write_text(entry_points, encoding=encoding)

    def head(self, name: str, text: str, package: str = "fake-package", **options) -> str:
        """Install a package with a head whose module is ``text``; return the module's name."""
        module = self.module(text)
        self.install(package, f"[{registry.GROUP}]\n{name} = {module}:plugin\n", **options)
        return module

    def uninstall(self) -> None:
        for name in self.modules:
            sys.modules.pop(name, None)


PLUGIN = """
from titans_ts.heads import HeadPlugin

plugin = HeadPlugin(
    name="echo", summary="Say it again.", estimators={{"Echo": "{place}"}}, command={command!r}
)
"""


def plugin_text(place: str = "collections:Counter", command: str | None = None) -> str:
    return PLUGIN.format(place=place, command=command)
