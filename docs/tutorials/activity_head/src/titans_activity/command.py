"""``titans-ts activity ...``"""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(help="Tell what somebody is doing from windows of sensors.", no_args_is_help=True)


@app.callback()
def activity() -> None:
    """Tell what somebody is doing from windows of sensors."""


@app.command()
def demo(
    windows: Annotated[int, typer.Option(help="Windows to learn from.")] = 240,
    seed: Annotated[int, typer.Option(help="What chance begins from.")] = 0,
) -> None:
    """Learn from made-up recordings, and say how many others are recognised."""
    from titans_activity.classifier import TitansActivityClassifier
    from titans_activity.recordings import make_recordings

    classifier = TitansActivityClassifier(random_state=seed)
    classifier.fit(*make_recordings(windows, random_state=seed))
    share = classifier.score(*make_recordings(200, random_state=seed + 1))
    typer.echo(f"{share:.0%} of 200 new windows are recognised; by chance it would be 25%.")
