"""``python -m local invoke``: one event through the handler, as the platform would call it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator

from handler.app import RedeliveryNeeded, build
from handler.settings import SettingsError
from local.live_api import LiveStandIn
from local.samples import tasks_named


def invoke(event: object, context: object, environ: dict[str, str]) -> int:
    """Prints the handler's result on stdout and its log on stderr; returns the exit status.

    Without ``REAPER_LIVE_ENDPOINT`` the Live API is a stand-in that knows the tasks that ``event`` names.
    """
    os.environ.update(environ)
    with _somewhere_to_call(event), contextlib.redirect_stdout(sys.stderr):
        try:
            result = build()(event, context)
        except (RedeliveryNeeded, SettingsError) as error:
            print(f"raised {type(error).__name__}: {error}", file=sys.stderr)
            return 1
    print(json.dumps(result))
    return 0


@contextlib.contextmanager
def _somewhere_to_call(event: object) -> Iterator[None]:
    if os.environ.get("REAPER_LIVE_ENDPOINT"):
        yield
        return
    with LiveStandIn() as stand_in:
        for task in tasks_named(event, time.time()):
            stand_in.state.add(task.stream_name, task.task_id)
        os.environ.update(stand_in.environment)
        os.environ["REAPER_DRY_RUN"] = os.environ.get("REAPER_DRY_RUN", "").strip() or "false"
        yield
