"""Modules that own weights. State comes in and goes out; nothing is hidden on a module."""
