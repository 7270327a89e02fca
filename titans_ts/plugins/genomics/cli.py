"""``titans-ts genomics``: train a classifier of DNA, apply it, and turn sequences into vectors."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from titans_ts.cli import options as opt
from titans_ts.cli.terminal import Terminal, in_plain_words

if TYPE_CHECKING:
    import pandas as pd

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
            help="A table with a column of labels; or FASTA or FASTQ, a file for each class, as "
            "LABEL=FILE or called after the label.",
        ),
    ],
    out: ModelOut,
    sequence_column: SequenceColumn = "sequence",
    label_column: Annotated[
        str, typer.Option(metavar="COLUMN", help="Of a table: the column with the labels.")
    ] = "label",
    validation: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A table like the first, to judge by. Default: a tenth of the sequences.",
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
    max_epochs: opt.MaxEpochs = None,
    seed: opt.Seed = None,
    accelerator: opt.Accelerator = None,
    quiet: opt.Quiet = False,
) -> None:
    """Fit a classifier to labelled sequences, and save it."""
    from titans_ts.cli.tables import fact_table
    from titans_ts.persistence import MODEL, check_save_path
    from titans_ts.plugins.genomics.classifier import TitansSequenceClassifier
    from titans_ts.plugins.genomics.sequence_model import TitansSequenceModel
    from titans_ts.plugins.genomics.tables import read_labelled

    check_save_path(out, MODEL)
    data = read_labelled(files, sequence_column, label_column)
    judged = None
    if validation is not None:
        held = read_labelled([str(validation)], sequence_column, label_column)
        judged = (held.sequences, held.labels)
    terminal = Terminal(quiet=quiet)
    parameters: dict[str, Any] = opt.given(max_epochs=max_epochs, accelerator=accelerator)
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
        classifier.fit(data.sequences, data.labels, validation=judged)
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


@app.command()
@in_plain_words
def pretrain(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="FASTA or FASTQ files.")],
    out: ModelOut,
    k: Annotated[int, typer.Option("--k", help="Bases in a word.", rich_help_panel=opt.MODEL)] = 1,
    sequence_column: SequenceColumn = "sequence",
    max_epochs: opt.MaxEpochs = None,
    seed: opt.Seed = None,
    accelerator: opt.Accelerator = None,
    quiet: opt.Quiet = False,
) -> None:
    """Learn what follows in DNA from sequences without labels, and save the model."""
    from titans_ts.cli.tables import fact_table
    from titans_ts.persistence import MODEL, check_save_path
    from titans_ts.plugins.genomics.sequence_model import TitansSequenceModel
    from titans_ts.plugins.genomics.tables import read_unlabelled

    check_save_path(out, MODEL)
    sequences = [s for file in files for s in read_unlabelled(file, sequence_column).sequences]
    terminal = Terminal(quiet=quiet)
    model = TitansSequenceModel(
        k=k,
        random_state=0 if seed is None else seed,
        verbose=terminal.verbose,
        **opt.given(max_epochs=max_epochs, accelerator=accelerator),
    )
    with terminal.training():
        model.fit(sequences)
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


@app.command()
@in_plain_words
def predict(
    file: Source,
    model: Model,
    sequence_column: SequenceColumn = "sequence",
    out: TableOut = None,
) -> None:
    """Classify sequences: a row for each, with its label and the probability of each class."""
    import pandas as pd

    from titans_ts.plugins.genomics.classifier import TitansSequenceClassifier
    from titans_ts.plugins.genomics.tables import read_unlabelled

    _check_output(file, out)
    classifier = TitansSequenceClassifier.load(model)
    data = read_unlabelled(file, sequence_column)
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
) -> None:
    """Turn sequences into vectors, by a saved classifier or sequence model: a row for each."""
    import pandas as pd

    from titans_ts.errors import ParameterError
    from titans_ts.persistence import load_model
    from titans_ts.plugins.genomics.tables import read_unlabelled

    _check_output(file, out)
    embedder = load_model(model)
    if not hasattr(embedder, "embed"):
        raise ParameterError(
            f"{str(model)!r} holds a {type(embedder).__name__}, expected a model of genomics."
        )
    data = read_unlabelled(file, sequence_column)
    vectors = embedder.embed(data.sequences)
    table = pd.DataFrame(vectors, columns=[f"v{i}" for i in range(vectors.shape[1])])
    table.insert(0, "name", data.names)
    _write(table, out)


def _check_output(file: Path, out: Path | None) -> None:
    from titans_ts.cli.files import check_outputs

    check_outputs(file, {"--out": out})


def _write(table: pd.DataFrame, out: Path | None) -> None:
    from titans_ts.cli.files import csv_text, write_whole

    if out is None:
        typer.echo(csv_text(table), nl=False)
    else:
        write_whole(out, csv_text(table))
