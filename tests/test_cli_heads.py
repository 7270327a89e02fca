"""``titans-ts heads``, and the commands that heads bring."""

import sys

from command_line import run, succeed, words
from fake_packages import plugin_text

COMMAND = """
import typer

app = typer.Typer(help="Speak.", no_args_is_help=True)


@app.command()
def say(word: str, fail: bool = False) -> None:
    \"\"\"Say a word.\"\"\"
    if fail:
        raise ValueError("it is unspeakable")
    typer.echo(word)


@app.command()
def shout(word: str) -> None:
    \"\"\"Shout a word.\"\"\"
"""


def install_echo(fake_packages):
    """A head with a command; returns the command's module."""
    module = fake_packages.module(COMMAND)
    fake_packages.head("echo", plugin_text(command=f"{module}:app"))
    return module


def test_heads_lists_ours_with_package_estimators_and_state():
    (line,) = (line for line in succeed("heads").splitlines() if " forecast " in line)
    assert "titans-ts" in line
    assert "TitansForecaster" in line
    assert line.rstrip().endswith("ok")


def test_heads_lists_a_stranger_s(fake_packages):
    fake_packages.head("echo", plugin_text(), version="3.4")
    (line,) = (line for line in succeed("heads").splitlines() if " echo " in line)
    assert line.split() == ["echo", "fake-package", "3.4", "Echo", "Say", "it", "again.", "ok"]


def test_heads_says_what_is_wrong_with_a_broken_one_and_lists_the_rest(fake_packages):
    fake_packages.head("echo", "import nowhere_to_be_found")
    shown = words(succeed("heads"))
    assert "echo fake-package 1.2 broken: see below" in shown
    assert "is broken: ModuleNotFoundError: No module named 'nowhere_to_be_found'" in shown
    assert "TitansForecaster" in shown


def test_a_package_whose_files_are_no_utf_8_breaks_neither_the_list_nor_help(fake_packages):
    lines = "[titans_ts.heads]\nköpfe = a:b\n"
    fake_packages.install("mangled", lines, encoding="latin-1")
    assert "The heads of package mangled 1.2 cannot be read" in words(succeed("heads"))
    assert "forecast" in words(succeed("--help"))


def test_heads_quietly_names_those_that_work(fake_packages):
    fake_packages.head("echo", plugin_text())
    fake_packages.head("other", "1 / 0", package="broken")
    names = succeed("heads", "--quiet").split()
    assert {"echo", "forecast"} <= set(names)
    assert "other" not in names


def test_heads_says_when_a_command_is_hidden_by_one_of_ours(fake_packages):
    module = fake_packages.module(COMMAND)
    text = plugin_text(command=f"{module}:app").replace('"echo"', '"demo"')
    fake_packages.head("demo", text)
    assert "ok; titans-ts demo is a command of its own" in words(succeed("heads"))
    assert "transformer station" in words(succeed("demo", "--help"))


def test_help_lists_the_command_of_a_head_without_importing_it(fake_packages):
    module = install_echo(fake_packages)
    assert "echo Say it again." in words(succeed("--help"))
    assert module not in sys.modules


def test_help_of_a_head_s_command_is_its_own(fake_packages):
    install_echo(fake_packages)
    shown = words(succeed("echo", "--help"))
    assert "say Say a word." in shown
    assert "shout Shout a word." in shown
    assert "--install-completion" not in shown


def test_a_head_s_command_runs(fake_packages):
    install_echo(fake_packages)
    assert succeed("echo", "say", "hello") == "hello\n"


def test_errors_of_a_head_s_command_are_told_as_ours_are(fake_packages):
    install_echo(fake_packages)
    result = run("echo", "say", "hello", "--fail")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ValueError: it is unspeakable (set TITANS_TS_TRACEBACK")


def test_bad_usage_of_a_head_s_command_is_bad_usage(fake_packages):
    install_echo(fake_packages)
    result = run("echo", "say", "hello", "--loud")
    assert result.exit_code == 2
    assert "No such option: --loud" in result.stderr


def test_a_head_s_command_that_cannot_be_imported_gets_a_sentence(fake_packages):
    fake_packages.head("echo", plugin_text(command="nowhere_to_be_found:app"))
    assert "echo Say it again." in words(succeed("--help"))
    result = run("echo", "say", "hello")
    assert result.exit_code == 2
    assert "The command of head 'echo' cannot be imported" in result.stderr


def test_a_head_s_command_that_is_no_typer_app_gets_a_sentence(fake_packages):
    fake_packages.head("echo", plugin_text(command="math:pi"))
    result = run("echo", "say", "hello")
    assert result.exit_code == 1
    assert "is a float (math:pi), expected a typer.Typer" in result.stderr


def test_an_unknown_command_is_refused_as_before():
    result = run("forcast")
    assert result.exit_code == 2
    assert "No such command 'forcast'" in result.stderr


def test_the_command_of_a_broken_head_says_what_is_wrong_with_it(fake_packages):
    fake_packages.head("echo", "import nowhere_to_be_found")
    result = run("echo", "say", "hello")
    assert result.exit_code == 2
    assert "No module named 'nowhere_to_be_found'" in words(result.stderr)


def test_a_head_without_a_command_is_told_from_an_unknown_name(fake_packages):
    fake_packages.head("echo", plugin_text())
    result = run("echo", "say", "hello")
    assert result.exit_code == 2
    assert "The head 'echo' of package fake-package 1.2 has no command" in words(result.stderr)


def test_our_own_commands_ask_no_registry(monkeypatch):
    monkeypatch.setattr("titans_ts.cli.plugins.survey", lambda: 1 / 0)
    succeed("forecast", "--help")
