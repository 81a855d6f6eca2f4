"""Where an error came from, as one string that may be logged: no value of any variable is in it."""

from __future__ import annotations

FRAMES = 5


def frames(error: BaseException) -> str | None:
    """The innermost frames of ``error``, the last one first; None if it was never raised.

    Like ``handler/pacer.py:12 in wait_turn < handler/reaper.py:171 in _result``.
    """
    found, trace = [], error.__traceback__
    while trace:
        code = trace.tb_frame.f_code
        file = "/".join(code.co_filename.replace("\\", "/").split("/")[-2:])
        found.append(f"{file}:{trace.tb_lineno} in {code.co_name}")
        trace = trace.tb_next
    return " < ".join(reversed(found[-FRAMES:])) or None
