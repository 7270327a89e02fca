"""TitansSequenceModel: what follows in DNA, learnt from sequences without labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from titans_ts.config import BackboneConfig
from titans_ts.errors import DataError, ParameterError
from titans_ts.heads.tokens.model import TokenModel, check_causal
from titans_ts.nn.backbone import BackboneState
from titans_ts.nn.own_random import OwnRandom
from titans_ts.nn.weights import module_from_arrays, weights_to_arrays
from titans_ts.parameters import check_choice, check_int
from titans_ts.persistence import SaveLoadMixin
from titans_ts.plugins.genomics.batches import even_batches
from titans_ts.plugins.genomics.coding import CodedSequences, encode_sequences, kmer_ids
from titans_ts.plugins.genomics.settings import sequence_settings, takes_sequences
from titans_ts.plugins.genomics.trunks import word_model
from titans_ts.plugins.genomics.words import Words, to_words
from titans_ts.training.device import DeviceMixin
from titans_ts.training.estimators import (
    backbone_config,
    check_training_parameters,
    draw_seed,
    rates_around,
    stopped_early,
)

if TYPE_CHECKING:
    from titans_ts.plugins.genomics.classifier import TitansSequenceClassifier

__all__ = ["TitansSequenceModel"]

# Words of a sequence that are read in one call; the state goes on to the next.
READ_AT_ONCE = 1024

# Sequences that are read side by side.
MOST_ROWS = 64


class TitansSequenceModel(
    DeviceMixin,
    SaveLoadMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Learn what follows in DNA: next-word prediction by a Titans backbone.

    The memory goes on to learn while it reads, and its state is of fixed size, so a sequence may be
    as long as a chromosome.

    Parameters
    ----------
    k : int, default 1
        Bases in a word, and words do not overlap; 1 is next-nucleotide prediction.
    context_length : int, default 256
        Words in a training sequence; longer ones are cut. Where it is a multiple of ``chunk_size``
        (for "mac" of ``segment_length`` too), most pieces from within a sequence are read with a
        memory that has read others before, as it has in a long sequence.
    both_strands : bool, default True
        Whether either strand is learnt, and likelihoods and vectors are means over both. How a
        fitted model reads may be changed by ``set_params``.
    variant, dim, depth, n_heads, memory_depth, chunk_size, segment_length, backbone_options
        As for :class:`titans_ts.plugins.genomics.TitansSequenceClassifier`; here ``dim`` is 64,
        ``n_heads`` 2 and ``segment_length`` 16.
    max_epochs : int, default 10
        Passes over the training sequences.
    batch_size : int or "auto", default 32
        Pieces of a step.
    validation_fraction : float, default 0.1
        Share of the pieces that is held out to judge by, rounded: of five or fewer none is.
        Copies of a piece stay together, with ``both_strands`` its reverse complement too.
    patience : int, default 4
        Epochs without a better validation loss after which training ends.
    learning_rate, accelerator, devices, precision, trainer_kwargs, random_state, verbose
        As for the classifier.

    Attributes
    ----------
    model_ : TokenModel
        The trained torch module.
    k_ : int
        Bases in a word.
    history_, best_epoch_
        As for the classifier; losses are in nats per word.

    Examples
    --------
    >>> from titans_ts.plugins.genomics import TitansSequenceModel
    >>> model = TitansSequenceModel(dim=8, context_length=32, max_epochs=1, random_state=0)
    >>> model.fit(["ACGT" * 40, "TTGCA" * 30]).embed(["ACGTN", "TTG"]).shape
    (2, 8)
    """

    model_: TokenModel

    def __init__(
        self,
        *,
        k: int = 1,
        context_length: int = 256,
        both_strands: bool = True,
        variant: str = "mag",
        dim: int = 64,
        depth: int = BackboneConfig.depth,
        n_heads: int = 2,
        memory_depth: int = 1,
        chunk_size: int = 8,
        segment_length: int = 16,
        backbone_options: Mapping[str, Any] | None = None,
        max_epochs: int = 10,
        batch_size: int | str = 32,
        learning_rate: float = 3e-3,
        validation_fraction: float = 0.1,
        patience: int = 4,
        accelerator: str = "auto",
        devices: Any = 1,
        precision: str | None = None,
        trainer_kwargs: Mapping[str, Any] | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.k = k
        self.context_length = context_length
        self.both_strands = both_strands
        self.variant = variant
        self.dim = dim
        self.depth = depth
        self.n_heads = n_heads
        self.memory_depth = memory_depth
        self.chunk_size = chunk_size
        self.segment_length = segment_length
        self.backbone_options = backbone_options
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.accelerator = accelerator
        self.devices = devices
        self.precision = precision
        self.trainer_kwargs = trainer_kwargs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from sequences.

        Parameters
        ----------
        X : array-like of str, of shape (n,) or (n, 1)
        y : ignored
            Here because scikit-learn's pipelines pass one.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            A constructor value makes no sense.
        DataError
            A sequence cannot be used; the message says which, and what to do.
        TrainingInterrupted
            Ctrl+C came after an epoch had been judged; the model is fitted with the best weights
            so far.
        """
        from titans_ts.plugins.genomics.pretraining import WordBatches, WordModule, cut_pieces
        from titans_ts.training import Prepared, check_settings, run_training

        self._check_parameters()
        settings = sequence_settings(self)
        check_settings(settings)
        sequences = encode_sequences(X, min_length=2 * self.k)
        seed = draw_seed(self.random_state)
        training, judged = cut_pieces(
            sequences,
            self.k * self.context_length,
            self.validation_fraction,
            seed,
            k=self.k,
            either_strand=self.both_strands,
        )
        with OwnRandom(seed):
            model = word_model(backbone_config(self), self.k)

        def prepare(batch_size: int) -> Prepared:
            batches = WordBatches(training, self.k, batch_size, seed, turned=self.both_strands)
            module = WordModule(model, settings, carries=bool(training.inner.any()))
            if not len(judged.inner):
                return Prepared(module, batches)
            return Prepared(module, batches, WordBatches(judged, self.k, batch_size, None))

        result = run_training(prepare, settings, seed=seed)
        self._forget_device()
        self.model_, self.k_ = model, self.k
        self.history_, self.best_epoch_ = result.history, result.best_epoch
        if result.interrupted:
            raise stopped_early(self)
        return self

    def log_likelihood(self, X: Any) -> np.ndarray:
        """Return the logarithm of the probability of each sequence, in nats.

        Ambiguous letters are read and not judged; nor are last letters that fill no word.

        Parameters
        ----------
        X : array-like of str, of shape (n,) or (n, 1)

        Returns
        -------
        ndarray of shape (n,), float64
            With ``both_strands``, the mean over both.
        """
        check_is_fitted(self)
        sequences = encode_sequences(X, min_length=self.k_)
        return self._over_strands(self._log_likelihood, sequences)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-likelihood of a base, in nats; guessing gives -1.386.

        The mean is over the bases that are judged; with ``both_strands``, over those of both.
        """
        check_is_fitted(self)
        sequences = encode_sequences(X, min_length=self.k_)
        # Of the other strand too: words start at its own end there, and others hold an ambiguous
        # letter.
        n = float(self._over_strands(self._n_judged, sequences).sum())
        if not n:
            raise DataError("Nothing can be judged: no word is of A, C, G and T alone.")
        total = float(self._over_strands(self._log_likelihood, sequences).sum())
        return total / (n * self.k_)

    def perplexity(self, X: Any) -> float:
        """Return how many bases the model is, in effect, undecided between: 4 for guessing."""
        return math.exp(-self.score(X))

    def embed(self, X: Any) -> np.ndarray:
        """Return a vector for each sequence: the mean of what the backbone makes of its words.

        Parameters
        ----------
        X : array-like of str, of shape (n,) or (n, 1)

        Returns
        -------
        ndarray of shape (n, dim), float32
            With ``both_strands``, the mean over both.
        """
        check_is_fitted(self)
        sequences = encode_sequences(X, min_length=self.k_)
        return self._over_strands(self._embed, sequences).astype(np.float32)

    def transform(self, X: Any) -> np.ndarray:
        """Return :meth:`embed`, for a Pipeline."""
        return self.embed(X)

    def to_classifier(self, **parameters: Any) -> TitansSequenceClassifier:
        """Return a classifier that starts to learn from what this model has learnt.

        Parameters
        ----------
        **parameters
            Of :class:`titans_ts.plugins.genomics.TitansSequenceClassifier`. ``learning_rate`` is
            1e-3 unless given, less than that class has: what was learnt is not to be overrun.
        """
        from titans_ts.plugins.genomics.classifier import TitansSequenceClassifier

        check_is_fitted(self)
        parameters = {"learning_rate": 1e-3} | parameters
        return TitansSequenceClassifier(pretrained=FrozenEstimator(self), **parameters)

    def __sklearn_tags__(self) -> Any:
        tags = takes_sequences(super().__sklearn_tags__())
        tags.target_tags.required = False
        return tags

    # -- for SaveLoadMixin ----------------------------------------------------------------------

    def default_search_space(self) -> dict[str, Any]:
        """What :class:`~titans_ts.TitansSearchCV` varies where it is given nothing else.

        How fast it learns, and the layers of its memory; its own values are among them.

        Returns
        -------
        dict
            Lists and distributions of :mod:`scipy.stats`, to be changed and given as
            ``param_distributions``.
        """
        return {
            "learning_rate": rates_around(self.learning_rate),
            "memory_depth": sorted({1, 2, self.memory_depth}),
        }

    def _fitted_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        values = {
            "backbone": asdict(self.model_.backbone.config),
            "k": self.k_,
            "history": self.history_,
            "best_epoch": self.best_epoch_,
        }
        return values, weights_to_arrays(self.model_)

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        backbone, k = values["backbone"], values["k"]
        check_int("k", k)
        self.model_ = module_from_arrays(
            lambda: word_model(BackboneConfig(**backbone), k),
            arrays,
            {**backbone, "n_words": 4 ** min(k, 30)},
        )
        self.k_ = k
        self.history_, self.best_epoch_ = values["history"], values["best_epoch"]

    # -- inside ---------------------------------------------------------------------------------

    @property
    def _n_features_out(self) -> int:
        return self.model_.backbone.config.dim  # for scikit-learn's names of columns

    def _check_parameters(self) -> None:
        check_int("k", self.k)
        check_int("context_length", self.context_length, minimum=2)
        if self.k > 8:
            raise ParameterError(
                f"k must be at most 8, since there are 4 ** k words; got {self.k}."
            )
        check_choice("both_strands", self.both_strands, (True, False))
        check_training_parameters(self)
        check_causal(backbone_config(self))

    def _over_strands(
        self, measure: Callable[[CodedSequences], np.ndarray], sequences: CodedSequences
    ) -> np.ndarray:
        with torch.inference_mode():
            one = measure(sequences)
            if not self.both_strands:
                return one
            return (one + measure(sequences.reverse_complements())) / 2

    def _log_likelihood(self, sequences: CodedSequences) -> np.ndarray:
        total = np.zeros(len(sequences))
        for rows, words, carried in self._read(sequences):
            logs, carried.state = self.model_.log_probabilities(
                words.tokens, words.targets, carried.state, words.inside
            )
            logs = logs.double().masked_fill(~words.known, 0.0)
            total[rows] += logs.sum(1).cpu().numpy()
        return total

    def _n_judged(self, sequences: CodedSequences) -> np.ndarray:
        words = (kmer_ids(sequences[i], self.k_, stride=self.k_) for i in range(len(sequences)))
        return np.array([(ids < 4**self.k_).sum() for ids in words])

    def _embed(self, sequences: CodedSequences) -> np.ndarray:
        total = np.zeros((len(sequences), self.model_.backbone.config.dim))
        for rows, words, carried in self._read(sequences):
            vectors, carried.state = self.model_.vectors(words.targets, carried.state, words.inside)
            vectors = vectors.double().masked_fill(~words.inside[..., None], 0.0)
            total[rows] += vectors.sum(1).cpu().numpy()
        return total / (sequences.lengths // self.k_)[:, None]

    def _read(self, sequences: CodedSequences) -> Iterator[tuple[np.ndarray, Words, _Carried]]:
        """Some sequences after others, and each of them piece by piece, with a state to carry."""
        device = self._device()
        self._model_in_place()
        for rows in even_batches(sequences, MOST_ROWS):
            carried = _Carried()
            codes, lengths = sequences.padded(rows), sequences.lengths[rows]
            for first in range(0, codes.shape[1] // self.k_, READ_AT_ONCE):
                start, stop = first * self.k_, (first + READ_AT_ONCE) * self.k_
                words = to_words(codes[:, start:stop], lengths - start, self.k_)
                if carried.word is not None:
                    words.tokens[:, 0] = carried.word
                carried.word = words.targets[:, -1]
                yield rows, Words(*(part.to(device) for part in words)), carried


class _Carried:
    """What goes on from one piece of some sequences to the next."""

    def __init__(self) -> None:
        self.state: BackboneState | None = None
        self.word: Tensor | None = None  # (batch,), int64: the last one
