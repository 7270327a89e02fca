"""The errors that titans_ts raises for bad data and bad parameters.

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


class CheckpointError(SavedModelError):
    """The progress that a fit is to go on from is damaged, or is that of another fit."""


class HeadPluginError(TitansError, ImportError):
    """A head that a package brings cannot be used; the message says why and what to do."""


class HeadPluginWarning(UserWarning):
    """A head that a package brings is broken; the others work on."""


class DeviceMemoryError(TitansError, MemoryError):
    """A step of training does not fit in memory; the message says what would."""


class NonFiniteLossError(TitansError, FloatingPointError):
    """The training loss became NaN or infinite; the message says on which rows."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl+C ended training early; the forecaster is fitted with the best weights so far.

    Not a :class:`TitansError`, and no ``Exception`` either: what stops for Ctrl+C, such as a
    search, still stops.
    """
