"""TitansForecaster: the Titans backbone behind fit and predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from os import PathLike
from typing import Any, Self

import numpy as np
import torch

from titans_ts.base import BaseForecaster
from titans_ts.config import BackboneConfig
from titans_ts.data.moments import channel_scale, moments, pooled_moments, table_moments
from titans_ts.data.seasons import season_candidates
from titans_ts.data.series import SeriesSet
from titans_ts.data.training_windows import TrainingWindows
from titans_ts.data.windows import CutWindows
from titans_ts.errors import DataError, ParameterError, SavedModelError
from titans_ts.heads.forecast.head import ForecastConfig
from titans_ts.heads.forecast.losses import make_loss
from titans_ts.heads.forecast.model import ForecastModel
from titans_ts.heads.forecast.rebuild import rebuild_model
from titans_ts.nn.own_random import OwnRandom
from titans_ts.parameters import check_choice, check_int, check_quantiles
from titans_ts.training import TrainingSettings
from titans_ts.training.checkpoint import CheckpointFolder, check_checkpoint_path
from titans_ts.training.data import to_batch
from titans_ts.training.device import DeviceMixin
from titans_ts.training.estimators import (
    backbone_config,
    check_training_parameters,
    draw_seed,
    fixed_seed,
    stopped_early,
    training_settings,
)
from titans_ts.training.identity import fingerprint_of_windows

__all__ = ["TitansForecaster"]

# Sequences forecast at a time: what 1,024 of them need stays under 500 MB at default size.
FORECAST_ROWS = 1024


class TitansForecaster(DeviceMixin, BaseForecaster):
    """Forecast multivariate series with a model that keeps learning while it predicts.

    A Titans backbone (Behrouz et al., 2024, arXiv:2501.00663) reads each channel in patches:
    attention is its short-term memory, a small network whose weights are updated as it reads its
    long-term memory. A linear highway from the last steps to the horizon runs beside it.

    Parameters
    ----------
    horizon : int, default 24
        Steps to forecast.
    context_length : int, default 1024
        Steps that are read before forecasting. Short series are given half their length at most,
        and the other lengths follow, so that every context has 4 segments and 8 chunks.
    variant : {"mac", "mag", "mal", "lmm"}, default "mac"
        Memory as context, as gate, as layer, or the memory alone.
    quantiles : sequence of float, optional
        Fractions to train for; ``predict(quantiles=...)`` then gives them.
    freq : str, optional
        Frequency of the rows, as pandas writes it; default: inferred.
    time_column : str, optional
        The column with time stamps; default: the index, or the column that holds them.
    id_column : str, optional
        In a long frame, the column that tells its series apart; default: ``unique_id`` or
        ``item_id`` where there is one.
    target : str or list of str, optional
        Columns to forecast; default: all that have no other role.
    past_covariates, future_covariates, static_covariates : str or list of str, optional
        Columns that help to forecast: known up to now; known in advance too, which
        ``predict(future=...)`` then needs; and the same in all rows of a series. Numbers, True
        and False, or text and other categories.
    calendar : bool or list of str, default False
        True adds sine and cosine of hour, weekday and so on, as the frequency suggests, to what is
        known in advance; a list names them, as for
        :class:`titans_ts.CalendarFeatures`. Counted in the time zone of the table
        given to ``fit``.
    holidays : str, optional
        With ``calendar``, a country such as "DE" whose holidays are known in advance; needs the
        extra ``holidays``.
    target_transform : transformer, optional
        Any scikit-learn transformer with ``inverse_transform``, or a Pipeline of some. It is
        fitted on the training rows, and undone in ``predict`` and ``score``.
    patch_length : int, default 32
        Steps in a token; at most a 32nd of the context.
    dim : int, default 32
        Width of a token.
    depth : int, default 1
        Number of Titans blocks; 0 leaves the linear highway alone. It reads future covariates and
        the calendar, and static ones beside these, but no past covariates.
    n_heads : int, default 1
        Heads of attention and memory.
    memory_depth : int, default 2
        Layers of the memory's network, 1 to 4.
    chunk_size : int, default 4
        Tokens whose surprise is measured at the same memory; at most an eighth of a context.
    segment_length : int, default 8
        Tokens that attention sees at once in MAC; in MAG and MAL it sees two of these, or
        ``window`` of ``backbone_options``. At most a quarter of a context, in whole chunks.
    loss : {"mae", "mse", "huber", "pinball", "student_t"}, default "mae"
        With quantiles, "mae" means the pinball loss.
    normalisation : {"running", "window"}, default "running"
        Statistics that are taken out of the patches: of what came up to each, which trains on a
        forecast after every patch; or of the whole context, one forecast a window.
    highway : bool, default True
        Whether the linear map runs beside the backbone.
    channel_mixing : bool, default False
        Whether a channel's forecast may use the other channels.
    backbone_options : mapping, optional
        Any other field of :class:`titans_ts.config.BackboneConfig`, such as
        ``{"momentum": False}``.
    max_epochs : int, default 8
        Passes over the data; one pass draws a window for every ``patch_length`` origins,
        and more where that would be less than 50 steps.
    batch_size : int or "auto", default 64
        Sequences in a training step; "auto" is 64, halved until a step fits in memory.
    learning_rate : float, default 2e-3
        At its peak, after a warm-up; a cosine takes it to zero.
    validation_fraction : float, default 0.2
        Last rows on which learning is judged when ``fit`` is given no ``validation``.
    patience : int, default 4
        Epochs without a better validation loss before training stops.
    accelerator : str, default "auto"
        As Lightning's Trainer takes it; "auto" is a CUDA GPU where there is one, else the CPU.
    devices : default 1
        As Lightning's Trainer takes it.
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
    model_ : ForecastModel
        The trained torch module.
    history_ : list of dict
        Training loss of every epoch, and validation loss of every epoch that was judged.
    best_epoch_ : int or None
        The epoch whose weights were kept.
    batch_size_ : int
        Sequences in a training step, as trained.
    context_length_ : int
        Steps that are really read.
    n_features_in_, feature_names_in_, freq_
        What ``fit`` saw.

    Examples
    --------
    >>> from titans_ts import TitansForecaster
    >>> from titans_ts.datasets import make_transformer_station
    >>> station = make_transformer_station(600, freq="h", random_state=0)
    >>> forecaster = TitansForecaster(horizon=24, max_epochs=1, random_state=0)
    >>> forecaster.fit(station).predict().shape
    (24, 7)
    """

    # A head speaks of what its loss was for.
    _shaping = (*BaseForecaster._shaping, "loss")

    def __init__(
        self,
        *,
        horizon: int = 24,
        context_length: int = 1024,
        variant: str = BackboneConfig.variant,
        quantiles: Sequence[float] | None = None,
        freq: str | None = None,
        time_column: str | None = None,
        id_column: str | None = None,
        target: str | list[str] | None = None,
        past_covariates: str | list[str] | None = None,
        future_covariates: str | list[str] | None = None,
        static_covariates: str | list[str] | None = None,
        calendar: bool | list[str] = False,
        holidays: str | None = None,
        target_transform: Any = None,
        patch_length: int = ForecastConfig.patch_length,
        dim: int = BackboneConfig.dim,
        depth: int = BackboneConfig.depth,
        n_heads: int = BackboneConfig.n_heads,
        memory_depth: int = BackboneConfig.memory_depth,
        chunk_size: int = BackboneConfig.chunk_size,
        segment_length: int = BackboneConfig.segment_length,
        loss: str = ForecastConfig.loss,
        normalisation: str = ForecastConfig.normalisation,
        highway: bool = True,
        channel_mixing: bool = False,
        backbone_options: Mapping[str, Any] | None = None,
        max_epochs: int = 8,
        batch_size: int | str = 64,
        learning_rate: float = 2e-3,
        validation_fraction: float = 0.2,
        patience: int = 4,
        accelerator: str = "auto",
        devices: Any = 1,
        precision: str | None = None,
        trainer_kwargs: Mapping[str, Any] | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.horizon = horizon
        self.context_length = context_length
        self.variant = variant
        self.quantiles = quantiles
        self.freq = freq
        self.time_column = time_column
        self.id_column = id_column
        self.target = target
        self.past_covariates = past_covariates
        self.future_covariates = future_covariates
        self.static_covariates = static_covariates
        self.calendar = calendar
        self.holidays = holidays
        self.target_transform = target_transform
        self.patch_length = patch_length
        self.dim = dim
        self.depth = depth
        self.n_heads = n_heads
        self.memory_depth = memory_depth
        self.chunk_size = chunk_size
        self.segment_length = segment_length
        self.loss = loss
        self.normalisation = normalisation
        self.highway = highway
        self.channel_mixing = channel_mixing
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

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        validation: Any = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> Self:
        """Learn to forecast from a table of series.

        Parameters
        ----------
        X : array of shape (time, channels) or (series, time, channels), Series or DataFrame
            Regularly spaced rows, oldest first. A frame carries time in a ``DatetimeIndex`` or in
            a time column.
        y : array or Series, optional
            Here because scikit-learn passes one, and ignored: a forecaster learns to continue X
            itself. One that says something else than X's target is refused: another number of
            rows than X, or a Series or frame with another name.
        validation : int, array or frame, optional
            Rows on which learning is judged: a number of last rows of X, or a table like X whose
            rows follow it. Default: the last ``validation_fraction`` of X.
        checkpoint : str or path-like, optional
            A folder for the progress of this one fit, made if it is not there. After a crash, the
            same call goes on from there, and ends with the figures of an undisturbed fit. Once the
            fit has ended, the same call returns what came of it; delete the folder to train anew.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            A constructor value makes no sense.
        DataError
            The table cannot be used; the message says where and what to do.
        CheckpointError
            The progress in ``checkpoint`` is that of another fit, or damaged.
        DeviceMemoryError
            A step does not fit in memory; the message says what would.
        NonFiniteLossError
            The loss became NaN or infinite; the message says on which rows.
        TrainingInterrupted
            Ctrl+C, a KeyboardInterrupt, came after an epoch had been judged: the forecaster is
            fitted with the best weights so far. Before, it is a plain KeyboardInterrupt, and
            nothing is fitted.

        Examples
        --------
        >>> from titans_ts import TitansForecaster
        >>> from titans_ts.datasets import make_transformer_station
        >>> station = make_transformer_station(600, freq="h", random_state=0)
        >>> forecaster = TitansForecaster(horizon=24, max_epochs=1, random_state=0)
        >>> folder = getfixture("tmp_path") / "progress"
        >>> forecaster.fit(station, checkpoint=folder).predict().shape
        (24, 7)
        """
        if checkpoint is None:
            return self._fit(X, y, validation, self._fit_windows)
        check_checkpoint_path(checkpoint)
        return self._fit(X, y, validation, partial(self._fit_windows, checkpoint=checkpoint))

    # -- what BaseForecaster asks for -----------------------------------------------------------

    def _check_parameters(self) -> None:
        from titans_ts.training import check_settings  # imports Lightning

        super()._check_parameters()
        check_int("patch_length", self.patch_length)
        check_int("depth", self.depth, minimum=0)
        check_training_parameters(self)
        for name in ("highway", "channel_mixing"):
            check_choice(name, getattr(self, name), (True, False))
        check_choice("normalisation", self.normalisation, ("running", "window"))
        make_loss(self.loss, check_quantiles("quantiles", self.quantiles))
        if not self.depth and not self.highway:
            raise ParameterError(
                "depth=0 leaves the linear highway alone, and highway=False takes it away: nothing "
                "would be left to learn. Set depth to at least 1, or highway=True."
            )
        if not self.depth and self.channel_mixing:
            raise ParameterError("channel_mixing=True needs a backbone; set depth to at least 1.")
        if self.holidays is not None and not self._has_calendar():
            raise ParameterError(
                f"holidays={self.holidays!r} goes with calendar=True or a list of features; "
                "calendar is False, so they would not be used."
            )
        self._backbone_config()
        check_settings(self._settings())

    def _shortest_context(self) -> int:
        # One patch, as short as it is in a context of the length asked for.
        return self._patch_length(self.context_length)

    def _round_context(self, length: int) -> int:
        patch = self._patch_length(length)
        return length // patch * patch

    def _fit_windows(
        self, windows: TrainingWindows, *, checkpoint: str | PathLike[str] | None = None
    ) -> None:
        from titans_ts.training import train  # imports Lightning

        seed, progress = draw_seed(self.random_state), None
        rows = windows.train.series
        head, backbone, n_origins = shape = self._configs(rows)
        if checkpoint is not None:
            progress = CheckpointFolder.open(
                checkpoint,
                self.get_params(deep=False),
                fingerprint_of_windows(windows, *shape),
                fixed_seed(self.random_state, seed),
                draw=seed,
            )
            seed = progress.seed
        self._forget_device()
        of_channels = moments(rows)
        with OwnRandom(seed):
            model = ForecastModel(head, backbone)
        model.head.set_typical(*pooled_moments(of_channels))
        if model.head.covariates is not None:
            for name, columns in (("past", rows.past), ("known", rows.known)):
                if columns is not None:
                    model.head.covariates.set_statistics(name, *pooled_moments(moments(columns)))
            if rows.static is not None:
                model.head.covariates.set_statistics("static", *table_moments(rows.static))
        result = train(
            model,
            windows,
            channel_scale(of_channels),
            self._settings(),
            n_origins=n_origins,
            seed=seed,
            checkpoint=progress,
        )
        self.model_ = model
        self.history_, self.best_epoch_ = result.history, result.best_epoch
        self.batch_size_ = result.batch_size
        if result.interrupted:
            raise stopped_early(self)

    def _forecast(
        self, windows: CutWindows, quantiles: tuple[float, ...] | None = None
    ) -> np.ndarray:
        model, device = self._model_in_place(), self._device()
        n, _, n_channels = windows.context.shape
        mixing = model.head.config.channel_mixing
        # Sequences at a time: whole windows, or where a table is very wide, some of its channels.
        wide = n_channels if mixing else min(n_channels, FORECAST_ROWS)
        many = max(FORECAST_ROWS // wide, 1)
        levels = () if quantiles is None else (len(quantiles),)
        forecast = np.empty((n, self.horizon, n_channels, *levels))
        for first in range(0, n_channels, wide):
            channels = np.arange(first, min(first + wide, n_channels))
            for start in range(0, n, many):
                now = slice(start, start + many)
                batch = to_batch(_part(windows, now, channels), np.ones((1, 1)), channels[None])
                with torch.inference_mode():
                    parameters = model.forecast(batch.to(device))
                    output = model.head.to_output(parameters, quantiles)
                forecast[now, :, channels[0] : channels[-1] + 1] = output[:, -1].cpu().numpy()
        wrong = ~np.isfinite(forecast)
        if wrong.any():
            name = self.layout_.channels[int(np.argwhere(wrong)[0][2])]
            raise DataError(
                f"Column {name!r} cannot be forecast from values as large as "
                f"{np.abs(windows.context).max():.3g}, whose squares are beyond the numbers that "
                "there are. Correct them, or set them missing (NaN) if that is what they mean."
            )
        return forecast

    def _fitted_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        backbone = self.model_.backbone
        values = {
            "head": asdict(self.model_.head.config),
            "backbone": None if backbone is None else asdict(backbone.config),
            "history": self.history_,
            "best_epoch": self.best_epoch_,
            "batch_size": self.batch_size_,
        }
        arrays = {f"model.{k}": v.cpu().numpy() for k, v in self.model_.state_dict().items()}
        return values, arrays

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        try:
            head = dict(values["head"])
            head["quantiles"] = check_quantiles("quantiles", head["quantiles"])
            for role in ("past", "known", "static"):
                head[role] = tuple(head[role])
            if head["horizon"] != self.horizon or head["loss"] != self.loss:
                raise ValueError(f"a head for horizon={head['horizon']!r}, loss={head['loss']!r}")
            longest = int(self.context_.lengths.max())
            if not head["highway_length"] <= self.context_length_ <= longest:
                raise ValueError(f"a context of {self.context_length_} steps, {longest} are kept")
            weights = {
                name.removeprefix("model."): torch.from_numpy(array.copy())
                for name, array in arrays.items()
                if name.startswith("model.")
            }
            model = rebuild_model(head, values["backbone"], weights)
            self.history_, self.best_epoch_ = values["history"], values["best_epoch"]
            if "batch_size" in values:  # written since it may be found
                self.batch_size_ = values["batch_size"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise SavedModelError(
                f"The saved model does not fit its own description: {error}. Save it again."
            ) from error
        self.model_ = model.eval()

    # -- inside ---------------------------------------------------------------------------------

    def _settings(self) -> TrainingSettings:
        parameters = self.get_params(deep=False)
        del parameters["trainer_kwargs"]  # where loggers themselves are
        return training_settings(self, hyperparameters=parameters)

    def _backbone_config(self) -> BackboneConfig:
        """The backbone as asked for, before lengths are fitted to the context."""
        return backbone_config(self, depth=max(self.depth, 1))

    def _patch_length(self, context_length: int) -> int:
        return min(self.patch_length, self._longest_patch(context_length))

    @staticmethod
    def _longest_patch(context_length: int) -> int:
        # At least 32 patches, hence 4 segments of 8 and 8 chunks of 4, where there are that many
        # rows.
        return max(context_length // 32, 1)

    def _configs(self, rows: SeriesSet) -> tuple[ForecastConfig, BackboneConfig | None, int]:
        """Head and backbone with lengths that fit the context, and origins to train per window."""
        context = self.context_length_
        patch = self._patch_length(context)
        n_tokens = context // patch
        dense = self.normalisation == "running"
        # Forecasts are trained after every patch of the second half; the first half is what the
        # highway and the memory have read by then.
        n_origins = n_tokens // 2 + 1 if dense else 1
        reach = context - (n_origins - 1) * patch
        head = ForecastConfig(
            horizon=self.horizon,
            patch_length=patch,
            highway_length=reach if self.highway else 0,
            normalisation=self.normalisation,
            running_memory=reach,
            loss=self.loss,
            quantiles=check_quantiles("quantiles", self.quantiles),
            channel_mixing=self.channel_mixing,
            past=_cardinalities(rows.past, self.layout_.covariates.cardinalities("past")),
            known=_cardinalities(rows.known, self.layout_.covariates.cardinalities("known")),
            static=self.layout_.covariates.cardinalities("static"),
            season=_season(self.freq if self.freq_ is None else self.freq_, reach),
            n_channels=len(rows.channels),
        )
        if not self.depth:
            return head, None, n_origins
        chunk = min(self.chunk_size, max(n_tokens // 8, 1))
        segment, longest = self.segment_length, max(n_tokens // 4, 1)
        if segment > longest:  # whole chunks then, since MAC's chunks start where segments do
            segment = longest // chunk * chunk
        config = replace(self._backbone_config(), chunk_size=chunk, segment_length=segment)
        return head, config, n_origins


def _season(freq: str | None, reach: int) -> int:
    """The shortest season that a frequency suggests; 0 where there is none within reach."""
    return next((season for season in season_candidates(freq) if season < reach), 0)


def _cardinalities(columns: SeriesSet | None, named: tuple[int, ...]) -> tuple[int, ...]:
    """Those of the columns that the user named, and of the calendar's behind them: numbers."""
    n = 0 if columns is None else len(columns.channels)
    return (*named, *(0,) * (n - len(named)))


def _part(windows: CutWindows, now: slice, channels: np.ndarray) -> CutWindows:
    """Some windows, with some of their channels."""
    cut = CutWindows(*(None if array is None else array[now] for array in windows))  # type: ignore[arg-type]
    if len(channels) == windows.context.shape[2]:
        return cut
    return cut._replace(
        context=cut.context[:, :, channels],
        context_observed=cut.context_observed[:, :, channels],
        target=cut.target[:, :, channels],
        target_observed=cut.target_observed[:, :, channels],
    )
