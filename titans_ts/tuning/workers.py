"""Workers of one study: where it is kept, and how the others find out that one of them died."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import optuna
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import (
    JournalFileBackend,
    JournalFileOpenLock,
    JournalFileSymlinkLock,
)
from optuna.study import Study
from optuna.trial import Trial, TrialState

from titans_ts.errors import DataFileError, ParameterError
from titans_ts.tuning.trials import WORKER

__all__ = ["Workers", "open_storage", "shown"]

JOURNALS = (".log", ".journal")

# Seconds for which a trial may run without saying whose it is: it says so at once.
NAMELESS_SECONDS = 30.0


class Workers:
    """This worker, and what it knows of the others; alone unless a subclass says otherwise."""

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self._nameless: dict[int, float] = {}  # trial number: when it was first seen

    def claim(self, trial: Trial) -> None:
        """Say that this worker runs a trial.

        Raises
        ------
        RuntimeError
            Another worker held it to be abandoned, in the moment since it was taken.
        """
        trial.set_user_attr(WORKER, self.name)

    def look(self, study: Study) -> None:
        """Let the trials of dead workers fail."""

    def close(self) -> None:
        """Leave nothing behind."""

    def _fail(self, study: Study, number: int) -> None:
        # Another worker was quicker; Optuna 5 has an error of its own for that, which is one.
        with suppress(RuntimeError):
            study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _fail_nameless(self, study: Study) -> None:
        """A worker may die between taking a trial and giving its name."""
        seen, now = self._nameless, time.monotonic()
        self._nameless = {
            trial.number: seen.get(trial.number, now)
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            if WORKER not in trial.user_attrs
        }
        for number, first in self._nameless.items():
            if now - first > NAMELESS_SECONDS:
                self._fail(study, number)


class JournalWorkers(Workers):
    """Workers that share a journal file: each holds a lock that the system frees when it ends.

    A lock beside the journal tells more than a heartbeat in it: a worker that is slow or suspended
    keeps its trial, and one that was killed loses it at once.

    Parameters
    ----------
    journal : Path
    """

    def __init__(self, journal: Path) -> None:
        super().__init__()
        self._journal = journal
        self._own = self._lock(self.name)
        self._own.acquire(timeout=0)

    def look(self, study: Study) -> None:
        alive: dict[str, bool] = {self.name: True}
        for trial in study.get_trials(deepcopy=False):
            name = str(trial.user_attrs.get(WORKER, ""))
            # A name becomes a path, and the journal is anybody's to write.
            if not re.fullmatch(r"[0-9a-f]{32}", name):
                continue
            running = trial.state == TrialState.RUNNING
            if name not in alive:
                # One that was killed between two trials leaves a file, too.
                if not (running or self._path(name).exists()):
                    continue
                alive[name] = self._is_alive(name)
            if running and not alive[name]:
                self._fail(study, trial.number)
        self._fail_nameless(study)

    def close(self) -> None:
        self._own.release()
        self._remove(self.name)

    def _is_alive(self, name: str) -> bool:
        lock = self._lock(name)
        try:
            # Makes the file where there is none, which asks the file server and no cache.
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        self._remove(name)  # names are never used again
        return False

    def _path(self, name: str) -> Path:
        return self._journal.with_name(f"{self._journal.name}.{name}.worker")

    def _lock(self, name: str) -> FileLock:
        return FileLock(self._path(name), thread_local=False)

    def _remove(self, name: str) -> None:
        with suppress(OSError):  # another worker was quicker, or still looks at it
            self._path(name).unlink()


class DatabaseWorkers(Workers):
    """Workers that share a database: Optuna's heartbeats tell who is alive.

    Parameters
    ----------
    storage : RDBStorage
    """

    def __init__(self, storage: RDBStorage) -> None:
        super().__init__()
        self._storage = storage

    def claim(self, trial: Trial) -> None:
        # Before the name: a trial with a name is one whose silence is noticed.
        self._storage.record_heartbeat(trial._trial_id)
        super().claim(trial)

    def look(self, study: Study) -> None:
        optuna.storages.fail_stale_trials(study)
        self._fail_nameless(study)

    def close(self) -> None:
        # The study stays usable: it connects again where it is asked something.
        self._storage.remove_session()
        self._storage.engine.dispose()


@contextmanager
def open_storage(
    storage: Any, worker_timeout: float
) -> Iterator[tuple[BaseStorage | None, Workers]]:
    """Open where a study is kept, and join its workers.

    Parameters
    ----------
    storage : str, Path, optuna storage or None
        A file that ends in ``.log`` or ``.journal``, or the URL of a database; None: memory.
    worker_timeout : float
        Seconds of silence after which a worker counts as dead, with a database.

    Raises
    ------
    ParameterError
        It is none of these.
    DataFileError
        The journal or the database cannot be opened.
    """
    opened, workers = _open(storage, worker_timeout)
    try:
        yield opened, workers
    finally:
        workers.close()


def _open(storage: Any, worker_timeout: float) -> tuple[BaseStorage | None, Workers]:
    if storage is None:
        return None, Workers()
    if isinstance(storage, RDBStorage) and storage.get_heartbeat_interval() is not None:
        return storage, DatabaseWorkers(storage)
    if isinstance(storage, BaseStorage):
        return storage, Workers()
    if isinstance(storage, str) and "://" in storage:
        database = _open_database(storage, worker_timeout)
        return database, DatabaseWorkers(database)
    if isinstance(storage, str | Path) and Path(storage).suffix in JOURNALS:
        path = Path(storage).absolute()
        return _open_journal(path), JournalWorkers(path)
    raise ParameterError(
        "storage must be a file whose name ends in .log or .journal, the URL of a database such as "
        "sqlite:///search.db or postgresql://host/name, an Optuna storage, or None; got "
        f"{storage!r}."
    )


def _open_journal(path: Path) -> JournalStorage:
    if not path.parent.is_dir():
        raise DataFileError(
            f"storage names {path}, but there is no folder {path.parent}. Make it first, or choose "
            "another."
        )
    # Windows lets few users make the symbolic links of Optuna's own choice.
    kind = JournalFileOpenLock if sys.platform == "win32" else JournalFileSymlinkLock
    lock = kind(str(path))
    try:
        if path.exists() and path.stat().st_size:
            _check_journal(path, lock)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except DataFileError:
        raise
    except OSError as error:
        raise DataFileError(f"The journal {path} cannot be opened: {error.strerror}.") from error
    # Whatever a file of other contents leads to in the replay of a journal.
    except Exception as error:
        raise _no_journal(path, f"{type(error).__name__}: {error}") from error


def _check_journal(path: Path, lock: JournalFileSymlinkLock | JournalFileOpenLock) -> None:
    """Refuse a file that is no journal before anything is written to it, and mend a cut one.

    Optuna passes over a last line that a power cut left half-written, and then writes on behind it:
    the two would be one line that nobody can read. Nothing was said to be in it, so it goes.

    Raises
    ------
    DataFileError
        The first line is none of a journal.
    """
    lock.acquire()  # another worker may be writing just now
    try:
        with path.open("rb+") as file:
            first = file.readline()
            whole = first.endswith(b"\n")
            if not (_is_entry(first) if whole else b'"op_code"' in first[:60]):
                raise _no_journal(path, f"it starts with {first[:60]!r}")
            end = file.seek(0, os.SEEK_END)
            start = _start_of_last_line(file, end)
            file.seek(start)
            last = file.read()
            if not (last.endswith(b"\n") and _is_entry(last)):
                file.truncate(start)
    finally:
        lock.release()


def _is_entry(line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and "op_code" in entry


def _start_of_last_line(file: BinaryIO, end: int) -> int:
    """Where the last line starts, be it whole or cut."""
    start, block = end - 1, 1 << 16  # a line feed at the very end belongs to it
    while start > 0:
        begin = max(start - block, 0)
        file.seek(begin)
        found = file.read(start - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        start = begin
    return 0


def _no_journal(path: Path, why: str) -> DataFileError:
    return DataFileError(
        f"{path} is not a journal of Optuna, or is damaged ({why}). Give another file name; a "
        "journal is made where there is none."
    )


def _open_database(url: str, worker_timeout: float) -> RDBStorage:
    # Several writers of an SQLite file wait for each other longer than the usual five seconds.
    options: dict[str, Any] = {}
    if url.startswith("sqlite"):
        options["connect_args"] = {"timeout": 60}
    for attempt in range(5):
        try:
            return RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=max(int(worker_timeout / 4), 1),
                grace_period=max(int(worker_timeout), 2),
            )
        # SQLAlchemy's, the driver's, or Optuna's where a driver is missing.
        except Exception as error:
            if attempt < 4 and _is_race(error):
                time.sleep(0.2 * (attempt + 1))
                continue
            reason = str(error).strip().split("\n")[0]
            raise DataFileError(f"The database {shown(url)} cannot be opened: {reason}") from error
    raise AssertionError


def _is_race(error: BaseException) -> bool:
    """Whether another worker made the tables of a new database at the same moment."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ == "IntegrityError" or "already exists" in str(cause):
            return True
        cause = cause.__cause__
    return False


def shown(storage: Any) -> str:
    """Name a storage in words; passwords stay out."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", str(storage))
