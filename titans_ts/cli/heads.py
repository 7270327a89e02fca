"""``titans-ts heads``: the heads that installed packages bring, and what is wrong with one."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from titans_ts.cli.terminal import Terminal
from titans_ts.heads.registry import FoundHead, survey

__all__ = ["run"]


def run(*, taken: set[str], quiet: bool) -> None:
    """Show a table of heads, and below it a sentence for each that is broken.

    Parameters
    ----------
    taken : set of str
        Commands of ``titans-ts`` itself.
    quiet : bool
        Show the names of those that work, and nothing else.
    """
    heads = survey()
    terminal = Terminal()
    if quiet:
        for head in heads:
            if head.plugin is not None:
                terminal.print(head.name)
        return
    table = Table("Head", "Package", "Estimators", "What for", "State", box=box.SIMPLE_HEAD)
    for head in heads:
        table.add_row(*_row(head, taken))
    terminal.print(table)
    for head in heads:
        if head.problem is not None:
            terminal.print(Text(head.problem, style="red"))


def _row(head: FoundHead, taken: set[str]) -> tuple[str, str, str, str, str]:
    package = f"{head.package} {head.version}"
    if head.plugin is None:
        return head.name, package, "", "", "broken: see below"
    state = "ok"
    if head.plugin.command is not None and head.name in taken:
        state = f"ok; titans-ts {head.name} is a command of its own"
    return head.name, package, "\n".join(head.plugin.estimators), head.plugin.summary, state
