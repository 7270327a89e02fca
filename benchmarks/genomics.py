"""Classes of DNA: our classifier beside a CNN and a k-mer logistic regression, on published sets.

    python benchmarks/genomics.py --all --seeds 5
    python benchmarks/genomics.py --set gue/mouse/3 --seed 0 [--only titans,cnn,kmers]
    python benchmarks/genomics.py --list        # names of the sets, and how long they are
    python benchmarks/genomics.py --table       # what is done so far, as a table
    python benchmarks/genomics.py --page        # and that table into docs/user_guide/genomics.md

Training rows teach, validation rows choose (epoch, reading, k and C), test rows report, once. GUE
has a published split; the enhancers of Liu et al. a test set, and a tenth of the rest is drawn by
seed to validate; the splice junctions have no split: a fifth is drawn by seed to test, an eighth of
the rest to validate. From these two, rows to learn from that stand in a later part as well are left
out: a quarter of the enhancers' published test set stands in their training set. Parameters of ours
are the defaults, the same on every set. What is done is kept in ``--results``, a line a run, and
skipped when the command is started again, in any order and number; ``titans`` is run anew when the
code of the head has changed.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import os
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import accuracy_score, matthews_corrcoef
from sklearn.model_selection import train_test_split

from titans_ts.plugins.genomics import (
    TitansSequenceClassifier,
    encode_sequences,
    read_fasta,
    reverse_complement,
)
from titans_ts.plugins.genomics.coding import SHARES

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "user_guide" / "genomics.md"

# Small sets first: who stops early has seen most of them.
GUE = (
    *("mouse/3", "mouse/2", "prom/prom_core_tata", "prom/prom_300_tata", "mouse/0", "mouse/4"),
    *("tf/2", "tf/4", "tf/3", "tf/1", "tf/0", "prom/prom_core_notata", "prom/prom_core_all"),
)
SETS = ("splice", "enhancers", *(f"gue/{name}" for name in GUE))
MODELS = ("titans", "cnn", "kmers")
MEASURES = ("mcc", "accuracy")

# MCC of the test rows of GUE, as Zhou et al. give it (DNABERT-2, arXiv:2306.15006, Table 6), of a
# network of 117 million weights, taught 135 genomes before: as it is, and taught on with what GUE's
# training rows look like. No other set here has published figures of the same split.
PUBLISHED = {
    "gue/mouse/0": (56.76, 64.23),
    "gue/mouse/2": (79.32, 81.28),
    "gue/mouse/3": (66.47, 73.49),
    "gue/mouse/4": (52.66, 50.80),
    "gue/prom/prom_core_all": (69.37, 67.50),
    "gue/prom/prom_core_notata": (68.04, 69.53),
    "gue/prom/prom_core_tata": (74.17, 76.18),
    "gue/prom/prom_300_tata": (71.59, 68.79),
    "gue/tf/0": (71.99, 69.12),
    "gue/tf/1": (76.06, 71.87),
    "gue/tf/2": (66.52, 62.96),
    "gue/tf/3": (58.54, 55.35),
    "gue/tf/4": (77.43, 74.94),
}

# Versions of the baselines, to be raised when one is changed.
BASELINES = {"cnn": "1", "kmers": "2"}

# Files of the head on which no result depends.
OTHER_CODE = (
    "__init__",
    "cli",
    "fasta",
    "pretraining",
    "sequence_model",
    "tables",
    "variants",
    "words",
)


class Part(NamedTuple):
    sequences: list[str]
    labels: np.ndarray


class Task(NamedTuple):
    train: Part
    validation: Part
    test: Part


# -- data -----------------------------------------------------------------------------------------


def load_task(name: str, seed: int, folder: Path) -> Task:
    """A set with its split; where none is published, one drawn by the seed."""
    if name == "splice":
        return _apart(_drawn(_splice(folder), None, seed))
    if name == "enhancers":
        return _apart(_drawn(_enhancers(folder, "cv"), _enhancers(folder, "ind"), seed))
    files = ("train", "dev", "test")
    return Task(*(_table(folder / name / f"{part}.csv.gz") for part in files))


def _table(file: Path) -> Part:
    with gzip.open(file, "rt", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return Part([row["sequence"] for row in rows], np.array([int(row["label"]) for row in rows]))


def _splice(folder: Path) -> Part:
    with gzip.open(folder / "uci" / "splice.data.gz", "rt") as stream:
        rows = [[cell.strip() for cell in line.split(",")] for line in stream if line.strip()]
    return Part([row[2] for row in rows], np.array([row[0] for row in rows]))


def _enhancers(folder: Path, part: str) -> Part:
    sequences, labels = [], []
    for label in ("enhancer", "non_enhancer"):
        for record in read_fasta(folder / "enhancer_liu2016" / f"{label}_{part}.fa.gz"):
            sequences.append(record.sequence)
            labels.append(label)
    return Part(sequences, np.array(labels))


def _drawn(whole: Part, test: Part | None, seed: int) -> Task:
    rows = np.arange(len(whole.labels))
    if test is None:
        rows, held = train_test_split(rows, test_size=0.2, stratify=whole.labels, random_state=seed)
        test = _take(whole, held)
    share = 0.1 if len(test.labels) < 500 else 0.125
    rows, judged = train_test_split(
        rows, test_size=share, stratify=whole.labels[rows], random_state=seed
    )
    return Task(_take(whole, rows), _take(whole, judged), test)


def _apart(task: Task) -> Task:
    """A task without the rows that a later part of it has as well."""
    tested = set(task.test.sequences)
    validation = _without(task.validation, tested)
    return Task(_without(task.train, tested | set(validation.sequences)), validation, task.test)


def _without(part: Part, known: set[str]) -> Part:
    return _take(part, np.flatnonzero([sequence not in known for sequence in part.sequences]))


def _take(part: Part, rows: np.ndarray) -> Part:
    return Part([part.sequences[i] for i in rows], part.labels[rows])


# -- contenders -----------------------------------------------------------------------------------


def run_titans(task: Task, seed: int) -> dict[str, Any]:
    """Ours by its defaults; and, of the same fit, the mean over both strands and one direction."""
    classifier = TitansSequenceClassifier(random_state=seed)
    classifier.fit(*task.train, validation=task.validation)
    chosen = classifier.reverse_complement_
    out: dict[str, Any] = {"averages": chosen, "epochs": len(classifier.history_)}
    for name, symmetric in (("strands averaged", True), ("one direction", False)):
        classifier.reverse_complement_ = symmetric
        scores = {
            part: _scores(getattr(task, part).labels, classifier.predict(getattr(task, part)[0]))
            for part in ("validation", "test")
        }
        out[name] = scores
        if symmetric == chosen:
            out |= scores
    return out


def run_cnn(task: Task, seed: int) -> dict[str, Any]:
    """Two convolutions, pooling and a hidden layer, stopped by its validation loss."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    classes, _ = np.unique(task.train.labels, return_inverse=True)
    longest = max(len(s) for part in task for s in part.sequences)
    inputs = []
    for part in task:
        coded = encode_sequences(part.sequences)
        codes = coded.padded(np.arange(len(coded)))
        codes = np.pad(codes, ((0, 0), (0, longest - codes.shape[1])))
        inputs.append(torch.from_numpy(codes).long())
    labels = [torch.from_numpy(np.searchsorted(classes, part.labels)) for part in task]
    shares = torch.from_numpy(SHARES)
    pooled = longest // 4 // 2
    net = nn.Sequential(
        *(nn.Conv1d(4, 128, 11, padding=5), nn.BatchNorm1d(128), nn.ReLU(), nn.MaxPool1d(4)),
        *(nn.Dropout(0.2), nn.Conv1d(128, 64, 5, padding=2), nn.BatchNorm1d(64), nn.ReLU()),
        *(nn.MaxPool1d(2), nn.Flatten(), nn.Dropout(0.4), nn.Linear(64 * pooled, 64), nn.ReLU()),
        *(nn.Dropout(0.4), nn.Linear(64, len(classes))),
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)

    def logits(part: int) -> torch.Tensor:
        net.eval()
        with torch.no_grad():
            pieces = [net(shares[codes].transpose(1, 2)) for codes in inputs[part].split(512)]
        net.train()
        return torch.cat(pieces)

    best, best_loss, waited, epochs = None, float("inf"), 0, 0
    while waited < 5 and epochs < 30:
        for rows in np.array_split(rng.permutation(len(labels[0])), -(-len(labels[0]) // 128)):
            loss = F.cross_entropy(net(shares[inputs[0][rows]].transpose(1, 2)), labels[0][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        epochs += 1
        judged = float(F.cross_entropy(logits(1), labels[1]))
        waited += 1
        if judged < best_loss:
            best_loss, waited = judged, 0
            best = {name: value.clone() for name, value in net.state_dict().items()}
    assert best is not None
    net.load_state_dict(best)
    scores = {
        name: _scores(task[i].labels, classes[logits(i).argmax(1).numpy()])
        for i, name in ((1, "validation"), (2, "test"))
    }
    return {"epochs": epochs, **scores}


def run_kmers(task: Task, seed: int) -> dict[str, Any]:
    """Logistic regression on counts of words; validation chooses length, strands and penalty."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import MaxAbsScaler

    best: tuple[float, Any] = (-2.0, None)
    strands = [(p.sequences, list(map(reverse_complement, p.sequences))) for p in task]
    for k, both in product((4, 5, 6, 7, 8), (False, True)):
        counter = CountVectorizer(analyzer="char", ngram_range=(1, k), lowercase=False)
        parts = strands if both else [(written,) for written, _ in strands]
        counter.fit([sequence for strand in parts[0] for sequence in strand])
        counts = [sum(counter.transform(strand) for strand in part).astype(float) for part in parts]
        scaler = MaxAbsScaler().fit(counts[0])
        train, judged, tested = map(scaler.transform, counts)
        for penalty in (0.001, 0.01, 0.1, 1.0, 10.0):
            model = LogisticRegression(C=penalty, max_iter=1000).fit(train, task.train.labels)
            scores = _scores(task.validation.labels, model.predict(judged))
            if scores["mcc"] > best[0]:
                test = _scores(task.test.labels, model.predict(tested))
                chosen = {"k": k, "both": both, "C": penalty, "validation": scores, "test": test}
                best = (scores["mcc"], chosen)
    out: dict[str, Any] = best[1]
    return out


def _scores(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "mcc": float(matthews_corrcoef(labels, predicted)),
    }


RUNNERS: dict[str, Callable[[Task, int], dict[str, Any]]] = {
    "titans": run_titans,
    "cnn": run_cnn,
    "kmers": run_kmers,
}


# -- what is done ---------------------------------------------------------------------------------


def code_of(model: str) -> str:
    """What a result depends on: for ours, the code of the head."""
    if model in BASELINES:
        return BASELINES[model]
    digest = hashlib.sha256()
    for path in sorted((ROOT / "titans_ts" / "plugins" / "genomics").glob("*.py")):
        if path.stem not in OTHER_CODE:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def read_results(file: Path) -> list[dict[str, Any]]:
    """The lines of a results file; one that was cut short by a crash is left out."""
    rows = []
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
    return rows


def key_of(name: str, seed: int, model: str) -> list[Any]:
    # The split of GUE is fixed, and the regression draws nothing: one run is all.
    drawn = model != "kmers" or not name.startswith("gue/")
    return [name, seed if drawn else 0, model, code_of(model)]


def render(rows: list[dict[str, Any]], *, any_code: bool) -> str:
    """A table of means over seeds: MCC and accuracy in points, best of the measured in bold."""
    lines = [
        "| set | rows | seeds | ours: MCC | accuracy | CNN: MCC | accuracy | k-mers: MCC "
        "| accuracy | published: MCC of DNABERT-2 | taught GUE's rows too "
        "| accuracy over one direction: strands averaged | as validation chose |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in SETS:
        found: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            same = row["key"][0] == name
            if same and (any_code or row["key"][3] == code_of(row["key"][2])):
                found.setdefault(row["key"][2], []).append(row)
        if not found:
            continue
        means = {
            (model, measure): mean(r["test"][measure] for r in runs)
            for model, runs in found.items()
            for measure in MEASURES
        }
        most = {m: max(means[model, m] for model in found) for m in MEASURES}
        cells = []
        for model in MODELS:
            for measure in MEASURES:
                values = [100 * r["test"][measure] for r in found.get(model, [])]
                text = f"{mean(values):.1f}" if values else "-"
                text += f" ± {stdev(values):.1f}" if len(values) > 1 else ""
                best = values and means[model, measure] == most[measure]
                cells.append(f"**{text}**" if best else text)
        ours = found.get("titans", [])
        one = [r["one direction"]["test"]["accuracy"] for r in ours]
        both = [r["strands averaged"]["test"]["accuracy"] for r in ours]
        chosen = [r["test"]["accuracy"] for r in ours]
        gaps = [
            f"{100 * (mean(some) - mean(one)):+.1f}" if ours else "-" for some in (both, chosen)
        ]
        kept = sum(r["averages"] for r in ours)
        published = [f"{mcc:.1f}" for mcc in PUBLISHED[name]] if name in PUBLISHED else ["-", "-"]
        n = next(iter(found.values()))[0]["n_train"]
        # Of ours, and of the CNN where they are others.
        seeds = list(dict.fromkeys(len(found.get(model, [])) for model in ("titans", "cnn")))
        lines.append(
            f"| {name} | {n} | {' and '.join(map(str, seeds))} | {' | '.join(cells)} "
            f"| {published[0]} | {published[1]} "
            f"| {gaps[0]} | {gaps[1]} ({kept} of {len(ours)} averaged) |"
        )
    return "\n".join(lines)


def data_folder(given: Path | None) -> Path:
    shared = Path(os.environ.get("TITANS_TS_SHARED_DATA", ROOT.parent / "shared" / "data"))
    folder = given or shared / "genomics"
    if not folder.is_dir():
        raise SystemExit(f"No folder {folder}. Give --data, the one with gue/ and uci/ in it.")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", action="append", choices=SETS, default=[])
    parser.add_argument("--all", action="store_true", help="all sets, small ones first")
    parser.add_argument("--seed", type=int, action="append", default=[])
    parser.add_argument("--seeds", type=int, default=1, help="seeds from 0, without --seed")
    parser.add_argument("--only", default=",".join(MODELS), help="contenders, with commas between")
    parser.add_argument("--data", type=Path, help="folder with gue/, uci/ and enhancer_liu2016/")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/genomics.jsonl")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--page", action="store_true", help="the table into the guide")
    parser.add_argument("--any-code", action="store_true", help="tabulate runs of older code too")
    arguments = parser.parse_args()
    if arguments.list:
        for name in SETS:
            task = load_task(name, 0, data_folder(arguments.data))
            print(f"{name}: {', '.join(f'{p} {len(q.labels)}' for p, q in task._asdict().items())}")
        return
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    names = SETS if arguments.all else arguments.set
    seeds = arguments.seed or range(arguments.seeds)
    if not (arguments.table or arguments.page):
        if not names:
            parser.error("give --all, or --set with a name of --list")
        for seed in seeds:
            for name in names:
                for model in arguments.only.split(","):
                    run_one(name, seed, model, arguments)
    rows = read_results(arguments.results)
    table = render(rows, any_code=arguments.any_code)
    print(table)
    if arguments.page:
        if not rows:
            raise SystemExit(f"{arguments.results} holds no run that is done; {PAGE} stays.")
        PAGE.write_text(_with_table(PAGE.read_text(encoding="utf-8"), table), encoding="utf-8")


def _with_table(page: str, table: str) -> str:
    """The page with a table in the place of that which starts alike."""
    head = table.splitlines()[0]
    before, _, behind = page.partition(head)
    lines = behind.splitlines(keepends=True)
    rest = next(i for i, line in enumerate(lines) if i and not line.startswith("|"))
    return before + table + "\n" + "".join(lines[rest:])


def run_one(name: str, seed: int, model: str, arguments: argparse.Namespace) -> None:
    """Run one contender, unless that is done, and write it down."""
    key = key_of(name, seed, model)
    if any(row["key"] == key for row in read_results(arguments.results)):
        return
    task = load_task(name, key[1], data_folder(arguments.data))
    start = time.process_time()
    result = RUNNERS[model](task, key[1])
    seconds = time.process_time() - start
    row = {"key": key, "n_train": len(task.train.labels), "cpu_seconds": seconds, **result}
    with arguments.results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    test = row["test"]
    print(
        f"{name} seed {key[1]} {model}: MCC {100 * test['mcc']:.1f}, accuracy "
        f"{100 * test['accuracy']:.1f}, {seconds:.0f} s of CPU",
        flush=True,
    )


if __name__ == "__main__":
    main()
