"""Which task is due when: what the ledger holds of a task, and the port. Storage and Live are not known here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from handler.model import RecordTask, Result


class LedgerError(Exception):
    """The ledger did not do what it was asked to; the text says what it answered."""


class LedgerUnavailable(LedgerError):
    """It cannot be reached, or denies access: the platform's redelivery is the last net."""


class LedgerRefused(LedgerError):
    """It refused this one write, and would refuse it again."""


class Failure(NamedTuple):
    """A distinct error of one task: how many times it was seen, from when until when (unix seconds)."""

    code: str
    detail: str
    times: int
    first_at: float
    last_at: float


DEFAULT_APP = "live"  # what CreateLiveRecord takes where no AppName is given (267/30845)


def same_domain(one: str, other: str) -> bool:
    """Whether two names are one domain, as DNS compares them: without case, and without a trailing dot."""
    return one.lower().rstrip(".") == other.lower().rstrip(".")


class Entry(NamedTuple):
    """What is known of one task. Times are unix seconds.

    ``asserted_at``: from then on the user's own word, or the task's own end, says that its record may go.
    ``look_at``: from then on a hint makes it worth a look. ``not_before``: it was tried, and has to wait.
    ``first_due_at``: when it was first tried since it became due. ``because``: the message that made it due.
    ``pointer``: where the storage points to this entry, if it does. ``known_since``: when it was first remembered.
    """

    task: RecordTask
    domain_name: str | None = None
    app_name: str | None = None
    started_at: float | None = None
    asserted_at: float | None = None
    look_at: float | None = None
    not_before: float | None = None
    first_due_at: float | None = None
    tries: int = 0
    failures: tuple[Failure, ...] = ()
    because: Mapping[str, Any] | None = None
    pointer: str | None = None
    known_since: float | None = None

    @property
    def target(self) -> tuple[str, str] | None:
        """The domain and the app whose stream a check asks about; None: no check can be made."""
        return (self.domain_name, self.app_name or DEFAULT_APP) if self.domain_name else None

    @property
    def due_at(self) -> float | None:
        """When it is to be worked on; None: not yet known."""
        wanted = [at for at in (self.asserted_at, self.look_at) if at is not None]
        return max(min(wanted), self.not_before or 0.0) if wanted else None

    def is_due(self, now: float) -> bool:
        return self.due_at is not None and self.due_at <= now

    def needs_look(self, now: float) -> bool:
        """Whether only a hint makes it due: then it is deleted only if it is not on air."""
        return self.asserted_at is None or self.asserted_at > now

    def asserted(self, at: float, because: Mapping[str, Any] | None) -> Entry:
        """The same, due at ``at`` or earlier: the earliest assertion wins."""
        if self.asserted_at is not None and self.asserted_at <= at:
            return self
        return self._replace(asserted_at=at, because=because or self.because)

    def hinted(self, at: float, because: Mapping[str, Any] | None) -> Entry:
        """The same, to be looked at at ``at`` or later: a later interruption moves an earlier one's look back."""
        if self.look_at is not None and self.look_at >= at:
            return self
        return self._replace(look_at=at, because=because or self.because)


class Due(NamedTuple):
    """A task to work on now, because of a message or of the ledger.

    ``entry`` None: a message named it, and nobody has asked the ledger about it yet. ``kept``: the ledger
    holds it as due already, so that nothing is lost if it is not worked on. ``verdict``: what is clear without
    asking the API.
    """

    task: RecordTask
    due_at: float
    entry: Entry | None = None
    look: bool = False
    kept: bool = False
    because: Mapping[str, Any] | None = None
    verdict: Result | None = None


class Pointer(NamedTuple):
    """A place in the storage that says that a task was to be due at some time. Only the entry itself counts."""

    key: str
    due_at: float
    written_at: float


class Ledger(Protocol):
    """Remembers when tasks are due. Every method may raise a ``LedgerError``."""

    @property
    def keeps(self) -> bool:
        """Whether what it is told outlives the invocation."""

    def read(self, task: RecordTask) -> Entry | None:
        """What is known of ``task``."""

    def of_stream(self, stream_name: str) -> tuple[list[Entry], list[LedgerRefused]]:
        """The tasks of one stream, and why others of it cannot be read."""

    def write(self, entry: Entry) -> Entry:
        """Schedules ``entry`` in place of what was known of its task; its ``pointer`` is the one to give up."""

    def settle(self, entry: Entry) -> None:
        """Forgets a task that is gone."""

    def bury(self, entry: Entry, result: Result, now: float) -> None:
        """Puts a task that cannot be deleted aside, with all its errors, and forgets it."""

    def put_letter(self, entry: Entry, result: Result, now: float) -> None:
        """Writes the dead letter of a task, and leaves what is stored of it as it is."""

    def bury_message(self, message_id: str, body: object, details: list[str], now: float, about: str = "") -> None:
        """Puts a message aside, whole. ``about``: the stream, where only what it says of that could not be done."""

    def pointers(self, now: float) -> Iterator[Pointer]:
        """What may be due at ``now``, the oldest first."""

    def follow(self, pointer: Pointer, now: float) -> Entry | None:
        """The entry that ``pointer`` leads to, if that is due; removes the pointer if it is stale."""


class MemoryLedger:
    """Empty at the start of each invocation, and gone at its end: so there is nothing to put into it."""

    keeps = False

    def read(self, task: RecordTask) -> Entry | None:
        return None

    def of_stream(self, stream_name: str) -> tuple[list[Entry], list[LedgerRefused]]:
        return [], []

    def write(self, entry: Entry) -> Entry:
        return entry

    def settle(self, entry: Entry) -> None: ...

    def bury(self, entry: Entry, result: Result, now: float) -> None: ...

    def put_letter(self, entry: Entry, result: Result, now: float) -> None: ...

    def bury_message(self, message_id: str, body: object, details: list[str], now: float, about: str = "") -> None: ...

    def pointers(self, now: float) -> Iterator[Pointer]:
        return iter(())

    def follow(self, pointer: Pointer, now: float) -> Entry | None:
        return None
