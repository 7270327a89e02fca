"""Commands of plug-in heads under ``titans-ts``, imported when they are asked for.

Help lists them by their summaries, which the registry knows; only ``titans-ts NAME ...`` imports
what stands behind one.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from titans_ts.cli.terminal import in_plain_words
from titans_ts.heads.registry import HeadPlugin, import_place, survey

__all__ = ["PluginGroup", "plugin_commands"]

PANEL = "Heads"


class PluginGroup(TyperGroup):
    """The commands of ``titans-ts``, and behind them those that heads bring.

    A head cannot take the name of a command of ours.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        own = super().list_commands(ctx)
        return [*own, *(name for name in plugin_commands() if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        plugin = plugin_commands().get(cmd_name)
        if plugin is None:
            _tell_what_is_wrong(ctx, cmd_name)
            return None
        return _line_of_help(plugin)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and name not in self.commands:
            command = _load(plugin_commands()[name])
        return name, command, rest


def plugin_commands() -> dict[str, HeadPlugin]:
    """Heads that bring a command, by name; broken ones are left to ``titans-ts heads``."""
    plugins = [head.plugin for head in survey() if head.plugin is not None]
    return {plugin.name: plugin for plugin in plugins if plugin.command is not None}


def _tell_what_is_wrong(ctx: Any, name: str) -> None:
    """End with a sentence where a head is called so and has no command that works."""
    for head in survey():
        if head.name == name:
            ctx.fail(
                head.problem
                or f"The head {name!r} of package {head.package} {head.version} has no command; "
                "`titans-ts heads` lists its estimators."
            )


def _line_of_help(plugin: HeadPlugin) -> Any:
    stand_in = typer.Typer(add_completion=False)
    stand_in.command(plugin.name, help=plugin.summary, rich_help_panel=PANEL)(lambda: None)
    return typer.main.get_command(stand_in)


@in_plain_words
def _load(plugin: HeadPlugin) -> Any:
    what = f"The command of head {plugin.name!r}"
    app = import_place(str(plugin.command), what)
    if not isinstance(app, typer.Typer):
        raise TypeError(
            f"{what} is a {type(app).__name__} ({plugin.command}), expected a typer.Typer"
        )
    app.info.name = plugin.name
    # Completion is for the whole command line, which has it.
    app._add_completion = False
    command = typer.main.get_command(app)
    command.name = plugin.name
    # Its errors are told in the same way as ours, whether its authors thought of it or not.
    command.invoke = in_plain_words(command.invoke)  # type: ignore[method-assign]
    return command
