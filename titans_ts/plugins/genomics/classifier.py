"""TitansSequenceClassifier: classes of DNA behind fit and predict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from titans_ts.config import BackboneConfig
from titans_ts.errors import DataError, ParameterError
from titans_ts.nn.own_random import OwnRandom
from titans_ts.nn.weights import module_from_arrays, weights_to_arrays
from titans_ts.parameters import check_choice, check_int, check_number
from titans_ts.persistence import SaveLoadMixin
from titans_ts.plugins.genomics.batches import SequenceBatch, even_batches, to_batch
from titans_ts.plugins.genomics.coding import CodedSequences, encode_sequences
from titans_ts.plugins.genomics.labels import class_weights, hold_out, read_labels
from titans_ts.plugins.genomics.network import NetworkConfig, Readings, SequenceNetwork
from titans_ts.plugins.genomics.settings import sequence_settings, takes_sequences
from titans_ts.plugins.genomics.trunks import WordTrunk
from titans_ts.training import TrainingSettings, uses_cuda
from titans_ts.training.device import DeviceMixin
from titans_ts.training.estimators import (
    OWN,
    backbone_config,
    check_training_parameters,
    draw_seed,
    rates_around,
    stopped_early,
)

if TYPE_CHECKING:
    from titans_ts.training import TrainingResult

__all__ = ["TitansSequenceClassifier"]

# Tokens of a sequence that have a place of their own, at most.
MOST_POSITIONS = 128

# Weights that words may have beside the network.
WORD_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)

# Sequences that are read at a time outside training, and their bases with the filling.
READ_AT_ONCE = 512
MOST_BASES = 1 << 17


class TitansSequenceClassifier(DeviceMixin, SaveLoadMixin, ClassifierMixin, BaseEstimator):
    """Classify DNA sequences, given as text.

    Learnt motifs are pooled into tokens, a Titans backbone reads the tokens of either strand, and
    the counts of short words are read beside it. Sequences may differ in length.

    Parameters
    ----------
    reverse_complement : bool or "auto", default "auto"
        Whether a sequence and its reverse complement mean the same. True gives the mean of what is
        read from both strands, which is the same for a sequence and its reverse complement. False
        reads a sequence in the direction in which it is written, such as one that was aligned to
        the start of a gene. "auto" learns both readings and keeps the one with the better loss on
        the validation rows; without such rows, the direction in which it is written.
    coding : {"motifs", "kmers"}, default "motifs"
        What a token is: what motifs found in ``pool`` bases, or a word of ``k`` bases.
    motifs, motif_length : int, default 64 and 13
        How many patterns are learnt, and over how many bases, an odd number.
    pool : int, default 8
        Bases in a token of motifs.
    k : int, default 6
        Bases in a word, with ``coding="kmers"``; 1 takes single nucleotides.
    composition : int, default 8
        Length of the longest words that are counted, at most 8; 0 for none. Of the longest there
        are ``4**composition``, with a weight for each class: give a smaller number where there are
        hundreds of classes. How much words weigh is found on the validation rows; without such
        rows, it is as much as the network.
    placement : int, default 2
        Length of the longest words whose place, from a sequence's start, counts beside those; 0 for
        none. Only where the direction counts: see ``reverse_complement``.
    pretrained : TitansSequenceModel, optional
        Fitted; what it has learnt is where learning starts. Coding and backbone are then its own.
        To keep ``clone`` from clearing it, wrap it in :class:`sklearn.frozen.FrozenEstimator`, as
        :meth:`TitansSequenceModel.to_classifier` does. It is not saved: what is loaded has its
        coding and backbone as parameters, and a new ``fit`` learns them from the start.
    variant : {"mac", "mag", "mal", "lmm"}, default "mag"
        Memory as context, as gate, as layer, or the memory alone.
    dim, depth, n_heads, memory_depth, chunk_size, segment_length : int
        As for :class:`titans_ts.config.BackboneConfig`.
    backbone_options : mapping, optional
        Any other of its fields, such as ``{"momentum": False}``.
    class_weight : "balanced", dict or None, default None
        What an error in each class costs, by label: numbers of at least 0, 1 where none is given;
        "balanced" is the inverse of its frequency.
    dropout : float, default 0.1
        Of the vectors that classes are read from.
    mask_fraction : float, default 0
        Bases that are made unknown while training.
    label_smoothing : float, default 0
        Share of each training label that is spread over all classes.
    max_epochs : int, default 16
        Passes over the training rows.
    batch_size : int or "auto", default 64
        Sequences in a step of training. They are drawn by chance and filled up to the longest of
        them, so that memory grows with ``batch_size`` times the longest sequence: with the
        defaults, about 5 kB for each base of that. Take fewer, or cut what is much longer.
    learning_rate : float, default 3e-3
        At its peak.
    validation_fraction : float, default 0.1
        Rows on which learning is judged when ``fit`` is given no ``validation``: of each class its
        share, and one sequence at least where it has two. With 0 all rows are learnt.
    patience : int, default 8
        Epochs without a better validation loss before training stops.
    accelerator, devices, precision, trainer_kwargs
        As for :class:`titans_ts.TitansForecaster`.
    random_state : int, RandomState, Generator or None, default None
        Makes training repeatable; nothing global is seeded.
    verbose : int, default 0
        1 shows a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    reverse_complement_ : bool
        Whether the reading is the same for both strands.
    word_share_ : float
        Weight of the words beside the network, 0 to 1.
    model_ : SequenceNetwork
        The trained torch module.
    history_ : list of dict
        Training and validation loss of every epoch.
    best_epoch_ : int or None
        The epoch whose weights were kept.

    Examples
    --------
    >>> from titans_ts.plugins.genomics import TitansSequenceClassifier
    >>> sequences = ["TATAAATGCC", "GCCGGCATGC", "CCTATAAACG", "GGCCATCGCG"] * 10
    >>> classifier = TitansSequenceClassifier(dim=8, motifs=8, max_epochs=2, random_state=0)
    >>> classifier = classifier.fit(sequences, ["box", "none", "box", "none"] * 10)
    >>> classifier.predict_proba(["ACGTN"]).shape
    (1, 2)
    """

    model_: SequenceNetwork

    _dispensable_parameters = ("trainer_kwargs", "random_state", "pretrained")

    def __init__(
        self,
        *,
        reverse_complement: bool | str = "auto",
        coding: str = NetworkConfig.coding,
        motifs: int = NetworkConfig.motifs,
        motif_length: int = NetworkConfig.motif_length,
        pool: int = NetworkConfig.pool,
        k: int = NetworkConfig.k,
        composition: int = NetworkConfig.composition,
        placement: int = NetworkConfig.placement,
        pretrained: Any = None,
        variant: str = "mag",
        dim: int = BackboneConfig.dim,
        depth: int = BackboneConfig.depth,
        n_heads: int = BackboneConfig.n_heads,
        memory_depth: int = 1,
        chunk_size: int = 8,
        segment_length: int = BackboneConfig.segment_length,
        backbone_options: Mapping[str, Any] | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        dropout: float = NetworkConfig.dropout,
        mask_fraction: float = 0.0,
        label_smoothing: float = 0.0,
        max_epochs: int = 16,
        batch_size: int | str = 64,
        learning_rate: float = 3e-3,
        validation_fraction: float = 0.1,
        patience: int = 8,
        accelerator: str = "auto",
        devices: Any = 1,
        precision: str | None = None,
        trainer_kwargs: Mapping[str, Any] | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.reverse_complement = reverse_complement
        self.coding = coding
        self.motifs = motifs
        self.motif_length = motif_length
        self.pool = pool
        self.k = k
        self.composition = composition
        self.placement = placement
        self.pretrained = pretrained
        self.variant = variant
        self.dim = dim
        self.depth = depth
        self.n_heads = n_heads
        self.memory_depth = memory_depth
        self.chunk_size = chunk_size
        self.segment_length = segment_length
        self.backbone_options = backbone_options
        self.class_weight = class_weight
        self.dropout = dropout
        self.mask_fraction = mask_fraction
        self.label_smoothing = label_smoothing
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

    def fit(self, X: Any, y: Any, *, validation: tuple[Any, Any] | None = None) -> Self:
        """Learn the classes of sequences.

        Parameters
        ----------
        X : array-like of str, of shape (n,) or (n, 1)
            Letters of DNA or RNA, IUPAC's for several bases included, in any case.
        y : array-like of shape (n,)
            Labels: all text, or all numbers or booleans; two classes at least, and none missing.
        validation : tuple of (sequences, labels), optional
            What learning is judged on. Default: ``validation_fraction`` of the rows, drawn by
            class; copies of one sequence are kept together, and so is its reverse complement,
            unless ``reverse_complement=False``.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            A constructor value makes no sense.
        DataError
            A sequence or a label cannot be used; the message says which, and what to do.
        TrainingInterrupted
            Ctrl+C came after an epoch had been judged; the classifier is fitted with the best
            weights so far.
        """
        settings = self._check_parameters()
        sequences = encode_sequences(X)
        classes, labels = read_labels(y, len(sequences))
        weights = class_weights(self.class_weight, classes, labels)
        seed = draw_seed(self.random_state)
        if validation is None:
            rows, held = hold_out(
                sequences,
                labels,
                self.validation_fraction,
                seed,
                either_strand=bool(self.reverse_complement),
            )
            if not weights[labels[held]].any():  # such rows tell no epoch from another
                rows, held = np.arange(len(labels)), held[:0]
            judged, judged_labels = sequences.take(held), labels[held]
            sequences, labels = sequences.take(rows), labels[rows]
        else:
            if not isinstance(validation, tuple | list) or len(validation) != 2:
                raise ParameterError(
                    "validation must be a pair, (sequences, labels), got "
                    f"{validation!r:.80}. For a share of X, set validation_fraction."
                )
            with _named_validation():
                judged = encode_sequences(validation[0])
                _, judged_labels = read_labels(validation[1], len(judged), classes)
                if not weights[judged_labels].any():
                    raise DataError(
                        "class_weight makes all rows weigh 0, so that nothing can be judged by "
                        "them. Give rows of another class too, or leave validation out."
                    )
        config = self._network_config(len(classes), sequences)
        model = self._new_network(config, seed)
        result = self._train(
            model, settings, (sequences, labels), (judged, judged_labels), weights, seed
        )
        reading = self._choose_reading(model, judged, judged_labels, weights)
        # All at once: until here a fit that fails leaves what an earlier one has learnt whole.
        self._forget_device()
        self.classes_, self.model_ = classes, model
        self.reverse_complement_, self.word_share_ = reading
        self.history_, self.best_epoch_ = result.history, result.best_epoch
        if result.interrupted:
            raise stopped_early(self)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable label of each sequence, shape (n,)."""
        places = self.predict_log_proba(X).argmax(1)
        return self.classes_[places]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, in the order of ``classes_``.

        Parameters
        ----------
        X : array-like of str, of shape (n,) or (n, 1)

        Returns
        -------
        ndarray of shape (n, n_classes)
        """
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithm of :meth:`predict_proba`."""
        check_is_fitted(self)
        sequences = encode_sequences(X)
        symmetric, directed = _logits(self._model_in_place(), sequences, self._device())
        return self._mix(symmetric if self.reverse_complement_ else directed, self.word_share_)

    def embed(self, X: Any) -> np.ndarray:
        """Return a vector for each sequence: what classes are read from, both strands averaged.

        Parameters
        ----------
        X : array-like of str, of shape (n,) or (n, 1)

        Returns
        -------
        ndarray of shape (n, 2 * dim), float32
        """
        check_is_fitted(self)
        sequences = encode_sequences(X)
        model = self._model_in_place()
        out = np.empty((len(sequences), model.hidden.out_features), np.float32)
        with torch.inference_mode():
            for rows, batch in _batches(sequences, self._device()):
                written, opposite = model.strand_vectors(batch.codes, batch.lengths)
                out[rows] = ((written + opposite) / 2).float().cpu().numpy()
        return out

    def __sklearn_tags__(self) -> Any:
        return takes_sequences(super().__sklearn_tags__())

    # -- for SaveLoadMixin ----------------------------------------------------------------------

    def default_search_space(self) -> dict[str, Any]:
        """What :class:`~titans_ts.TitansSearchCV` varies where it is given nothing else.

        How fast it learns, what is dropped, how labels are smoothed and how long the counted words
        are; around the classifier's own values, which are among them.

        Returns
        -------
        dict
            Lists and distributions of :mod:`scipy.stats`, to be changed and given as
            ``param_distributions``.
        """
        from scipy.stats import uniform

        return {
            "learning_rate": rates_around(self.learning_rate),
            "dropout": uniform(0, max(0.3, self.dropout)),
            "label_smoothing": sorted({0.0, 0.05, 0.1, self.label_smoothing}),
            "composition": sorted({0, 4, 6, 8, self.composition}),
        }

    def _fitted_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        values = {
            "network": asdict(self.model_.config),
            "backbone": asdict(self.model_.trunk.backbone_config),
            "classes": self.classes_.tolist(),
            "class_kind": self.classes_.dtype.str,
            "pretrained": self.pretrained is not None,
            "reverse_complement": self.reverse_complement_,
            "word_share": self.word_share_,
            "history": self.history_,
            "best_epoch": self.best_epoch_,
        }
        return values, weights_to_arrays(self.model_)

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        # A model that was saved before words had places has none of their weights.
        network, backbone = {"placement": 0} | values["network"], values["backbone"]
        classes = values["classes"]
        if not isinstance(classes, list) or network["n_classes"] != len(classes):
            raise ValueError(f"{network['n_classes']} classes, and the labels {classes!r:.80}")
        self.model_ = module_from_arrays(
            lambda: SequenceNetwork(NetworkConfig(**network), BackboneConfig(**backbone)),
            arrays,
            # Words are counted by powers of their length, which is what sizes their weights.
            {
                **network,
                **backbone,
                "composition": 4 ** min(int(network["composition"]), 30),
                "placement": 4 ** min(int(network["placement"]), 30),
            },
        )
        self.classes_ = np.array(classes, dtype=_kind(values["class_kind"]))
        check_choice("reverse_complement", values["reverse_complement"], (True, False))
        self.reverse_complement_ = values["reverse_complement"]
        check_number("word_share", values["word_share"], minimum=0, maximum=1)
        self.word_share_ = values["word_share"]
        self.history_, self.best_epoch_ = values["history"], values["best_epoch"]
        if values.get("pretrained"):
            # The model that said so is not saved, and a new fit is to learn the same network.
            self.coding, self.k = network["coding"], network["k"]
            for name in OWN:
                setattr(self, name, backbone[name])
            usual = asdict(BackboneConfig())
            self.backbone_options = {
                name: value
                for name, value in backbone.items()
                if name not in OWN and value != usual[name]
            } or None

    # -- inside ---------------------------------------------------------------------------------

    def _check_parameters(self) -> TrainingSettings:
        from titans_ts.training import check_settings  # imports Lightning

        check_choice("reverse_complement", self.reverse_complement, (True, False, "auto"))
        check_choice("coding", self.coding, ("motifs", "kmers"))
        for name in ("motifs", "motif_length", "pool", "k"):
            check_int(name, getattr(self, name))
        for name in ("composition", "placement"):
            check_int(name, getattr(self, name), minimum=0)
        for name, most in (("k", 8), ("composition", 8), ("placement", 4)):
            if getattr(self, name) > most:
                raise ParameterError(
                    f"{name} must be at most {most}, since there are 4 ** {name} words; got "
                    f"{getattr(self, name)}."
                )
        if not self.motif_length % 2:
            raise ParameterError(
                f"motif_length must be odd, so that a motif has a centre; got {self.motif_length}."
            )
        check_training_parameters(self)
        check_number("dropout", self.dropout, minimum=0, maximum=0.95)
        check_number("mask_fraction", self.mask_fraction, minimum=0, maximum=0.95)
        check_number("label_smoothing", self.label_smoothing, minimum=0, maximum=0.95)
        if self.pretrained is None:
            backbone_config(self)
        else:
            self._pretrained_model()
        settings = sequence_settings(self)
        check_settings(settings)
        return settings

    def _pretrained_model(self) -> Any:
        """The model to start from, out of its wrapping."""
        from titans_ts.plugins.genomics.sequence_model import TitansSequenceModel

        model = self.pretrained
        if isinstance(model, FrozenEstimator):
            model = model.estimator
        if not isinstance(model, TitansSequenceModel):
            raise ParameterError(
                "pretrained must be a fitted TitansSequenceModel, or one in a FrozenEstimator; got "
                f"a {type(model).__name__}."
            )
        if not hasattr(model, "model_"):
            raise ParameterError(
                "pretrained is a TitansSequenceModel that is not fitted. scikit-learn's clone "
                "clears what was fitted; give FrozenEstimator(model), or make the classifier by "
                "model.to_classifier()."
            )
        return model

    def _network_config(self, n_classes: int, sequences: CodedSequences) -> NetworkConfig:
        coding, k = self.coding, self.k
        if self.pretrained is not None:
            coding, k = "kmers", self._pretrained_model().k_
        length = self.pool if coding == "motifs" else k
        longest = -(-int(sequences.lengths.max()) // length)
        return NetworkConfig(
            n_classes=n_classes,
            coding=coding,
            motifs=self.motifs,
            motif_length=self.motif_length,
            pool=self.pool,
            k=k,
            n_positions=min(longest, MOST_POSITIONS),
            composition=self.composition,
            placement=self.placement,
            dropout=self.dropout,
        )

    def _new_network(self, config: NetworkConfig, seed: int) -> SequenceNetwork:
        with OwnRandom(seed):
            if self.pretrained is None:
                return SequenceNetwork(config, backbone_config(self))
            learnt = self._pretrained_model().model_
            model = SequenceNetwork(config, learnt.backbone.config)
        assert isinstance(model.trunk, WordTrunk)
        model.trunk.load_learnt(learnt)
        return model

    def _train(
        self,
        model: SequenceNetwork,
        settings: TrainingSettings,
        training: tuple[CodedSequences, np.ndarray],
        validation: tuple[CodedSequences, np.ndarray],
        weights: np.ndarray,
        seed: int,
    ) -> TrainingResult:
        """Train a network in place."""
        from titans_ts.plugins.genomics.training import (
            ClassifierModule,
            JudgedBatches,
            LabelledBatches,
        )
        from titans_ts.training import Prepared, run_training

        names: tuple[str, ...] = Readings._fields
        if self.reverse_complement != "auto":
            names = ("symmetric",) if self.reverse_complement else ("directed",)
        readings = {name: len(self._word_shares(name == "symmetric")) > 1 for name in names}

        def prepare(batch_size: int) -> Prepared:
            module = ClassifierModule(
                model,
                settings,
                readings=readings,
                class_weights=torch.from_numpy(weights).float(),
                mask_fraction=self.mask_fraction,
                label_smoothing=self.label_smoothing,
            )
            batches = LabelledBatches(*training, batch_size, seed)
            if not len(validation[0]):
                return Prepared(module, batches)
            rows = _read_side_by_side(validation[0])
            return Prepared(module, batches, JudgedBatches(*validation, rows))

        return run_training(prepare, settings, seed=seed)

    def _choose_reading(
        self,
        model: SequenceNetwork,
        judged: CodedSequences,
        labels: np.ndarray,
        weights: np.ndarray,
    ) -> tuple[bool, float]:
        """Choose strands and the weight of words by the loss on the validation rows."""
        given = self.reverse_complement
        strands = (True, False) if given == "auto" else (bool(given),)
        if not len(judged):
            return strands[-1], 0.5 if len(self._word_shares(strands[-1])) > 1 else 0.0
        # Where ``accelerator`` says: a device that was named is that of the model before.
        device = torch.device("cuda" if uses_cuda(self.accelerator) else "cpu")
        logits = _logits(model.to(device).eval(), judged, device)
        rows = np.arange(len(judged))
        # What an error costs here is what it cost in training.
        costs = weights[labels]
        losses = {
            (symmetric, share): -costs @ self._mix(logits[int(not symmetric)], share)[rows, labels]
            for symmetric in strands
            for share in self._word_shares(symmetric)
        }
        return min(losses, key=lambda pair: losses[pair])

    def _word_shares(self, symmetric: bool) -> tuple[float, ...]:
        """Weights that words may have in a reading: none where they say nothing in it."""
        counted = self.composition or (self.placement and not symmetric)
        return WORD_SHARES if counted else (0.0,)

    @staticmethod
    def _mix(logits: np.ndarray, share: float) -> np.ndarray:
        """Logarithms of probabilities, of logits by the network and by words."""
        mixed = (1 - share) * logits[0] + share * logits[1]
        logs: np.ndarray = log_softmax(mixed, axis=-1)
        return logs


def _logits(model: SequenceNetwork, sequences: CodedSequences, device: torch.device) -> np.ndarray:
    """Logits, shape (2, 2, n, n_classes): symmetric and directed, by network and by words."""
    # In double precision, so that probabilities add up to one.
    out = np.empty((2, 2, len(sequences), model.config.n_classes))
    with torch.inference_mode():
        for rows, batch in _batches(sequences, device):
            for i, logits in enumerate(model(batch.codes, batch.lengths)):
                out[i][:, rows] = logits.cpu().numpy()
    return out


def _read_side_by_side(sequences: CodedSequences) -> Iterator[np.ndarray]:
    """Rows of batches to read without a gradient."""
    return even_batches(sequences, READ_AT_ONCE, most_bases=MOST_BASES)


def _batches(
    sequences: CodedSequences, device: torch.device
) -> Iterator[tuple[np.ndarray, SequenceBatch]]:
    for rows in _read_side_by_side(sequences):
        codes, lengths, _ = to_batch(sequences, rows)
        yield rows, SequenceBatch(codes.to(device), lengths.to(device))


@contextmanager
def _named_validation() -> Iterator[None]:
    """Say of an error that it is in ``validation``: X and y have sequences and labels too."""
    try:
        yield
    except DataError as error:
        raise type(error)(f"In validation: {error}") from error


def _kind(name: Any) -> np.dtype[Any]:
    kind = np.dtype(name if name != "|O" else object)
    if kind.kind not in "biufUO":
        raise ValueError(f"labels of the type {str(name)[:40]!r}")
    return kind
