"""``titans-ts genomics``: train a classifier of DNA, apply it, and turn sequences into vectors."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from titans_ts.cli import options as opt
from titans_ts.cli.terminal import Terminal, fit_until_stopped, in_plain_words

if TYPE_CHECKING:
    import pandas as pd

    from titans_ts.plugins.genomics.tables import NamedSequences

__all__ = ["app"]

app = typer.Typer(
    help="Classify DNA sequences, and turn them into vectors.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Strands(StrEnum):
    """Values of ``reverse_complement``, as one types them."""

    auto = "auto"
    yes = "yes"
    no = "no"


SequenceColumn = Annotated[
    str, typer.Option(metavar="COLUMN", help="Of a table: the column with the sequences.")
]
Model = Annotated[Path, typer.Option(metavar="FOLDER", help="The saved model.")]
ModelOut = Annotated[
    Path, typer.Option("--out", "-o", metavar="FOLDER", help="Save the model here.")
]
Source = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="FASTA, FASTQ, or a table with commas or tabs; plain or gzip."
    ),
]
TableOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="CSV",
        help="Write the table here. Default: it is printed.",
        rich_help_panel=opt.OUTPUT,
    ),
]


@app.command()
@in_plain_words
def train(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Tables with a column of labels; or FASTA or FASTQ, a file for each class, as "
            "LABEL=FILE or called after the label.",
        ),
    ],
    out: ModelOut,
    sequence_column: SequenceColumn = "sequence",
    label_column: Annotated[
        str, typer.Option(metavar="COLUMN", help="Of a table: the column with the labels.")
    ] = "label",
    validation: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Judge learning on this file, given as those to learn from are; give it several "
            "times for several. Default: a tenth of the sequences.",
        ),
    ] = None,
    reverse_complement: Annotated[
        Strands | None,
        typer.Option(
            help="Whether a sequence and its reverse complement mean the same. Default: found.",
            rich_help_panel=opt.MODEL,
        ),
    ] = None,
    class_weight: Annotated[
        bool,
        typer.Option(
            "--balanced",
            help="Let errors in rare classes count more, as they are rarer.",
            rich_help_panel=opt.MODEL,
        ),
    ] = False,
    pretrained: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Start from the sequence model saved here.",
            rich_help_panel=opt.MODEL,
        ),
    ] = None,
    variant: opt.Variant = None,
    dim: opt.Dim = None,
    depth: opt.Depth = None,
    n_heads: opt.Heads = None,
    memory_depth: opt.MemoryDepth = None,
    chunk_size: opt.ChunkSize = None,
    segment_length: opt.SegmentLength = None,
    max_epochs: opt.MaxEpochs = None,
    batch_size: opt.BatchSize = None,
    learning_rate: opt.LearningRate = None,
    validation_fraction: opt.ValidationFraction = None,
    patience: opt.Patience = None,
    seed: opt.Seed = None,
    accelerator: opt.Accelerator = None,
    quiet: opt.Quiet = False,
) -> None:
    """Fit a classifier to labelled sequences, and save it."""
    from titans_ts.cli.tables import fact_table
    from titans_ts.errors import ParameterError
    from titans_ts.persistence import MODEL, check_save_path
    from titans_ts.plugins.genomics.classifier import TitansSequenceClassifier
    from titans_ts.plugins.genomics.sequence_model import TitansSequenceModel

    check_save_path(out, MODEL)
    if pretrained is not None and out.resolve() == pretrained.resolve():
        raise ParameterError(
            f"--out {str(out)!r} is the model that --pretrained names, which would be lost. Save "
            "the classifier elsewhere."
        )
    backbone = opt.given(
        variant=variant,
        dim=dim,
        depth=depth,
        n_heads=n_heads,
        memory_depth=memory_depth,
        chunk_size=chunk_size,
        segment_length=segment_length,
    )
    if pretrained is not None and backbone:
        option = "--" + next(iter(backbone)).replace("_", "-")
        raise ParameterError(
            f"{option} is for a new network, but --pretrained {pretrained} brings its own. Leave "
            "one of the two out."
        )
    data = _read_classes(files, sequence_column, label_column)
    judged = None
    if validation:
        held = _read_classes(validation, sequence_column, label_column)
        judged = (held.sequences, held.labels)
    terminal = Terminal(quiet=quiet)
    parameters: dict[str, Any] = backbone | opt.given(
        max_epochs=max_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        validation_fraction=validation_fraction,
        patience=patience,
        accelerator=accelerator,
    )
    if reverse_complement is not None:
        parameters["reverse_complement"] = {"yes": True, "no": False}.get(
            reverse_complement.value, "auto"
        )
    if class_weight:
        parameters["class_weight"] = "balanced"
    parameters |= {"random_state": 0 if seed is None else seed, "verbose": terminal.verbose}
    if pretrained is None:
        classifier = TitansSequenceClassifier(**parameters)
    else:
        classifier = TitansSequenceModel.load(pretrained).to_classifier(**parameters)
    with terminal.training():
        stopped = fit_until_stopped(
            lambda: classifier.fit(data.sequences, data.labels, validation=judged)
        )
    classifier.save(out)
    last = classifier.history_[-1]
    best = [epoch.get("validation_loss") for epoch in classifier.history_]
    loss = min((value for value in best if value is not None), default=last["train_loss"])
    averaged = "averaged" if classifier.reverse_complement_ else "as written"
    terminal.print(
        fact_table(
            {
                "Read": f"{len(data.sequences)} sequences",
                "Classes": ", ".join(map(str, classifier.classes_)),
                "Strands": averaged,
                "Trained": f"{len(classifier.history_)} epochs, best loss {loss:.4g}",
                "Written": str(out),
            }
        )
    )
    if stopped is not None:
        raise stopped


@app.command()
@in_plain_words
def pretrain(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="FASTA or FASTQ files.")],
    out: ModelOut,
    k: Annotated[int, typer.Option("--k", help="Bases in a word.", rich_help_panel=opt.MODEL)] = 1,
    sequence_column: SequenceColumn = "sequence",
    variant: opt.Variant = None,
    dim: opt.Dim = None,
    depth: opt.Depth = None,
    n_heads: opt.Heads = None,
    memory_depth: opt.MemoryDepth = None,
    chunk_size: opt.ChunkSize = None,
    segment_length: opt.SegmentLength = None,
    max_epochs: opt.MaxEpochs = None,
    batch_size: opt.BatchSize = None,
    learning_rate: opt.LearningRate = None,
    validation_fraction: opt.ValidationFraction = None,
    patience: opt.Patience = None,
    seed: opt.Seed = None,
    accelerator: opt.Accelerator = None,
    quiet: opt.Quiet = False,
) -> None:
    """Learn what follows in DNA from sequences without labels, and save the model."""
    from titans_ts.cli.tables import fact_table
    from titans_ts.persistence import MODEL, check_save_path
    from titans_ts.plugins.genomics.sequence_model import TitansSequenceModel

    check_save_path(out, MODEL)
    # As short as the model still takes.
    sequences = [
        sequence
        for file in files
        for sequence in _read_unlabelled(file, sequence_column, min_length=2 * k).sequences
    ]
    terminal = Terminal(quiet=quiet)
    model = TitansSequenceModel(
        k=k,
        random_state=0 if seed is None else seed,
        verbose=terminal.verbose,
        **opt.given(
            variant=variant,
            dim=dim,
            depth=depth,
            n_heads=n_heads,
            memory_depth=memory_depth,
            chunk_size=chunk_size,
            segment_length=segment_length,
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            validation_fraction=validation_fraction,
            patience=patience,
            accelerator=accelerator,
        ),
    )
    with terminal.training():
        stopped = fit_until_stopped(lambda: model.fit(sequences))
    model.save(out)
    losses = [epoch.get("validation_loss", epoch["train_loss"]) for epoch in model.history_]
    terminal.print(
        fact_table(
            {
                "Read": f"{len(sequences)} sequences, {sum(map(len, sequences))} bases",
                "Trained": f"{len(losses)} epochs, {min(losses) / k:.4g} nats a base",
                "Written": str(out),
            }
        )
    )
    if stopped is not None:
        raise stopped


@app.command()
@in_plain_words
def predict(
    file: Source,
    model: Model,
    sequence_column: SequenceColumn = "sequence",
    out: TableOut = None,
    accelerator: opt.Accelerator = None,
) -> None:
    """Classify sequences: a row for each, with its label and the probability of each class."""
    import pandas as pd

    from titans_ts.plugins.genomics.classifier import TitansSequenceClassifier

    _check_output(file, out, model)
    classifier = TitansSequenceClassifier.load(model, device=opt.device_of(accelerator))
    data = _read_unlabelled(file, sequence_column)
    probabilities = classifier.predict_proba(data.sequences)
    labels = classifier.classes_[probabilities.argmax(1)]
    table = pd.DataFrame({"name": data.names, "label": labels})
    for i, label in enumerate(classifier.classes_):
        table[f"p({label})"] = probabilities[:, i]
    _write(table, out)


@app.command()
@in_plain_words
def embed(
    file: Source,
    model: Model,
    sequence_column: SequenceColumn = "sequence",
    out: TableOut = None,
    accelerator: opt.Accelerator = None,
) -> None:
    """Turn sequences into vectors, by a saved classifier or sequence model: a row for each."""
    import pandas as pd

    from titans_ts.errors import ParameterError
    from titans_ts.persistence import load_model

    _check_output(file, out, model)
    embedder = load_model(model, device=opt.device_of(accelerator))
    if not hasattr(embedder, "embed"):
        raise ParameterError(
            f"{str(model)!r} holds a {type(embedder).__name__}, expected a model of genomics."
        )
    # A sequence model reads words of k bases; a classifier takes any length.
    data = _read_unlabelled(file, sequence_column, min_length=getattr(embedder, "k_", 1))
    vectors = embedder.embed(data.sequences)
    table = pd.DataFrame(vectors, columns=[f"v{i}" for i in range(vectors.shape[1])])
    table.insert(0, "name", data.names)
    _write(table, out)


def _read_classes(files: list[str], sequence_column: str, label_column: str) -> NamedSequences:
    """Read sequences with labels from tables, or from files of records that each hold a class."""
    from titans_ts.errors import ParameterError
    from titans_ts.plugins.genomics.fasta import first_line, holds_records
    from titans_ts.plugins.genomics.tables import NamedSequences, label_of, read_labelled

    names, sequences, labels = list[str](), list[str](), list[str]()
    for text in files:
        label, file = label_of(text)
        if len(files) > 1 and holds_records(first_line(file)):
            part = _read_unlabelled(file, sequence_column)
            labels += [label] * len(part.sequences)
        else:
            if file != Path(text) and not holds_records(first_line(file)):
                raise ParameterError(
                    f"{text!r} gives the label {label!r} to a table, whose labels are in its "
                    f"column {label_column!r}. Leave {label + '='!r} out; another column is named "
                    "with --label-column."
                )
            part = read_labelled(file, sequence_column, label_column)
            _check_records(file, part)
            labels += part.labels or []
        names += part.names
        sequences += part.sequences
    return NamedSequences(names, sequences, labels)


def _read_unlabelled(file: Path, sequence_column: str, *, min_length: int = 1) -> NamedSequences:
    from titans_ts.plugins.genomics.tables import read_unlabelled

    data = read_unlabelled(file, sequence_column)
    _check_records(file, data, min_length)
    return data


def _check_records(file: Path, data: NamedSequences, min_length: int = 1) -> None:
    """Raise DataError with the file and the record where one cannot be used.

    A model would name the sequence by its place among those of all files.
    """
    from titans_ts.errors import DataError
    from titans_ts.plugins.genomics.coding import encode_sequences

    try:
        encode_sequences(data.sequences, min_length=min_length)
    except DataError as error:
        where, why = repr(str(file)), str(error)
        for number, (name, sequence) in enumerate(zip(data.names, data.sequences, strict=True)):
            try:
                encode_sequences([sequence], min_length=min_length)
            except DataError as first:
                # Rows of a table without names are called by their number from 0.
                called = "" if name == str(number) else f" ({name!r})"
                where += f", record {number + 1}{called}"
                why = str(first).replace("Sequence 0", "the sequence", 1)
                break
        raise DataError(f"{where}: {why}") from None


def _check_output(file: Path, out: Path | None, model: Path) -> None:
    from titans_ts.cli.files import check_outputs

    check_outputs(file, {"--out": out}, others={"--model": model})


def _write(table: pd.DataFrame, out: Path | None) -> None:
    from titans_ts.cli.files import csv_text, write_whole

    if out is None:
        typer.echo(csv_text(table), nl=False)
    else:
        write_whole(out, csv_text(table))
