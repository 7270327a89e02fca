"""Heads by entry points: what is found, what is refused, and that a broken one harms no other."""

import errno
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from fake_packages import plugin_text

import titans_ts
from titans_ts import HeadPluginError, HeadPluginWarning, ParameterError
from titans_ts.heads import HeadPlugin, find_heads, get_estimator, get_head
from titans_ts.heads.registry import GROUP, find_estimator, find_estimator_name


def found(name):
    """The heads of this name, without what others may warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeadPluginWarning)
        return [head for head in find_heads() if head.name == name]


def test_our_own_forecaster_is_found_as_a_stranger_s_head_is():
    (head,) = found("forecast")
    assert head.package == "titans-ts"
    assert head.version == titans_ts.__version__
    assert get_estimator("forecast", "TitansForecaster") is titans_ts.TitansForecaster


def test_every_estimator_of_our_own_heads_can_be_imported():
    ours = [head for head in find_heads() if head.package == "titans-ts"]
    assert ours
    for head in ours:
        assert head.problem is None
        for name in head.plugin.estimators:
            assert get_estimator(head.name, name).__name__ == name


def test_a_stranger_s_head_is_found_with_its_package(fake_packages):
    fake_packages.head("echo", plugin_text(), version="3.4")
    (head,) = found("echo")
    assert (head.package, head.version, head.problem) == ("fake-package", "3.4", None)
    assert head.plugin.summary == "Say it again."
    assert get_head("echo") is head.plugin


def test_an_estimator_s_module_is_imported_on_use(fake_packages):
    model = fake_packages.module("class Echo: pass")
    fake_packages.head("echo", plugin_text(f"{model}:Echo"))
    assert found("echo")
    assert model not in sys.modules
    assert get_estimator("echo", "Echo").__module__ == model


def test_finding_heads_loads_neither_torch_nor_pandas(tmp_path):
    code = (
        "import sys; from titans_ts.heads import find_heads; assert find_heads();"
        " sys.exit(' '.join({'torch', 'pandas', 'sklearn', 'numpy'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert (result.returncode, result.stderr) == (0, b"")


# -- broken ones ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("class Panic(BaseException): pass\nraise Panic('boom')", "Panic: boom"),
        ("class Mute(Exception):\n    __str__ = None\nraise Mute", "Mute"),
        ("other = 1", "AttributeError: .*has no attribute 'plugin'"),
        ("plugin = 'echo'", "is a str, expected a titans_ts.heads.HeadPlugin"),
        (
            plugin_text().replace('"echo"', '"ohce"'),
            "it calls itself 'ohce', and its entry point 'echo'",
        ),
        (plugin_text("Echo"), "ParameterError: .* must be a place such as"),
        ("def", "SyntaxError"),
    ],
)
def test_a_broken_head_warns_once_and_harms_no_other(fake_packages, text, why):
    fake_packages.head("echo", text)
    named = rf"The head 'echo' of package fake-package 1\.2 is broken: .*{why}.*uninstall"
    with pytest.warns(HeadPluginWarning, match=named):
        heads = find_heads()
    assert [head.name for head in heads if head.problem is None].count("forecast") == 1
    (broken,) = (head for head in heads if head.name == "echo")
    assert broken.plugin is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_heads()
        get_head("forecast")
    with pytest.raises(HeadPluginError, match="is broken"):
        get_head("echo")


def test_two_packages_with_one_name_are_both_left_alone(fake_packages):
    fake_packages.head("echo", plugin_text(), package="first")
    fake_packages.head("echo", plugin_text(), package="second")
    with pytest.warns(HeadPluginWarning, match=r"Two heads are called 'echo'.*first.*second"):
        heads = find_heads()
    assert "forecast" in [head.name for head in heads]
    with pytest.raises(HeadPluginError, match="Uninstall one"):
        get_estimator("echo", "Echo")


def test_nobody_takes_the_name_of_a_head_of_ours(fake_packages):
    fake_packages.head("forecast", plugin_text().replace('"echo"', '"forecast"'))
    assert get_estimator("forecast", "TitansForecaster") is titans_ts.TitansForecaster
    (head,) = found("forecast")
    assert head.package == "titans-ts"


def test_a_plugin_of_ours_whose_folder_was_taken_out_is_not_missed(fake_packages, monkeypatch):
    monkeypatch.setattr("titans_ts.heads.registry.OURS", "fake-package")
    lines = f"[{GROUP}]\ngone = titans_ts.plugins.gone:plugin\nlost = nowhere.at.all:plugin\n"
    fake_packages.install("fake-package", lines)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {"gone", "lost"}.isdisjoint(head.name for head in find_heads())
    with pytest.raises(ParameterError, match="No head is called 'gone'"):
        get_head("gone")


def test_the_version_that_python_would_import_is_the_one_that_counts(fake_packages):
    module = fake_packages.module(plugin_text())
    lines = f"[{GROUP}]\necho = {module}:plugin\n"
    fake_packages.install("fake-package", lines, version="1.2")
    fake_packages.install("Fake_Package", lines, version="1.3")
    assert len(found("echo")) == 1
    assert get_head("echo").name == "echo"


def test_a_malformed_list_of_entry_points_harms_no_other(fake_packages):
    fake_packages.install("mangled", f"[{GROUP}]\nno equals sign\n")
    fake_packages.head("echo", plugin_text())
    with pytest.warns(HeadPluginWarning, match=r"package mangled 1\.2 cannot be read.*malformed"):
        find_heads()
    assert get_head("echo").name == "echo"


def test_a_list_of_entry_points_that_is_no_utf_8_harms_no_other(fake_packages):
    lines = f"# für Köpfe\n[{GROUP}]\necho = echo:plugin\n"
    fake_packages.install("mangled", lines, encoding="latin-1")
    fake_packages.head("echo", plugin_text())
    cannot = r"package mangled 1\.2 cannot be read.*malformed \(UnicodeDecodeError: .*uninstall it"
    with pytest.warns(HeadPluginWarning, match=cannot):
        find_heads()
    assert get_head("echo").name == "echo"


def test_a_package_without_heads_may_have_any_list_of_entry_points(fake_packages):
    fake_packages.install("mangled", "[console_scripts]\nköpfe = a:b\n", encoding="latin-1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_heads()


def test_a_list_of_entry_points_that_the_disk_cannot_give_harms_no_other(
    fake_packages, monkeypatch
):
    fake_packages.head("echo", plugin_text())
    fake_packages.install("mangled", "")
    read_text = Path.read_text

    def unreadable(self, *arguments, **options):
        if self.name == "entry_points.txt" and self.parent.name.startswith("mangled"):
            raise OSError(errno.EIO, "Input/output error")
        return read_text(self, *arguments, **options)

    # Not a method of a distribution: a library that comes with another importlib.metadata, once
    # imported, finds them by a class of its own.
    monkeypatch.setattr(Path, "read_text", unreadable)
    with pytest.warns(HeadPluginWarning, match=r"package mangled 1\.2 cannot be read.*OSError"):
        find_heads()
    assert get_head("echo").name == "echo"


# -- names ------------------------------------------------------------------------------------


def test_an_unknown_head_is_answered_with_the_known_ones():
    with pytest.raises(ParameterError, match=r"'forcast'; installed are.*Did you mean 'forecast'"):
        get_head("forcast")


def test_an_unknown_estimator_is_answered_with_the_known_ones():
    with pytest.raises(
        ParameterError, match=r"no estimator 'Ridge'.*'LinearForecaster', 'RidgeForecaster'"
    ):
        get_estimator("forecast", "Ridge")


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("nowhere_to_be_found:Echo", "cannot be imported from 'nowhere_to_be_found:Echo'"),
        ("collections:nothing", "has no attribute 'nothing'"),
        ("math:pi", "is a float .*expected a class"),
    ],
)
def test_an_estimator_that_cannot_be_had_gets_a_sentence(fake_packages, place, why):
    fake_packages.head("echo", plugin_text(place))
    with pytest.raises(HeadPluginError, match=why):
        get_estimator("echo", "Echo")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Echo"},
        {"name": "../echo"},
        {"summary": ""},
        {"summary": "two\nlines"},
        {"estimators": {}},
        {"estimators": {"no name": "a:B"}},
        {"estimators": {"Echo": "os.system('true')"}},
        {"command": "module"},
    ],
)
def test_what_a_head_says_of_itself_is_checked(change):
    fields = {"name": "echo", "summary": "Say it.", "estimators": {"Echo": "a:Echo"}} | change
    with pytest.raises(ParameterError, match=r"(must|expected)"):
        HeadPlugin(**fields)


def test_an_estimator_of_a_head_is_a_public_name_of_the_package(fake_packages):
    model = fake_packages.module("class Echo: pass")
    fake_packages.head("echo", plugin_text(f"{model}:Echo"))
    assert titans_ts.Echo.__module__ == model
    assert find_estimator_name(titans_ts.Echo) == "echo/Echo"
    assert find_estimator_name(type("Echo", (), {})) == "Echo"  # a namesake


def test_a_name_that_two_heads_have_is_no_public_name(fake_packages):
    fake_packages.head("echo", plugin_text(), package="first")
    fake_packages.head("other", plugin_text().replace('"echo"', '"other"'), package="second")
    both = r"'echo' of package first and 'other' of package second have .* 'Echo' each"
    with pytest.raises(AttributeError, match=both):
        titans_ts.Echo  # noqa: B018
    assert not hasattr(titans_ts, "Echo")


def test_nobody_takes_the_name_of_an_estimator_of_ours(fake_packages):
    theirs = fake_packages.module("class RidgeForecaster: pass")
    text = plugin_text(f"{theirs}:RidgeForecaster").replace('"Echo": ', '"RidgeForecaster": ')
    fake_packages.head("echo", text)
    assert get_estimator("echo", "RidgeForecaster").__module__ == theirs
    assert find_estimator("RidgeForecaster") is titans_ts.RidgeForecaster
