"""``python -m local invoke``: one event through the handler, as the platform would call it."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping

from handler.app import RedeliveryNeeded, build
from handler.settings import Endpoint, Settings, SettingsError
from local.live_api import LiveStandIn
from local.samples import tasks_named

_ENDPOINT, _LEDGER, _DRY_RUN = "REAPER_LIVE_ENDPOINT", "REAPER_LEDGER", "REAPER_DRY_RUN"


def invoke(event: object, context: object, environ: dict[str, str]) -> int:
    """Prints the handler's result on stdout and its log on stderr; returns the exit status.

    Without ``REAPER_LIVE_ENDPOINT`` the Live API is a stand-in that knows the tasks that ``event`` names.
    2: nothing was done, because a stand-in would have been paired with a ledger that is not its own.
    """
    os.environ.update(environ)
    mismatch = _mismatch(os.environ)
    if mismatch:
        print(mismatch, file=sys.stderr)
        return 2
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
    if not _is_unset(os.environ, _ENDPOINT):
        yield
        return
    with LiveStandIn() as stand_in:
        for task in tasks_named(event, time.time()):
            stand_in.state.add(task.stream_name, task.task_id)
        os.environ.update(stand_in.environment)
        if _is_unset(os.environ, _DRY_RUN):
            os.environ[_DRY_RUN] = "false"  # nothing real can be deleted there
        yield


def _mismatch(environ: Mapping[str, str]) -> str | None:
    """Why the Live API and the ledger do not belong together, and the way out; None if they do.

    What the API says of a task is written into the ledger: a stand-in that does not know a task says that it is gone.
    """
    chosen = {name: environ.get(name, "") for name in (_ENDPOINT, _LEDGER)}
    try:
        settings = Settings.for_tools(chosen)
    except SettingsError:
        return None  # the handler reports it, and makes no request
    if settings.ledger is None:
        return None
    if _is_unset(environ, _ENDPOINT):
        return (
            f"{_LEDGER} is set and {_ENDPOINT} is not: invoke's own stand-in does not know that ledger's tasks, which "
            f"would leave it without being deleted. Set {_ENDPOINT}, too (`local serve` prints both), or no ledger: "
            f"-e {_LEDGER}="
        )
    live_is_local, ledger_is_local = _is_local(settings.live_endpoint), _is_local(settings.ledger.endpoint)
    if live_is_local and not ledger_is_local:
        return (
            f"{_ENDPOINT} is a stand-in and {_LEDGER} is not: due tasks would leave a real ledger without being "
            f"deleted. Use the ledger that `local serve` prints, or none: -e {_LEDGER}="
        )
    if ledger_is_local and not live_is_local:
        return (
            f"{_LEDGER} is a stand-in's and {_ENDPOINT} is not: tasks that are there to try things would be deleted "
            f"from a real account. Use the endpoint that `local serve` prints, or no ledger: -e {_LEDGER}="
        )
    return None


def _is_unset(environ: Mapping[str, str], name: str) -> bool:
    return not environ.get(name, "").strip()  # as Settings reads it


def _is_local(endpoint: Endpoint | None) -> bool:
    """Whether it is on this machine, as a stand-in is, in any spelling that a socket accepts. Nothing is resolved."""
    host = endpoint.address.partition(":")[0].rstrip(".").lower() if endpoint else ""
    try:
        address = ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return host.split(".")[0] == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified
