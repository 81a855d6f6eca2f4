"""What a ledger's storage hands out, and how it fails."""

from __future__ import annotations

from typing import NamedTuple

from handler.core.entry import Entry
from handler.core.model import ReaperError

# -- errors ------------------------------------------------------------------------------------
#
#     ReaperError
#     └── LedgerError
#         ├── LedgerUnavailable
#         └── LedgerRefused
#             └── EntryUnreadable


class LedgerError(ReaperError):
    """The ledger did not do what it was asked to; the text says what it answered."""


class LedgerUnavailable(LedgerError):
    """Unreachable, or access denied. The invocation fails so that the platform redelivers."""


class LedgerRefused(LedgerError):
    """It refused this one request, and would refuse it again."""


class EntryUnreadable(LedgerRefused):
    """What is stored of this one task cannot be read as an entry, or may not be read at all."""


# -- what is stored ----------------------------------------------------------------------------


class Stored(NamedTuple):
    """An entry as it is stored. ``ref`` names its index key in the storage's own terms; it can be printed."""

    entry: Entry
    ref: str | None


class IndexKey(NamedTuple):
    """Something in the storage that says that a task was to be due at some time (unix seconds). Only the entry counts.

    ``ref`` names it in the storage's own terms; ``written_at`` is when it was put there.
    """

    ref: str
    due_at: float
    written_at: float


class Resolved(NamedTuple):
    """What an index key leads to: the record as it is stored, and the entry with what only the key still knows."""

    stored: Stored
    entry: Entry
