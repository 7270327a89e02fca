"""The command line ``titans-ts``: forecast a CSV file, compare forecasters, or see a demo."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run ``titans-ts``; the process ends with its exit code."""
    try:
        from titans_ts.cli.app import app

        app()
    except KeyboardInterrupt:  # while libraries are loaded; later ones are met in the commands
        sys.exit(130)
