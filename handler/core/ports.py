"""What the core and the runtime need of the outside, as protocols. They are for type checkers only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from handler.core.attempt import Reply
from handler.core.entry import Check, Delete, Entry
from handler.core.model import RecordTask, TaskResult
from handler.core.storage import EntryUnreadable, IndexKey, Resolved, Stored

Item = TypeVar("Item")
Made = TypeVar("Made")

# -- the ledger --------------------------------------------------------------------------------


class Ledger(Protocol):
    """Remembers when tasks are due. Every method may raise a ``LedgerError``, and may be called from any thread."""

    def load(self, task: RecordTask) -> Stored | None:
        """What is stored of ``task``. Raises ``EntryUnreadable`` where that is no entry."""

    def tasks_of(self, stream_name: str) -> list[RecordTask]:
        """The tasks of which anything is stored, of one stream."""

    def save(self, entry: Entry, over: Stored | None) -> Stored | None:
        """Stores ``entry`` in the place of ``over``; returns that; None: nothing outlives this invocation."""

    def forget(self, task: RecordTask, stored: Stored | None) -> None:
        """Removes what is stored of a task that is gone."""

    def put_letter(self, entry: Entry, why: TaskResult, now: float) -> None:
        """Writes the dead letter of a task."""

    def put_message_letter(self, message_id: str, body: object, details: list[str], now: float, about: str) -> None:
        """Writes the dead letter of a message. ``about``: the stream, if it is about that part of the message only."""

    def due(self, now: float) -> Iterator[IndexKey]:
        """What may be due at ``now``, the oldest first."""

    def resolve(self, key: IndexKey, now: float) -> Resolved | None:
        """What ``key`` leads to, if that is due; tidies the key up if it is stale.

        Raises:
            EntryUnreadable: what it leads to is no entry.
        """

    def postpone_unreadable(self, key: IndexKey, error: EntryUnreadable, now: float, give_up_after: float) -> None:
        """Lets ``key``, which leads to something unreadable, come again in an hour; in the end, writes a letter."""


class LedgerAdmin(Ledger, Protocol):
    """What the operator's tools need besides: every object, by a reference that can be printed and handed back."""

    def records(self, stream_name: str | None = None) -> list[str]:
        """The records of all tasks, or of one stream's."""

    def record_of(self, key: IndexKey) -> str:
        """The record that an index key leads to."""

    def task_id_of(self, record: str) -> int | None:
        """The id of the task that a record is about; None if it is no record."""

    def read(self, record: str) -> Stored | None:
        """What a record holds. Raises ``EntryUnreadable`` where that is no entry."""

    def index_keys(self) -> Iterator[IndexKey | str]:
        """Every index key, in order; of what else is among them, its reference."""

    def is_indexed(self, stored: Stored) -> bool:
        """Whether the index key that an entry names is there."""

    def index(self, stored: Stored) -> None:
        """Puts the index key of an entry; where it names one, the record is left alone: another writer may be at it."""

    def letters(self) -> list[str]:
        """All dead letters."""

    def is_of_message(self, letter: str) -> bool:
        """Whether a dead letter is that of a message, and not of a task."""

    def read_letter(self, letter: str) -> bytes | None:
        """A dead letter as it is stored; None if it is not there any more."""

    def drop_letter(self, letter: str) -> None:
        """Removes a dead letter."""


# -- the Live API and the threads --------------------------------------------------------------


class LiveClient(Protocol):
    """Makes one request of a task; each worker has its own. Never raises."""

    def send(self, call: Delete | Check) -> Reply:
        """One try."""


class Live(Protocol):
    """The Live API."""

    def client(self) -> LiveClient:
        """The calling thread's own client."""


class Workers(Protocol):
    """Run one job on several threads side by side, or on the caller's."""

    def run_on_all(self, job: Callable[[], None], count: int, seconds: float) -> None:
        """Returns when ``job`` has ended on all of ``count`` workers, or after ``seconds``."""

    def map(
        self, function: Callable[[Item], Made], items: Sequence[Item], count: int, seconds: float
    ) -> list[Made | None]:
        """What ``function``, which must not raise, makes of each item; None where ``seconds`` did not suffice."""
