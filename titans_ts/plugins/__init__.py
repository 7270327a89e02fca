"""Plug-in heads of our own: each folder is a whole one, found by its entry point.

Nothing here is imported by the rest of the package, so a folder can be deleted with its tests and
its line in ``pyproject.toml``.
"""
