"""What every transformer of series shares: tables in, the same tables out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from sklearn import get_config
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from titans_ts.data.tables import build_table, open_table
from titans_ts.errors import DataError
from titans_ts.parameters import check_choice
from titans_ts.preprocessing.panel import Panel
from titans_ts.preprocessing.source import Source, open_panel

__all__ = ["SeriesTransformer", "TableTransformer"]

# The ids of a fitted transformer and where each stands, which every batch of windows asks for.
# Beside the transformers, whose attributes are saved and compared.
_PLACES: WeakKeyDictionary[SeriesTransformer, tuple[tuple[Any, ...], dict[Any, int]]] = (
    WeakKeyDictionary()
)


class TableTransformer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Common part of all transformers, also of those that change rows; not for direct use."""

    # What subclasses store in __init__.
    id_column: str | None
    time_column: str | None
    target: str | Sequence[str] | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # scikit-learn would wrap transform, but it knows no panels, and none of our frames should
        # lose its index: set_output is our own.
        super().__init_subclass__(auto_wrap_output_keys=None, **kwargs)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Set what :meth:`transform` returns.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, optional
            ``"default"``: the kind of table that comes in. A frame keeps its index and column
            names, an array gets those of :meth:`get_feature_names_out`. None changes nothing.

        Returns
        -------
        self
        """
        if transform is not None:
            check_choice("transform", transform, ("default", "pandas", "polars"))
            self._sklearn_output_config = {"transform": transform}
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _check_parameters(self) -> None:
        """Raise ParameterError for a bad constructor value; called first in ``fit``."""

    def _open(self, X: Any, *, fit: bool = False) -> tuple[Panel, Source]:
        panel, source = open_panel(
            X,
            id_column=self.id_column,
            time_column=self.time_column,
            target=self.target,
            carry=getattr(self, "carry", None),
        )
        # Arrays of three axes and series have no columns that scikit-learn could count.
        columns = X
        if source.table is None:
            columns = panel.values
        elif source.table.container.endswith("Series"):
            columns = X.to_frame()
        validate_data(self, columns, reset=fit, skip_check_array=True)
        return panel, source

    def _deliver(self, result: Any) -> Any:
        """Turn a result into what :meth:`set_output` asks for."""
        own = getattr(self, "_sklearn_output_config", {})
        wanted = own.get("transform", get_config()["transform_output"])
        if wanted == "default":
            return result
        if isinstance(result, np.ndarray):
            if result.ndim == 3:
                raise DataError(
                    f"An array of shape {result.shape} makes no frame of {wanted}. Leave "
                    "set_output at 'default', or give a long frame."
                )
            names = self.get_feature_names_out()
            result = pd.DataFrame(result, columns=names)
        table = open_table(result)
        assert table is not None
        container = f"{wanted}.DataFrame"
        if table.container == container:
            return result
        labels = [self.get_feature_names_out()[0] if x is None else x for x in table.labels]
        columns = list(zip(labels, table.columns, strict=True))
        return build_table(container, columns, table.index, table.columns_name)


class SeriesTransformer(TableTransformer):
    """Common part of the transformers that keep rows; not for direct use.

    A subclass turns blocks of equally long series, shape (n, time, channels), NaN where a value is
    missing. ``numbers`` says which of the series seen in ``fit`` they are, -1 for others.
    """

    #: Whether neighbouring rows must be one step of time apart.
    _regular: ClassVar[bool] = False
    #: Fitted attributes, in the order in which they are saved.
    _learnt: ClassVar[tuple[str, ...]] = ()

    # -- what a subclass provides -------------------------------------------------------------

    def _learn(self, panel: Panel) -> None:
        """Learn from the training rows; set the attributes that ``_learnt`` names."""

    def _check_values(self, panel: Panel) -> None:
        """Raise DataError for values that cannot be transformed."""

    def _forward(self, block: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Transform a block."""
        raise NotImplementedError

    def _backward(
        self, block: np.ndarray, numbers: np.ndarray, before: np.ndarray | None = None
    ) -> np.ndarray:
        """Undo :meth:`_forward`; ``before`` are the untransformed rows right before the block."""
        raise NotImplementedError

    def _settled(self, observed: np.ndarray) -> np.ndarray:
        """Which values of a transformed block say what they say everywhere; same shape."""
        return observed

    @property
    def _rows_before(self) -> int:
        """How many rows before a block it takes to undo it."""
        return 0

    # -- the scikit-learn API -----------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from the training rows.

        Parameters
        ----------
        X : array of shape (time, channels) or (series, time, channels), Series or DataFrame
        y : None
            Ignored; here because scikit-learn passes one.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            A constructor value makes no sense.
        DataError
            The table cannot be used; the message says where and what to do.
        """
        self._check_parameters()
        panel, _ = self._open(X, fit=True)
        return self.fit_panel(panel)

    def transform(self, X: Any) -> Any:
        """Transform a table like that of :meth:`fit`.

        Parameters
        ----------
        X : like X of ``fit``

        Returns
        -------
        array, Series or DataFrame
            The same table with other numbers: rows, index, ids and other columns are kept.
        """
        check_is_fitted(self)
        panel, source = self._open(X)
        return self._deliver(source.put(self.transform_panel(panel)))

    def inverse_transform(self, X: Any) -> Any:
        """Undo :meth:`transform`.

        Parameters
        ----------
        X : like what ``transform`` returns

        Returns
        -------
        array, Series or DataFrame
            The same kind of table, in the data's own units.
        """
        check_is_fitted(self)
        panel, source = self._open(X)
        return source.put(self.inverse_panel(panel))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "ids_")

    # -- the same on panels, for forecasters --------------------------------------------------

    def fit_panel(self, panel: Panel) -> Self:
        """Learn from a panel."""
        if self._regular:
            panel.check_regular()
        self._learn(panel)
        self.ids_ = panel.ids
        return self

    def transform_panel(self, panel: Panel) -> np.ndarray:
        """Return transformed values of a panel, shape (rows, channels)."""
        if self._regular:
            panel.check_regular()
        self._check_values(panel)
        return self._map(panel, self._forward)

    def inverse_panel(self, panel: Panel) -> np.ndarray:
        """Undo :meth:`transform_panel`."""
        return self._map(panel, self._backward)

    def numbers(self, ids: Sequence[Any]) -> np.ndarray:
        """Which of the series seen in ``fit`` have these ids; -1 for others."""
        known, places = _PLACES.get(self, (None, {}))
        if known is not self.ids_:
            places = {name: number for number, name in enumerate(self.ids_)}
            _PLACES[self] = self.ids_, places
        return np.array([places.get(name, -1) for name in ids], dtype=np.int64)

    def _map(self, panel: Panel, function: Any) -> np.ndarray:
        numbers = self.numbers(panel.ids)
        out = np.empty_like(panel.values)
        for series, rows in panel.blocks():
            out[rows] = function(panel.values[rows], numbers[series])
        return out
