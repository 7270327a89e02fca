"""``titans-ts language``: train on text files, generate, and measure perplexity."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from titans_ts.cli import options as opt
from titans_ts.cli.terminal import Terminal, fit_until_stopped, in_plain_words
from titans_ts.errors import DataError, ParameterError

__all__ = ["app"]

app = typer.Typer(
    name="language",
    help="Learn to continue text, generate it, and measure how well it is predicted.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILES", help="Text files in UTF-8, plain or gzip, one document each."),
]
Lines = Annotated[bool, typer.Option("--lines", help="Each line of a file is a document.")]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a saved model.")]


@app.command()
@in_plain_words
def train(
    files: Files,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Save the fitted model here.")
    ],
    lines: Lines = False,
    validation: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Judge learning on this text; give it several times for several. Default: a tenth "
            "of the documents, or of each where there are few.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A recipe: bytes-1m, a small model of bytes, or the paper's: paper-170m, -340m "
            "or -760m.",
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="bytes|bpe|FILE", help="Bytes, byte pairs, or a tokenizer.json."),
    ] = None,
    vocabulary_size: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens that bpe learns.")
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(metavar="N", help="Tokens to train on. Default: whole passes over the text."),
    ] = None,
    max_epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Times that learning is judged.")
    ] = None,
    context_length: Annotated[
        int | None, typer.Option(metavar="TOKENS", help="Length of a training segment.")
    ] = None,
    carried_segments: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Segments that a row reads with its memory carried on.",
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
    batch_size: opt.BatchSize = None,
    learning_rate: opt.LearningRate = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="On matrices.", rich_help_panel=opt.MODEL),
    ] = None,
    validation_fraction: opt.ValidationFraction = None,
    patience: opt.Patience = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep progress here, and go on from it after a crash."),
    ] = None,
    seed: opt.Seed = None,
    accelerator: opt.Accelerator = None,
    quiet: opt.Quiet = False,
) -> None:
    """Train a model on text files and save it."""
    from titans_ts.persistence import MODEL, check_save_path
    from titans_ts.plugins.language.model import TitansLanguageModel
    from titans_ts.plugins.language.presets import preset as recipe

    check_save_path(out, MODEL)
    if checkpoint is not None:
        progress, saved = checkpoint.resolve(), out.resolve()
        if progress.is_relative_to(saved):
            raise ParameterError(
                f"--checkpoint {str(checkpoint)!r} lies in --out {str(out)!r}, a folder that holds "
                "a model and nothing else. Keep the progress elsewhere."
            )
        if saved.is_relative_to(progress):
            raise ParameterError(
                f"--out {str(out)!r} lies in --checkpoint {str(checkpoint)!r}, a folder that holds "
                "progress and nothing else. Save the model elsewhere."
            )
    terminal = Terminal(quiet=quiet)
    given = opt.given(
        tokenizer=tokenizer,
        vocabulary_size=vocabulary_size,
        max_tokens=max_tokens,
        max_epochs=max_epochs,
        context_length=context_length,
        carried_segments=carried_segments,
        variant=variant,
        dim=dim,
        depth=depth,
        n_heads=n_heads,
        memory_depth=memory_depth,
        chunk_size=chunk_size,
        segment_length=segment_length,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        validation_fraction=validation_fraction,
        patience=patience,
        accelerator=accelerator,
    )
    given |= {"random_state": 0 if seed is None else seed, "verbose": terminal.verbose}
    model = TitansLanguageModel(**(given if preset is None else recipe(preset, **given)))
    judged = _documents(validation, lines) if validation else None
    with terminal.training():
        stopped = fit_until_stopped(
            lambda: model.fit(_documents(files, lines), validation=judged, checkpoint=checkpoint)
        )
    model.save(out)
    best = model.history_[model.best_epoch_ if model.best_epoch_ is not None else -1]
    loss = best.get("validation_loss", best["train_loss"])
    where = "validation" if "validation_loss" in best else "training"
    terminal.print(
        f"{model.model_.n_parameters:,} weights, trained for {len(model.history_)} epochs; "
        f"{where} loss {loss:.3f} nats per token. Saved to {out}."
    )
    if stopped is not None:
        raise stopped


@app.command()
@in_plain_words
def generate(
    model: Model,
    prompt: Annotated[
        str,
        typer.Option("--prompt", "-p", metavar="TEXT", help="What to continue; -: standard input."),
    ] = "",
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", "-n", metavar="N", help="Tokens to write.")
    ] = 200,
    temperature: Annotated[
        float, typer.Option(help="Below 1 keeps to what is likely; 0: the most likely token.")
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(metavar="N", help="Draw among the N most likely tokens.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(metavar="P", help="Draw among likely tokens of this joint probability."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Makes the text repeatable.")
    ] = None,
    accelerator: opt.Accelerator = None,
) -> None:
    """Write what may follow a prompt, as it comes."""
    from titans_ts.plugins.language.model import TitansLanguageModel

    if prompt == "-":
        try:
            prompt = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"Standard input is not UTF-8: byte {error.object[error.start]:#04x} at place "
                f"{error.start}. Convert it."
            ) from None
    pieces = TitansLanguageModel.load(model, device=opt.device_of(accelerator)).generate(
        prompt,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        stream=True,
    )
    for piece in pieces:
        typer.echo(piece, nl=False)
    typer.echo()


@app.command()
@in_plain_words
def perplexity(
    model: Model, files: Files, lines: Lines = False, accelerator: opt.Accelerator = None
) -> None:
    """Measure how well a model predicts text files."""
    from titans_ts.plugins.language.model import TitansLanguageModel

    fitted = TitansLanguageModel.load(model, device=opt.device_of(accelerator))
    measured = fitted.evaluate(_documents(files, lines))
    bits = f", {measured.bits_per_byte:.4g} bits per byte" if measured.writes_all else ""
    Terminal().print(
        f"{measured.n_tokens:,} tokens, {measured.n_bytes:,} bytes: perplexity "
        f"{measured.perplexity:.4g} per token{bits}."
    )


def _documents(files: list[Path], lines: bool) -> Any:
    return _lines(files) if lines else files


def _lines(files: list[Path]) -> Iterator[str]:
    from titans_ts.plugins.language.texts import iter_texts

    # Before the first line, an empty document, which is left out: one that is called as a file is
    # would be refused as the first of all texts.
    yield ""
    for text in iter_texts(files):
        # Not splitlines(), which cuts at form feeds and the like within a line too.
        yield from (line.removesuffix("\r") for line in text.split("\n"))
