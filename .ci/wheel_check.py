"""Build a wheel, install it into an empty environment, and use it from an unrelated, empty folder.

Catches what tests in a checkout cannot: a module or a data file that the wheel lacks, a dependency
that is not declared, an import that is slow or heavy, a file left behind where a user works.
"""

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

IMPORT = """
import sys, time
start = time.perf_counter()
import titans_ts
seconds = time.perf_counter() - start
heavy = {"torch", "lightning", "pandas", "optuna", "matplotlib"} & set(sys.modules)
assert not heavy, f"import titans_ts loads {sorted(heavy)}"
assert ROOT not in titans_ts.__file__, f"the checkout was imported: {titans_ts.__file__}"
print(seconds)
"""

USE = """
import numpy as np
from titans_ts import SeasonalNaiveForecaster, TitansForecaster
from titans_ts.datasets import make_transformer_station

frame = make_transformer_station(600, freq="1h", random_state=0)
train, test = frame[:-24], frame[-24:]
for forecaster in (
    SeasonalNaiveForecaster(horizon=24),
    TitansForecaster(horizon=24, context_length=96, dim=16, depth=1, max_epochs=1, random_state=0),
):
    forecast = forecaster.fit(train).predict()
    assert forecast.index.equals(test.index), forecast.index
    assert list(forecast.columns) == list(frame.columns), forecast.columns
    assert np.isfinite(forecast.to_numpy()).all()
"""


CATALOGUE = """
from titans_ts.datasets import list_datasets, load, load_bike_sharing
from titans_ts.datasets.manifest import catalogue, find_entry

assert len(list_datasets()) >= 29, list_datasets()
for name in list_datasets():
    entry = find_entry(name)
    assert entry.card.startswith("# " + entry.title), name
samples = [entry for entry in catalogue().values() if entry.sample]
assert samples
for entry in samples:
    assert "site-packages" in load(entry.name).filename
assert load_bike_sharing().frame.shape == (17544, 11)
"""


def run(*command: str | Path, cwd: Path, silent: bool = True) -> str:
    """Run a command in ``cwd``, outside the checkout; with ``silent``, stderr must stay empty."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=inherited | {"COLUMNS": "100"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    shown = " ".join(str(part).strip().splitlines()[0] for part in command)
    if result.returncode:
        sys.exit(f"failed: {shown}\n{result.stdout}{result.stderr}")
    if silent and result.stderr:
        sys.exit(f"not silent: {shown}\n{result.stderr}")
    return result.stdout


def build_wheel(folder: Path) -> Path:
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        folder,
        ROOT,
        cwd=folder,
        silent=False,
    )
    (wheel,) = folder.glob("titans_ts-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "titans_ts/py.typed",
        "titans_ts/datasets/catalogue/README.md",
        "titans_ts/datasets/catalogue/manifest.toml",
        "titans_ts/datasets/catalogue/cards/ettm1.md",
        "titans_ts/datasets/catalogue/samples/national_illness.csv.gz",
        ".dist-info/licenses/LICENSE",
    ):
        if not any(name.endswith(needed) for name in names):
            sys.exit(f"the wheel lacks {needed}; it has:\n" + "\n".join(sorted(names)))
    strays = [name for name in names if not name.startswith(("titans_ts/", "titans_ts-"))]
    if strays:
        sys.exit(f"the wheel would install files outside the package: {strays}")
    return wheel


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="titans-ts-wheel-") as name:
        folder = Path(name)
        wheel = build_wheel(folder)
        print(f"built {wheel.name}, {wheel.stat().st_size // 1000} kB")

        environment, work = folder / "environment", folder / "work"
        venv.create(environment, with_pip=True)
        work.mkdir()
        scripts = environment / ("Scripts" if os.name == "nt" else "bin")
        python = scripts / "python"
        run(
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-compile",  # most of these libraries' modules are never imported
            "-c",
            ROOT / "constraints.txt",
            wheel,
            cwd=work,
            silent=False,
        )
        print("installed it into an empty environment")

        code = IMPORT.replace("ROOT", repr(str(ROOT)))
        # The best of three: a busy machine may delay one, a slow import delays all.
        seconds = min(float(run(python, "-c", code, cwd=work)) for _ in range(3))
        if seconds >= 0.5:
            sys.exit(f"import titans_ts takes {seconds:.2f} s, expected less than 0.5 s")
        print(f"import titans_ts: {seconds * 1000:.0f} ms, no heavy library loaded")

        printed = run(python, "-c", USE, cwd=work)
        if printed:
            sys.exit(f"fit and predict printed:\n{printed}")
        print("fit and predict on the built-in data set: right index and columns, nothing printed")

        printed = run(python, "-c", CATALOGUE, cwd=work)
        if printed:
            sys.exit(f"the catalogue printed:\n{printed}")
        print("the catalogue of data sets is whole, and what comes with the package loads")

        help_text = run(scripts / "titans-ts", "--help", cwd=work)
        for command in ("forecast", "evaluate", "demo", "datasets", "heads"):
            if command not in help_text:
                sys.exit(f"titans-ts --help does not list {command}:\n{help_text}")
        print("titans-ts --help lists its commands")

        heads = run(scripts / "titans-ts", "heads", "--quiet", cwd=work).split()
        if "forecast" not in heads:
            sys.exit(f"titans-ts heads does not list forecast: {heads}")
        print(f"titans-ts heads finds {', '.join(heads)}")

        left = sorted(path.name for path in work.iterdir())
        if left:
            sys.exit(f"left in the folder of the user: {left}")
        print("wrote nothing into the folder; wheel check passed")


if __name__ == "__main__":
    main()
