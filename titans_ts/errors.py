"""The errors that titans_ts raises on purpose.

Each is also the builtin that a caller would expect, so ``except ValueError`` keeps working.
A forecaster that is used before ``fit`` raises :class:`sklearn.exceptions.NotFittedError`.
"""


class TitansError(Exception):
    """Base of every error that titans_ts raises on purpose."""


class DataError(TitansError, ValueError):
    """The data cannot be used as they are; the message says where and what to do."""


class DataTypeError(DataError, TypeError):
    """A cell holds what is neither a number nor text, such as a dict."""


class ParameterError(TitansError, ValueError):
    """A parameter has a value that makes no sense; the message says what was expected."""


class DataFileError(TitansError, OSError):
    """A data file is missing or cannot be read."""


class SavedModelError(TitansError, ValueError):
    """A saved model is damaged, incomplete, or from a newer version."""
