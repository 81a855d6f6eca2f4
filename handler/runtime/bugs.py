"""What is said of an error that no rule foresees: a bug in this function."""

from __future__ import annotations

from handler.core.model import Outcome, Reason, TaskResult

FRAMES = 5


def internal_error(error: Exception) -> TaskResult:
    """The result of a task on which a bug ended the work: it stays to be done."""
    detail = f"{type(error).__name__}: {error}"
    return TaskResult(Outcome.DEFERRED, Reason.INTERNAL_ERROR, detail, traceback=frames(error))


def frames(error: BaseException) -> str | None:
    """The innermost frames of ``error``, the last one first, as one string that may be logged: no value is in it.

    None if it was never raised. Like ``handler/runtime/gate.py:12 in stop < handler/runtime/driving.py:41 in _send``.
    """
    found, trace = [], error.__traceback__
    while trace:
        code = trace.tb_frame.f_code
        *parents, file = code.co_filename.replace("\\", "/").split("/")
        ours = parents[parents.index("handler") :] if "handler" in parents else parents[-1:]
        file = "/".join([*ours, file])
        found.append(f"{file}:{trace.tb_lineno} in {code.co_name}")
        trace = trace.tb_next
    return " < ".join(reversed(found[-FRAMES:])) or None
