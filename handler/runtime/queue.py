"""What a batch is to work on: what messages ask for, then what the ledger's index keys lead to."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from handler.core.model import RecordTask
from handler.core.plan import Received
from handler.core.storage import IndexKey


class TaskWork(NamedTuple):
    """A task, and the events of the delivery that may concern it, in their order."""

    task: RecordTask
    received: Sequence[Received]


class LetterWork(NamedTuple):
    """A message, by its number in the delivery, that is to become a dead letter, and what is wrong with it."""

    record: int
    details: Sequence[str]


Work = TaskWork | LetterWork | IndexKey


class Queue:
    """Hands out work to several threads. ``error``: why the ledger does not say what else is due."""

    def __init__(self, asked: Iterable[TaskWork | LetterWork], keys: Iterator[IndexKey] | None) -> None:
        self.begun = False
        self.error: Exception | None = None
        self.next_key: IndexKey | None = None
        self.under_way: set[IndexKey] = set()
        self.any_followed = False
        self._asked, self._keys = iter(asked), keys
        self._stopped = self._closed = False
        self._lock = threading.Lock()
        self._paging = threading.Lock()  # held while a page is read: whoever ends the batch does not wait for that

    def begin(self) -> None:
        """Reads the first page of index keys."""
        with self._paging:
            self._turn_page()
            self.begun = True

    def take(self, *, with_keys: bool) -> Work | None:
        """The next thing to work on; None if there is none."""
        with self._lock:
            asked = None if self._closed else next(self._asked, None)
        if asked is not None or not with_keys:
            return asked
        with self._paging:
            key = None if self._stopped else self.next_key
            if key is not None:
                self._turn_page()
                self.under_way.add(key)
            return key

    def followed(self, key: IndexKey, *, found: bool = False) -> None:
        """The work on ``key`` has ended; ``found``: the ledger said what it leads to."""
        self.under_way.discard(key)
        self.any_followed = self.any_followed or found

    def close(self) -> None:
        """Hands out nothing any more."""
        self._closed = self._stopped = True

    def stop(self) -> None:
        """Hands out no further index keys."""
        self._stopped = True

    def _turn_page(self) -> None:
        key: IndexKey | None = None
        try:
            key = next(self._keys, None) if self._keys else None
        except Exception as error:  # noqa: BLE001  the ledger does not answer
            self.error = error
        self.next_key = key
