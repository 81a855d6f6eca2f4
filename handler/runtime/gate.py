"""Whether a request may still leave in this batch."""

from __future__ import annotations

import threading

from handler.core.attempt import Unsent
from handler.core.entry import Check, Delete
from handler.core.model import Reason

TOO_LATE = Unsent(Reason.OUT_OF_TIME, "not sent: too little time was left")


class Gate:
    """Open until an answer stops requests of a kind, or the batch ends."""

    def __init__(self) -> None:
        self._stopped_by: dict[type[Delete | Check], str] = {}
        self._closed = False
        self._lock = threading.Lock()

    def refusal(self, kind: type[Delete | Check]) -> Unsent | None:
        """Why a request of this kind may not leave; None if it may."""
        with self._lock:
            if self._closed:
                return TOO_LATE
            if kind is Check and Check in self._stopped_by:
                return Unsent(Reason.BLOCKED, f"not sent: {self._stopped_by[Check]} stopped all checks")
            return self.stopped

    @property
    def stopped(self) -> Unsent | None:
        """Why no deletion may leave any more; None if one may."""
        code = self._stopped_by.get(Delete)
        return None if code is None else Unsent(Reason.BLOCKED, f"not sent: {code} stopped the batch")

    def stop(self, kind: type[Delete | Check], error_code: str) -> None:
        """Lets no further request of this kind leave.

        Whoever may not check may still delete; whoever may not delete has nothing to check for.
        """
        with self._lock:
            self._stopped_by.setdefault(kind, error_code)
            if kind is Delete:
                self._stopped_by.setdefault(Check, error_code)

    def close(self) -> None:
        """Lets nothing leave any more."""
        with self._lock:
            self._closed = True
