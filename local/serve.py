"""``python -m local serve``: the stand-in, for as long as one wants it."""

from __future__ import annotations

import time

from rich.console import Console

from local import console
from local.live_api import Call, LiveStandIn


def serve(port: int, qps: float | None, recordings: list[tuple[str, int]]) -> int:
    """Serves until interrupted: the environment to export goes to stdout, the calls to stderr."""
    log = Console(stderr=True, highlight=False)

    def show(call: Call) -> None:
        log.print(f"[dim]{time.strftime('%H:%M:%S', time.localtime(call.at))}[/] {console.call_text(call)}")

    try:
        stand_in = LiveStandIn(port, qps=qps, on_call=show)
    except OSError as error:
        log.print(f"[red]port {port} cannot be used:[/] {error.strerror}; leave --port out to get a free one")
        return 1
    with stand_in:
        for stream_name, task_id in recordings:
            stand_in.state.add(stream_name, task_id)
        for name, value in stand_in.environment.items():
            print(f"export {name}={value}", flush=True)
        log.print(f"serving the Live API on {stand_in.url}: export the lines above, stop with Ctrl-C")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            log.print(f"{len(stand_in.calls)} calls, {len(stand_in.state.recordings)} recordings left")
    return 0
