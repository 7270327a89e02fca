"""TitansLanguageModel: text in, text out, as a scikit-learn estimator."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from numbers import Integral
from os import PathLike
from typing import Any, NamedTuple, Self, overload

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from titans_ts.config import BackboneConfig
from titans_ts.errors import DataError, DataTypeError, NonFiniteLossError, ParameterError
from titans_ts.heads.tokens.model import TokenModel, check_causal
from titans_ts.nn.own_random import OwnRandom
from titans_ts.nn.weights import module_from_arrays, weights_to_arrays
from titans_ts.parameters import check_choice, check_int, check_number
from titans_ts.persistence import SaveLoadMixin
from titans_ts.plugins.language.generate import Sampling, check_seed, sample_tokens
from titans_ts.plugins.language.reading import (
    Reading,
    document_log_probabilities,
    read_on,
)
from titans_ts.plugins.language.streams import (
    RepeatedBatches,
    TextStreams,
    segments_of,
    whole_documents,
)
from titans_ts.plugins.language.texts import Corpus, iter_texts, read_corpus, set_documents_aside
from titans_ts.plugins.language.tokenizer import Tokenizer, make_tokenizer
from titans_ts.training import TrainingSettings
from titans_ts.training.checkpoint import CheckpointFolder, check_checkpoint_path
from titans_ts.training.device import DeviceMixin
from titans_ts.training.estimators import (
    backbone_config,
    check_training_parameters,
    draw_seed,
    fixed_seed,
    rates_around,
    stopped_early,
    training_settings,
)

__all__ = ["Prediction", "TitansLanguageModel"]

# Steps of an epoch on a small corpus, where passes over it are put together for it.
LEAST_STEPS = 20

# Where a backbone for text differs from one for windows of a series. The bound on what a bare MLP
# writes keeps it from running away, and in 131,072 bytes of Shakespeare it learns as much at a
# max_step_size of 1 in chunks of 32. In chunks of 16, a gradient of training grew to 3,600 times
# their median. Behind a LayerNorm and with smaller steps none does.
TEXT_OPTIONS = {"dropout": 0.0, "memory_residual": True, "max_step_size": 0.2}

# Tokens that are read at a time where nothing is learnt, or as many as in a step of training: what
# could be fitted can be scored.
READ_TOKENS = 2048

# Documents that are read side by side.
MOST_ROWS = 1024


class Prediction(NamedTuple):
    """How well a model predicted texts."""

    log_likelihood: float  # mean per token, in nats
    n_tokens: int
    n_bytes: int  # of the texts in UTF-8
    writes_all: bool = True  # whether the tokens give back every character of the texts

    @property
    def perplexity(self) -> float:
        """Per token; infinite where it is beyond all numbers."""
        return math.exp(-self.log_likelihood) if self.log_likelihood > -700 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """What the texts would take, compressed, for each of their bytes.

        NaN where the tokenizer loses characters, which would cost nothing.
        """
        if not self.writes_all:
            return math.nan
        return -self.log_likelihood * self.n_tokens / self.n_bytes / math.log(2)


class TitansLanguageModel(DeviceMixin, SaveLoadMixin, BaseEstimator):
    """Learn to continue text, generate it, and measure how well it is predicted.

    A Titans backbone (Behrouz et al., 2024, arXiv:2501.00663) reads tokens, bytes by default, and
    says after each which may follow. Its memory is carried through a document of any length at a
    state of fixed size, in training, scoring and generation alike.

    Parameters
    ----------
    tokenizer : {"bytes", "bpe"} or path of a tokenizer.json, default "bytes"
        Bytes of UTF-8; byte pairs learnt from the texts; or a tokenizer that exists, such as
        Llama's. All but bytes need the extra ``text``.
    vocabulary_size : int, default 4096
        Tokens that "bpe" learns; 257 at least.
    context_length : int, default 256
        Tokens of a training segment, through which gradients go back. A multiple of
        ``chunk_size``, and for "mac" of ``segment_length``.
    carried_segments : int, default 32
        Segments that a row reads with its memory carried, at least, before it may start anew
        elsewhere: longer documents are cut in training, at half of the places that lie so far
        apart, and at other ones in each pass. With few, memory is never old in training, and long
        texts are read worse and worse.
    variant : {"mac", "mag", "mal", "lmm"}, default "mag"
        Memory as context, as gate, as layer, or the memory alone.
    dim : int, default 128
        Width of a token.
    depth : int, default 3
        Number of Titans blocks.
    n_heads : int, default 4
        Heads of attention and memory.
    memory_depth : int, default 2
        Layers of the memory's network, 1 to 4.
    chunk_size : int, default 32
        Tokens whose surprise is measured at the same memory.
    segment_length : int, default 64
        Tokens that attention sees at once in "mac"; in "mag" and "mal" it sees the last two such
        lengths, or ``window`` in ``backbone_options``.
    tied : bool, default True
        Whether output and embedding share their weights.
    backbone_options : mapping, optional
        Any other field of :class:`titans_ts.config.BackboneConfig`, such as
        ``{"momentum": False}``. Unless given here, ``dropout`` is 0, ``memory_residual`` True and
        ``max_step_size`` 0.2: over the thousands of tokens of a text, a memory behind a LayerNorm
        is trained more calmly.
    max_tokens : int, optional
        Tokens to train on, in ``max_epochs`` parts of equal size, or fewer where there are no more
        steps. Default: each epoch is a pass over the texts.
    max_epochs : int, default 10
        Times that learning is judged, and, without ``max_tokens``, passes over the texts; on small
        ones an epoch has as many passes as make 20 steps.
    batch_size : int or "auto", default 8
        Rows, each of which reads a document of its own; "auto" is 64, halved until a step fits in
        memory.
    learning_rate : float, default 3e-3
        At its peak, after a warm-up; a cosine takes it to zero.
    weight_decay : float, default 0.1
        On matrices.
    validation_fraction : float, default 0.1
        Documents on which learning is judged when ``fit`` is given no ``validation``; of fewer
        than 10, the last part of each. 0 for none.
    patience : int, default 3
        Epochs without a better validation loss before training stops.
    accelerator : str, default "auto"
        As Lightning's Trainer takes it; "auto" is a CUDA GPU where there is one, else the CPU.
    precision : str, optional
        As Lightning's Trainer takes it; default: bfloat16 where a GPU is used, else float32.
    trainer_kwargs : mapping, optional
        Anything else for Lightning's Trainer.
    random_state : int, RandomState, Generator or None, default None
        Makes training repeatable; nothing global is seeded.
    verbose : int, default 0
        1 shows a progress bar.

    Attributes
    ----------
    model_ : TokenModel
        The trained torch module.
    tokenizer_ : ByteTokenizer or BPETokenizer
    history_ : list of dict
        Training and validation loss of every epoch, in nats per token.
    best_epoch_ : int or None
        The epoch whose weights were kept; None without validation.
    batch_size_ : int
        Rows of a batch, as trained.

    Examples
    --------
    >>> from titans_ts.plugins.language.model import TitansLanguageModel
    >>> texts = ["To be, or not to be, that is the question. "] * 12
    >>> model = TitansLanguageModel(dim=16, depth=1, n_heads=1, max_epochs=1, random_state=0)
    >>> model = model.fit(texts)
    >>> len(model.generate("To be", max_new_tokens=20, seed=0)) <= 20
    True
    >>> model.perplexity(texts) < 257
    True
    """

    _checksum: str | None = None  # of the weights; made when it is asked for

    def __init__(
        self,
        *,
        tokenizer: str | PathLike[str] = "bytes",
        vocabulary_size: int = 4096,
        context_length: int = 256,
        carried_segments: int = 32,
        variant: str = "mag",
        dim: int = 128,
        depth: int = 3,
        n_heads: int = 4,
        memory_depth: int = BackboneConfig.memory_depth,
        chunk_size: int = 32,
        segment_length: int = 64,
        tied: bool = True,
        backbone_options: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        max_epochs: int = 10,
        batch_size: int | str = 8,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.1,
        validation_fraction: float = 0.1,
        patience: int = 3,
        accelerator: str = "auto",
        precision: str | None = None,
        trainer_kwargs: Mapping[str, Any] | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.tokenizer = tokenizer
        self.vocabulary_size = vocabulary_size
        self.context_length = context_length
        self.carried_segments = carried_segments
        self.variant = variant
        self.dim = dim
        self.depth = depth
        self.n_heads = n_heads
        self.memory_depth = memory_depth
        self.chunk_size = chunk_size
        self.segment_length = segment_length
        self.tied = tied
        self.backbone_options = backbone_options
        self.max_tokens = max_tokens
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.accelerator = accelerator
        self.precision = precision
        self.trainer_kwargs = trainer_kwargs
        self.random_state = random_state
        self.verbose = verbose

    # -- learning -------------------------------------------------------------------------------

    def fit(
        self,
        texts: Any,
        y: Any = None,
        *,
        validation: Any = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> Self:
        """Learn to continue texts.

        Parameters
        ----------
        texts : iterable of str or Path, or one Path
            One document each; a file is read as UTF-8, and unpacked where its name ends in
            ``.gz``. Empty documents are left out.
        y : None
            Ignored; here because scikit-learn passes one.
        validation : iterable of str or Path, optional
            Documents on which learning is judged. Default: ``validation_fraction`` of the texts.
        checkpoint : str or path-like, optional
            A folder for the progress of this one fit, made if it is not there. After a crash, the
            same call goes on from there.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            A constructor value makes no sense.
        DataError
            There is no text, or one cannot be read; the message says which.
        CheckpointError
            The progress in ``checkpoint`` is that of another fit, or damaged.
        TrainingInterrupted
            Ctrl+C, a KeyboardInterrupt, came after an epoch had been judged: the model is fitted
            with the best weights so far.
        """
        self._check_parameters()
        if checkpoint is not None:
            check_checkpoint_path(checkpoint)
        seed = draw_seed(self.random_state)
        trained = self.tokenizer == "bpe"
        if trained:
            texts = list(iter_texts(texts))
        tokenizer = make_tokenizer(self.tokenizer, texts, self.vocabulary_size)
        corpus = read_corpus(texts, tokenizer, contents=trained)
        learnt, judged = corpus, None
        if validation is not None:
            judged = read_corpus(validation, tokenizer, what="validation")
        progress = None
        if checkpoint is not None:
            progress = CheckpointFolder.open(
                checkpoint,
                self.get_params(deep=False),
                corpus.fingerprint() + (judged.fingerprint() if judged else ""),
                fixed_seed(self.random_state, seed),
                draw=seed,
            )
            seed = progress.seed
        if judged is None:
            # By the seed of the record, where there is one.
            learnt, judged = set_documents_aside(corpus, self.validation_fraction, seed)
        with OwnRandom(seed):
            model = TokenModel(tokenizer.n_tokens, self._config(), tied=self.tied)
        self._train(model, tokenizer, learnt, judged, seed, progress)
        return self

    def _train(
        self,
        model: TokenModel,
        tokenizer: Tokenizer,
        learnt: Corpus,
        judged: Corpus | None,
        seed: int,
        progress: CheckpointFolder | None,
    ) -> None:
        from titans_ts.plugins.language.training import StreamModule  # imports Lightning
        from titans_ts.training.loop import DEFAULT_BATCH_SIZE, Prepared, run_training

        length, end = self.context_length, tokenizer.end
        cut_every = length * self.carried_segments
        settings = self._settings()
        if self.max_tokens is not None:
            most = DEFAULT_BATCH_SIZE if self.batch_size == "auto" else int(self.batch_size)
            n_steps = max(round(self.max_tokens / self._tokens_a_step(learnt, most)), 1)
            # As many steps in each epoch, and so many epochs that all make the budget.
            steps_an_epoch = -(-n_steps // settings.max_epochs)
            settings = replace(settings, max_epochs=round(n_steps / steps_an_epoch))

        def prepare(rows: int) -> Prepared:
            streams = TextStreams(
                learnt,
                rows=rows,
                length=length,
                cut_every=cut_every,
                n_batches=self._n_steps(learnt, rows, settings.max_epochs),
                end=end,
                seed=seed,
            )
            validation = None
            if judged is not None:
                # As long as leaves something for every row: what is judged is what is used.
                longest = max(cut_every, -(-_n_targets(judged) // rows))
                stretches = whole_documents(judged, longest=longest)
                n = min(rows, len(stretches))
                validation = RepeatedBatches(
                    lambda: segments_of(judged, iter(stretches), rows=n, length=length, end=end)
                )
            return Prepared(StreamModule(model, settings), streams, validation)

        result = run_training(prepare, settings, seed=seed, checkpoint=progress)
        self._forget_device()
        self.model_, self.tokenizer_, self._checksum = model, tokenizer, None
        self.history_, self.best_epoch_ = result.history, result.best_epoch
        self.batch_size_ = result.batch_size
        if result.interrupted:
            raise stopped_early(self, settings.max_epochs)

    def _n_steps(self, corpus: Corpus, rows: int, n_epochs: int) -> int:
        """Steps of an epoch."""
        if self.max_tokens is None:
            return max(-(-_n_segments(corpus, self.context_length) // rows), LEAST_STEPS)
        return max(round(self.max_tokens / self._tokens_a_step(corpus, rows) / n_epochs), 1)

    def _tokens_a_step(self, corpus: Corpus, rows: int) -> float:
        return rows * _n_targets(corpus) / _n_segments(corpus, self.context_length)

    # -- use ------------------------------------------------------------------------------------

    @overload
    def generate(
        self,
        prompt: str = ...,
        *,
        max_new_tokens: int = ...,
        temperature: float = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        seed: int | None = ...,
        after: Reading | None = ...,
    ) -> str: ...

    @overload
    def generate(
        self,
        prompt: str = ...,
        *,
        max_new_tokens: int = ...,
        temperature: float = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        seed: int | None = ...,
        after: Reading | None = ...,
        stream: bool,
    ) -> Iterator[str] | str: ...

    def generate(
        self,
        prompt: str = "",
        *,
        max_new_tokens: int = 200,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        after: Reading | None = None,
        stream: bool = False,
    ) -> Iterator[str] | str:
        """Write what may follow a prompt.

        Each token costs the same time and memory, however long prompt and answer are: there is no
        context to run out of.

        Parameters
        ----------
        prompt : str
            Of any length; empty for the start of a document.
        max_new_tokens : int, default 200
            Fewer come where the model ends the text.
        temperature : float, default 1.0
            Below 1 keeps to what is likely, above 1 departs from it; 0 takes the most likely token
            each time.
        top_k : int, optional
            Draw among so many of the most likely tokens only.
        top_p : float, optional
            Draw among the most likely tokens that together have this probability only.
        seed : int, optional
            Makes the text repeatable; the global random state is not touched.
        after : Reading, optional
            What :meth:`read` returned: the prompt goes on from there. Default: it starts a text.
        stream : bool, default False
            True: return an iterator of pieces of text, each as soon as it is certain.

        Returns
        -------
        str, or iterator of str
            The continuation, without the prompt.

        Raises
        ------
        ParameterError, DataError
            An option makes no sense, or ``after`` is of another model; the prompt is no text.
        """
        check_is_fitted(self)
        check_int("max_new_tokens", max_new_tokens, minimum=0)
        sampling = Sampling(temperature, top_k, top_p)
        check_seed(seed)
        start = self._read_on(prompt, after, "prompt")
        pieces = self._pieces(self.model_, self.tokenizer_, start, sampling, max_new_tokens, seed)
        return pieces if stream else "".join(pieces)

    def read(self, text: str, *, after: Reading | None = None) -> Reading:
        """Read a text once, to go on from its end as often as you like.

        Parameters
        ----------
        text : str
            Of any length. Byte pairs do not reach from one text into the next, and tokenizers
            that put a space before each text do so here too.
        after : Reading, optional
            What was read before; it stays as it is. Default: the text starts here.

        Returns
        -------
        Reading
            For ``after`` of :meth:`generate` and of this method. It has the size of the model's
            state, holds ``n_tokens``, the number of tokens that were read, and is of this model
            alone: after another ``fit`` the text has to be read again.

        Raises
        ------
        ParameterError, DataError
            ``after`` is of another model; ``text`` is no text.

        Examples
        --------
        >>> from titans_ts.plugins.language.model import TitansLanguageModel
        >>> texts = ["To be, or not to be, that is the question. "] * 12
        >>> model = TitansLanguageModel(dim=16, depth=1, n_heads=1, max_epochs=1, random_state=0)
        >>> book = model.fit(texts).read(texts[0])
        >>> one, two = (model.generate("To", after=book, seed=seed) for seed in (1, 2))
        >>> book.n_tokens
        43
        """
        check_is_fitted(self)
        return self._read_on(text, after, "text")

    def _read_on(self, text: Any, after: Any, what: str) -> Reading:
        if not isinstance(text, str):
            raise DataTypeError(f"{what} is a {type(text).__name__}, expected a text (str).")
        if after is not None and not isinstance(after, Reading):
            raise ParameterError(
                f"after must be what read() of this model returned, got {type(after).__name__}."
            )
        weights = self._weights_checksum()
        if after is not None and after.weights != weights:
            raise ParameterError(
                "after comes of another model, or of this one before it was fitted again. Read the "
                "text again: after=model.read(text)."
            )
        model, tokenizer = self._model_in_place(), self.tokenizer_
        tokens = tokenizer.encode(text)
        return read_on(
            model, tokens, end=tokenizer.end, length=READ_TOKENS, weights=weights, after=after
        )

    def _weights_checksum(self) -> str:
        """By which a reading is known to be of these weights, in whatever process."""
        if self._checksum is None:
            digest = hashlib.blake2b(digest_size=20)
            for array in weights_to_arrays(self.model_).values():
                digest.update(np.ascontiguousarray(array).data)
            self._checksum = digest.hexdigest()
        return self._checksum

    @staticmethod
    def _pieces(
        model: TokenModel,
        tokenizer: Tokenizer,
        start: Reading,
        sampling: Sampling,
        n: int,
        seed: int | None,
    ) -> Iterator[str]:
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(int(seed))
        end = tokenizer.end
        text = tokenizer.stream([token for token in start.last if token != end])
        for token in sample_tokens(
            model, start.logits, start.state, sampling, n=n, end=end, generator=generator
        ):
            piece = text.push(token)
            if piece:
                yield piece
        rest = text.close()
        if rest:
            yield rest

    def log_probabilities(self, text: str) -> np.ndarray:
        """The logarithm of the probability that the model gave to each token of a text.

        Parameters
        ----------
        text : str

        Returns
        -------
        ndarray of shape (n_tokens,)
            In nats; for bytes, one number for each byte of UTF-8.
        """
        check_is_fitted(self)
        if not isinstance(text, str):
            raise DataTypeError(f"text is a {type(text).__name__}, expected a text (str).")
        if not text:
            raise DataError("text is empty, expected at least one character.")
        corpus = read_corpus([text], self.tokenizer_, what="text", contents=True)
        logs = np.concatenate([logs.numpy() for _, _, logs in self._read(corpus)])
        _check_finite(float(logs.sum()))
        return logs

    def score(self, texts: Any, y: Any = None) -> float:
        """Mean log likelihood per token, in nats; higher is better.

        Parameters
        ----------
        texts : iterable of str or Path, or one Path
        y : None
            Ignored.
        """
        return self.evaluate(texts).log_likelihood

    def perplexity(self, texts: Any) -> float:
        """Among how many tokens the model is undecided, on average; lower is better.

        It compares models of one tokenizer only; :meth:`bits_per_byte` compares all.

        Parameters
        ----------
        texts : iterable of str or Path, or one Path
        """
        return self.evaluate(texts).perplexity

    def bits_per_byte(self, texts: Any) -> float:
        """Bits that the model would need for each byte of the texts, if it compressed them.

        Parameters
        ----------
        texts : iterable of str or Path, or one Path

        Raises
        ------
        ParameterError
            The tokenizer loses something of these texts, such as capitals, or characters that its
            vocabulary has not: what it loses would cost nothing. A space that a text starts with
            may be lost.
        """
        check_is_fitted(self)
        corpus = read_corpus(texts, self.tokenizer_, compared=True)
        if not corpus.is_whole:
            raise ParameterError(
                f"The tokenizer {self.tokenizer!r:.80} loses something of these texts, such as "
                "capitals, or characters that its vocabulary has not, so their bits say nothing of "
                "their bytes. Compare models of this tokenizer by perplexity, or fit with one that "
                "writes every byte, such as 'bpe'."
            )
        return self._judge(corpus).bits_per_byte

    def evaluate(self, texts: Any) -> Prediction:
        """Measure how well texts are predicted, in one reading.

        Each document is read from its start, with memory carried through all of it. The end of a
        text is not among the tokens that count.

        Parameters
        ----------
        texts : iterable of str or Path, or one Path

        Returns
        -------
        Prediction
            With ``log_likelihood``, ``perplexity``, ``bits_per_byte``, ``n_tokens``, ``n_bytes``.
        """
        check_is_fitted(self)
        return self._judge(read_corpus(texts, self.tokenizer_, compared=True))

    def _judge(self, corpus: Corpus) -> Prediction:
        total = sum(float(logs.double().sum()) for _, _, logs in self._read(corpus))
        _check_finite(total)
        return Prediction(
            total / len(corpus.tokens), len(corpus.tokens), corpus.n_bytes, corpus.is_whole
        )

    def _read(self, corpus: Corpus) -> Iterator[tuple[int, int, torch.Tensor]]:
        whole = self.model_.unit_length
        # A file may ask for any number.
        batch_size = min(self.batch_size_, MOST_ROWS)
        rows = min(batch_size, len(corpus.lengths))
        n_tokens = max(batch_size * self.context_length, READ_TOKENS)
        return document_log_probabilities(
            self._model_in_place(),
            corpus,
            end=self.tokenizer_.end,
            rows=rows,
            length=max(n_tokens // rows // whole, 1) * whole,
        )

    def default_search_space(self) -> dict[str, Any]:
        """What :class:`~titans_ts.TitansSearchCV` varies where it is given nothing else.

        How fast it learns, how much weights decay, the layers of its memory, and through how many
        segments that is carried; around the model's own values, which are among them.

        Returns
        -------
        dict
            Lists and distributions of :mod:`scipy.stats`, to be changed and given as
            ``param_distributions``.
        """
        space: dict[str, Any] = {
            "learning_rate": rates_around(self.learning_rate),
            "memory_depth": sorted({1, 2, self.memory_depth}),
            "carried_segments": sorted({8, 32, self.carried_segments}),
        }
        if self.weight_decay:
            space["weight_decay"] = rates_around(self.weight_decay)
        return space

    # -- saving ---------------------------------------------------------------------------------

    def _fitted_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        model = self.model_
        values = {
            "tokenizer": self.tokenizer_.state(),
            "backbone": asdict(model.backbone.config),
            "tied": model.output is None,
            "history": self.history_,
            "best_epoch": self.best_epoch_,
            "batch_size": self.batch_size_,
        }
        return values, weights_to_arrays(model)

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        tokenizer = make_tokenizer(dict(values["tokenizer"]), (), 0)
        config = BackboneConfig(**values["backbone"])
        self.model_ = module_from_arrays(
            lambda: TokenModel(tokenizer.n_tokens, config, tied=bool(values["tied"])),
            arrays,
            {**values["backbone"], "n_tokens": tokenizer.n_tokens},
        )
        check_int("batch_size", values["batch_size"])
        self.tokenizer_, self._checksum = tokenizer, None
        self.history_, self.best_epoch_ = list(values["history"]), values["best_epoch"]
        self.batch_size_ = values["batch_size"]

    # -- parameters -----------------------------------------------------------------------------

    def _config(self) -> BackboneConfig:
        return backbone_config(self, defaults=TEXT_OPTIONS)

    def _settings(self) -> TrainingSettings:
        return training_settings(self, weight_decay=self.weight_decay)

    def _check_parameters(self) -> None:
        from titans_ts.training import check_settings  # imports Lightning

        for name in ("context_length", "carried_segments"):
            check_int(name, getattr(self, name))
        check_int("vocabulary_size", self.vocabulary_size, minimum=257)
        check_int("max_tokens", self.max_tokens, optional=True)
        check_training_parameters(self)
        check_number("weight_decay", self.weight_decay, minimum=0, maximum=10)
        check_choice("tied", self.tied, (True, False))
        trainer = self.trainer_kwargs or {}
        devices = trainer.get("devices", 1)
        n_devices = len(devices) if isinstance(devices, list | tuple) else devices
        # Before others are started, which would run the user's whole script.
        for name, n in (("devices", n_devices), ("num_nodes", trainer.get("num_nodes", 1))):
            if isinstance(n, Integral) and int(n) > 1:
                raise ParameterError(
                    f"A language model is trained on one device, and trainer_kwargs has "
                    f"{name}={trainer[name]!r}. Leave it out."
                )
        config = self._config()
        of_what = {"chunk_size": config.chunk_size}
        check_causal(config)
        if config.variant == "mac":
            of_what["segment_length"] = config.segment_length
        for name, length in of_what.items():
            if self.context_length % length:
                raise ParameterError(
                    f"context_length must be a multiple of {name}={length}, so that a document "
                    f"can start where a chunk of the memory starts; got {self.context_length}. "
                    f"Take {-(-self.context_length // length) * length}."
                )
        check_settings(self._settings())


def _n_targets(corpus: Corpus) -> int:
    return sum(stop - start for start, stop in corpus.spans)


def _n_segments(corpus: Corpus, length: int) -> int:
    return sum(-(-(stop - start) // length) for start, stop in corpus.spans)


def _check_finite(total: float) -> None:
    if not math.isfinite(total):
        raise NonFiniteLossError(
            "The model's memory diverged while it read these texts. Fit it with a smaller step, "
            "such as backbone_options={'max_step_size': 0.05}."
        )
