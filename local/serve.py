"""``python -m local serve``: the stand-in, for as long as one wants it."""

from __future__ import annotations

import contextlib
import signal
import threading
import time

from rich.console import Console

from local import console
from local.cos import CosStandIn
from local.live_api import Call, LiveStandIn, Stream


def serve(port: int, qps: float | None, recordings: list[tuple[str, int]], on_air: list[str]) -> int:
    """Serves until interrupted: the environment to export goes to stdout, the calls to stderr."""
    log = Console(stderr=True, highlight=False, soft_wrap=True)

    def show(call: Call) -> None:
        log.print(f"[dim]{time.strftime('%H:%M:%S', time.localtime(call.at))}[/] {console.call_text(call)}")

    try:
        stand_in = LiveStandIn(port, qps=qps, on_call=show)
    except OSError as error:
        log.print(f"[red]port {port} cannot be used:[/] {error.strerror}; leave --port out to get a free one")
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
    with stand_in, CosStandIn() as cos:
        for stream_name in on_air:
            stand_in.state.push(Stream(stream_name))
        for stream_name, task_id in recordings:
            stand_in.state.add(stream_name, task_id, stopped=stream_name not in on_air)
        ours = {"REAPER_LEDGER": f"'{cos.ledger}'", "REAPER_DRY_RUN": "false"}
        for name, value in (stand_in.environment | ours).items():
            print(f"export {name}={value}", flush=True)
        log.print(
            f"serving the Live API on {stand_in.url}: export the lines above (in a shell of its own), stop with Ctrl-C"
        )
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
        log.print(f"{len(stand_in.calls)} calls, {len(stand_in.state.recordings)} recordings left")
    return 0
