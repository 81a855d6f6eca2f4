"""Which task is due when: the port, and the ledger that lives in memory for one invocation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from handler.model import RecordTask


@dataclass(frozen=True, slots=True)
class Due:
    """A task, and the unix second from which its record may be deleted."""

    task: RecordTask
    due_at: float


class Ledger(Protocol):
    """Remembers when tasks are due."""

    @property
    def keeps(self) -> bool:
        """Whether what is scheduled outlives the invocation."""

    def schedule(self, due: Due) -> None:
        """The task is due at ``due.due_at``, or earlier if it already was."""

    def due(self, now: float) -> Iterator[Due]:
        """The tasks that are due at ``now``, in the order in which they were scheduled."""


class MemoryLedger:
    """Empty at the start of each invocation; cannot keep anything beyond its end."""

    keeps = False

    def __init__(self) -> None:
        self._tasks: dict[RecordTask, Due] = {}

    def schedule(self, due: Due) -> None:
        known = self._tasks.get(due.task)
        if known is None or due.due_at < known.due_at:
            self._tasks[due.task] = due

    def due(self, now: float) -> Iterator[Due]:
        return (due for due in self._tasks.values() if due.due_at <= now)
