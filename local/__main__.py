"""The command line: what runs on one's own machine."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

EXAMPLES = """\
examples:
  python -m local demo
  python -m local invoke events/ckafka_stream_end.json
  echo '{"type": "stream-end", "stream_name": "room-1", "task_id": 7}' | python -m local invoke -
  python -m local invoke events/timer_retention_expiry.json -e REAPER_DRY_RUN=true
  python -m local serve --record room-1=7
"""


IMPORT = """\
The first line names the columns: stream_name, task_id and due, and if known start_time, domain_name, app_name, look.
due: from when on the record may go (RFC 3339 with an offset, or unix seconds); empty where not known. look: when to
look whether the stream is on air; needs domain_name and app_name. A task that is known already keeps the earlier due
time. Rows without any time are imported and named: no sweep finds their tasks. Bad rows are named by their lines, and
the exit status is 1; the others are imported. After an interruption, run it again."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local",
        description="Runs live-record-reaper on this machine. demo, serve and events never talk to the cloud, invoke "
        "only if REAPER_LIVE_ENDPOINT says so. ledger works on the bucket that REAPER_LEDGER names, probe on the real "
        "API.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="play every sample event against a stand-in of the Live API")
    demo.set_defaults(run=_demo)

    serve = commands.add_parser("serve", help="run the stand-in, print the environment to export, log the calls")
    serve.add_argument("--port", type=_port, default=0, help="default: a free one")
    serve.add_argument("--qps", type=_positive, help="calls per second and action; default: the service's own limits")
    serve.add_argument(
        "--record", type=_recording, action="append", default=[], metavar="STREAM=TASK_ID",
        help="let this recording exist; may be repeated",
    )  # fmt: skip
    serve.add_argument(
        "--on-air", action="append", default=[], metavar="STREAM",
        help="let this stream be on air, so that its recordings run; may be repeated",
    )  # fmt: skip
    serve.set_defaults(run=_serve)

    invoke = commands.add_parser(
        "invoke",
        help="run the handler on one event",
        description="Prints the result on stdout and the log on stderr; exits 1 if the handler raised. Without "
        "REAPER_LIVE_ENDPOINT it calls a stand-in of its own, which knows the tasks that the event names. Does nothing "
        "and exits 2 if only one of the API and the ledger is a stand-in, or if the ledger is not that stand-in's own.",
    )
    invoke.add_argument("event", type=_json_file, metavar="FILE|-", help="the event as JSON; - reads standard input")
    invoke.add_argument("-e", type=_variable, action="append", default=[], metavar="K=V", help="set a variable")
    invoke.add_argument("--context", type=_json_file, default={}, metavar="FILE", help="the context; default: {}")
    invoke.set_defaults(run=_invoke)

    _add_ledger(commands.add_parser("ledger", help="look into the ledger that REAPER_LEDGER names, and mend it"))

    probe = commands.add_parser(
        "probe",
        help="ask the real API, with your credentials, what nobody has documented",
        description="Creates two recording tasks a day ahead, asks about them, deletes them, and compares the answers "
        "with what is assumed here. Nothing is pushed. It uses the credentials in TENCENTCLOUD_SECRETID, …SECRETKEY "
        "and …SESSIONTOKEN, and tries the ledger that REAPER_LEDGER names. "
        "Exits 0 if all is as assumed, 1 if not, 2 if nothing was done.",
    )
    probe.add_argument("--domain", required=True, help="a push domain of yours")
    probe.add_argument("--app", default="live", help="the application name; default: live")
    probe.add_argument(
        "--report", type=Path, default=Path("probe-report.json"), metavar="FILE.json", help="default: probe-report.json"
    )
    probe.add_argument("--yes", action="store_true", help="really do it")
    probe.set_defaults(run=_probe)

    events = commands.add_parser("events", help="list the sample events")
    events.set_defaults(run=_events)
    return parser


def _add_ledger(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: str, text: str, *, as_json: bool = False, dry_run: bool = False, more: str = "") -> Any:
        added = commands.add_parser(name, help=text, description=f"{text}. {more}", allow_abbrev=False)
        if as_json:
            added.add_argument("--json", action="store_true", dest="as_json", help="for programs")
        if dry_run:
            added.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
        added.set_defaults(run=lambda options: _ledger(run, options))
        return added

    command("status", "status", "counts: tasks, due, without a due time or an index key, dead letters", as_json=True)
    show = command("show", "show", "what is known of a stream's tasks, or of one")
    show.add_argument("stream_name", metavar="STREAM")
    show.add_argument("task_id", metavar="TASK", type=int, nargs="?")
    command("due", "due", "what is due now, the oldest first", as_json=True)
    command("dead", "dead", "the dead letters", as_json=True)
    for name, text in (
        ("requeue", "make dead tasks due again, now: the next sweep tries them"),
        ("drop", "forget dead letters for good"),
    ):
        letters = command(name, name, text, dry_run=True)
        letters.add_argument("keys", metavar="KEY", nargs="*", help="as `ledger dead` lists them")
        letters.add_argument("--all", action="store_true", dest="everything")
    read = command("import", "import_csv", "remember every row of a CSV file", dry_run=True, more=IMPORT)
    read.add_argument("path", metavar="FILE.csv", type=Path)
    command("export", "export", "every task as CSV, in the form that import reads")
    command("reindex", "reindex", "rebuild the pointers from the entries", dry_run=True)


def _ledger(name: str, options: argparse.Namespace) -> int:
    from local import dead_letters, ledger, ledger_csv

    given = {key: value for key, value in vars(options).items() if key != "run"}
    letters = dict.fromkeys(("dead", "requeue", "drop"), dead_letters)
    elsewhere = {"import_csv": ledger_csv, "export": ledger_csv, **letters}
    return ledger.run(getattr(elsewhere.get(name, ledger), name), **given)


def _demo(_: argparse.Namespace) -> int:
    from local.demo import demo

    return demo()


def _serve(options: argparse.Namespace) -> int:
    from local.serve import serve

    return serve(options.port, options.qps, options.record, options.on_air)


def _invoke(options: argparse.Namespace) -> int:
    from local.invoke import invoke

    return invoke(options.event, options.context, dict(options.e))


def _probe(options: argparse.Namespace) -> int:
    from local.probe import probe

    return probe(options.domain, options.app, options.report, options.yes)


def _events(_: argparse.Namespace) -> int:
    from local import samples

    found = samples.all_samples()
    width = max(len(sample.name) for sample in found)
    for sample in found:
        print(f"events/{sample.name:{width}}  {samples.in_one_line(sample.event, samples.MOMENT)}")
    return 0


def _json_file(name: str) -> Any:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{name}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{name} is not JSON: {error}") from None


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r}: must be K=V")
    return name, value


def _recording(text: str) -> tuple[str, int]:
    stream_name, _, task_id = text.rpartition("=")
    if not stream_name or not task_id.isdecimal() or int(task_id) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be STREAM=TASK_ID")
    return stream_name, int(task_id)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port < 65_536:
        raise argparse.ArgumentTypeError(f"{text}: must be from 0 to 65535")
    return port


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text}: must be more than 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
