"""``make check-deploy``: says what is wrong with ``serverless.yml`` before a deployment quietly drops it.

The tool that deploys lets a key vanish whose variable is not set, creates a trigger closed that does not say
``enable: true``, and passes on what it does not know. So all that may be said is said here, and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from handler.core.events import Sweep
from handler.intake import messages
from handler.settings import Settings, SettingsError
from local.package import BUILD, ROOT, ZIP

FILE, EXAMPLE, DOTENV = ROOT / "serverless.yml", ROOT / ".env.example", ROOT / ".env"
ENVIRONMENT_BYTES = 4_096  # 583/11637
RESERVED = ("SCF_", "QCLOUD_", "TENCENTCLOUD_")

_VARIABLE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_MEMORY = frozenset((64, *range(128, 3_073, 128)))
out = Console(highlight=False, soft_wrap=True)

Text = Annotated[str, Field(min_length=1)]
Qualifier = Literal["$DEFAULT", "$LATEST"]


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Timer(_Said):
    name: Text
    qualifier: Qualifier
    # Seven fields; that of the seconds is one number, or it would fire more than once a minute.
    cronExpression: Annotated[str, Field(pattern=r"^[0-5]?\d( [0-9*/,?LW#-]+){6}$")]  # noqa: N815  the tool's spelling
    argument: str
    enable: Literal[True]


class _Ckafka(_Said):
    name: Text
    qualifier: Qualifier
    instanceId: Text  # noqa: N815
    topic: Text
    maxMsgNum: Annotated[int, Field(ge=1, le=10_000)]  # noqa: N815
    timeout: Annotated[int, Field(ge=1, le=60)]
    offset: Literal["latest", "earliest"]
    retry: Annotated[int, Field(ge=1, le=10_000)]
    consumerGroupName: str = ""  # noqa: N815
    enable: Literal[True]


class _Network(_Said):
    enableIntranet: bool  # noqa: N815
    enableExtranet: Literal[True]  # noqa: N815


class _Http(_Said):
    name: Text
    qualifier: Qualifier
    authType: Literal["NONE"]  # noqa: N815
    netConfig: _Network  # noqa: N815
    enable: Literal[True]


TRIGGERS: dict[str, type[_Said]] = {"timer": _Timer, "ckafka": _Ckafka, "http": _Http}


class _Source(_Said):
    src: Literal["./build"]
    exclude: list[str]


class _Logs(_Said):
    logsetId: Text  # noqa: N815
    topicId: Text  # noqa: N815


class _Environment(_Said):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)
    variables: dict[str, str]


class _Inputs(_Said):
    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,58}[A-Za-z0-9]$")]
    namespace: Text
    region: Annotated[str, Field(pattern=r"^[a-z]+-[a-z0-9-]+$")]
    description: str = ""
    type: Literal["event"]
    runtime: Literal["Python3.10"]
    handler: Literal["index.main_handler"]
    src: _Source
    memorySize: int  # noqa: N815
    timeout: Annotated[int, Field(ge=30, le=900)]  # 13 s are kept for the last answers and the report
    initTimeout: Annotated[int, Field(ge=3, le=300)]  # noqa: N815
    role: Text
    tags: dict[str, str] = {}
    cls: _Logs
    environment: _Environment
    events: list[Any]


class _File(_Said):
    component: Literal["scf"]
    name: Text
    app: Text = "live-record-reaper"
    stage: Text = "dev"
    inputs: _Inputs


def problems(text: str, environ: Mapping[str, str], build: Path | None = BUILD) -> list[str]:
    """What is wrong with a ``serverless.yml``, a sentence each.

    Args:
        text: the file.
        environ: the variables that it may name.
        build: the package, to be held against the code; None: there is none to look at.
    """
    try:
        content = yaml.load(text, _Loader)  # noqa: S506  it is a safe one
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return [f"it is no YAML: {error}"]
    missing = _missing(content, environ)
    if missing:
        return missing
    filled = resolved(content, environ)
    found = _unsaid(_File, filled, "") + _left_over(filled)
    inputs = filled.get("inputs") if isinstance(filled, dict) else None
    if isinstance(inputs, dict):
        events = inputs.get("events")
        if isinstance(events, list):
            for number, event in enumerate(events):
                found += _trigger_problems(event, f"inputs.events[{number}]")
            found += _triggers_missing(events)
        found += _limits(inputs)
        found += _settings_problems(inputs)
    return found + ([] if build is None else _package_problems(build))


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which the last would silently win, and aliases, which may have no end."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "an alias: write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for number, key in enumerate(keys) if key in keys[:number]]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _strings(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for value in content.values():
            yield from _strings(value)
    elif isinstance(content, list):
        for value in content:
            yield from _strings(value)
    elif isinstance(content, str):
        yield content


def _left_over(filled: Any) -> list[str]:
    """What looks like a variable and is none to the tool that deploys, which would take it as it is."""
    return [
        f"{match}: no variable: those are ${{env:NAME}}"
        for text in _strings(filled)
        if text not in get_args(Qualifier)
        for match in re.findall(r"\$\{?[A-Za-z_][^\s}]*\}?", text)
    ]


def _triggers_missing(events: list[Any]) -> list[str]:
    kinds = [kind for event in events if isinstance(event, dict) for kind in event]
    found = [f"inputs.events: there is no {kind} trigger" for kind in TRIGGERS if kind not in kinds]
    twice = [kind for kind in ("timer", "http") if kinds.count(kind) > 1]
    return found + [f"inputs.events: there are {kinds.count(kind)} {kind} triggers" for kind in twice]


def resolved(content: Any, environ: Mapping[str, str]) -> Any:
    """``content`` with the variables filled in, as the tool that deploys does."""
    if isinstance(content, dict):
        return {key: resolved(value, environ) for key, value in content.items()}
    if isinstance(content, list):
        return [resolved(value, environ) for value in content]
    if isinstance(content, str):
        return _VARIABLE.sub(lambda match: environ[match[1]], content)
    return content


def environment() -> dict[str, str]:
    """The variables of this shell, and those of ``.env`` that it does not set."""
    return _dotenv() | dict(os.environ)


def _dotenv() -> dict[str, str]:
    lines = DOTENV.read_text(encoding="utf-8").splitlines() if DOTENV.exists() else []
    pairs = (line.strip().removeprefix("export ").partition("=") for line in lines if "=" in line and line[:1] != "#")
    return {name.strip(): value.strip().strip("'\"") for name, _, value in pairs}


def _missing(content: Any, environ: Mapping[str, str]) -> list[str]:
    named = dict.fromkeys(name for text in _strings(content) for name in _VARIABLE.findall(text))
    meaning = _meaning()
    return [
        f"{name} is not set, and what it fills in would vanish. It is {meaning.get(name, 'named by serverless.yml')}"
        for name in named
        if not environ.get(name)
    ]


def _meaning() -> dict[str, str]:
    """What each variable is, from the comment above it in ``.env.example``."""
    meaning, comment = {}, ""
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            comment = line.removeprefix("# ")
        elif "=" in line:
            meaning[line.partition("=")[0]] = comment
    return meaning


def _unsaid(model: type[BaseModel], content: Any, where: str) -> list[str]:
    try:
        model.model_validate(content)
    except ValidationError as error:
        return [_sentence(item, where) for item in error.errors()]
    return []


def _sentence(error: Any, where: str) -> str:
    path = ".".join([*([where] if where else []), *(str(part) for part in error["loc"])])
    if error["type"] == "missing":
        return f"{path}: missing: say it" + (": true, or it is created closed" if path.endswith("enable") else "")
    if error["type"] == "extra_forbidden":
        return f"{path}: nothing reads this: a typing mistake?"
    message = error["msg"][0].lower() + error["msg"][1:]
    kind = type(error["input"]).__name__
    # What stands below the environment may be a key.
    return f"{path}: {kind}: {message}" if "environment" in path else f"{path}: {error['input']!r} ({kind}): {message}"


def _trigger_problems(event: Any, where: str) -> list[str]:
    if not isinstance(event, dict) or len(event) != 1:
        return [f"{where}: must be one trigger"]
    [(kind, body)] = event.items()
    if kind not in TRIGGERS:
        return [f"{where}.{kind}: no such trigger; there are {', '.join(TRIGGERS)}"]
    if not isinstance(body, dict) or body.keys() != {"parameters"}:
        return [f"{where}.{kind}: must hold parameters, and nothing else"]
    found = _unsaid(TRIGGERS[kind], body["parameters"], f"{where}.{kind}.parameters")
    if kind == "timer" and not found:
        argument = body["parameters"]["argument"]
        events = list(messages.read(argument, time.time())) if argument.strip() else []
        wrong = [event for event in events if not isinstance(event, Sweep)]
        found += [f"{where}.timer.parameters.argument: {argument!r}: is no sweep" for _ in wrong]
    return found


def _limits(inputs: Mapping[str, Any]) -> list[str]:
    found = []
    if isinstance(inputs.get("memorySize"), int) and inputs["memorySize"] not in _MEMORY:
        found.append(f"inputs.memorySize: {inputs['memorySize']}: must be 64, or a multiple of 128 up to 3072")
    source = inputs.get("src")
    excluded = source.get("exclude") if isinstance(source, dict) else None
    return found + [
        f"inputs.src.exclude: {name} is missing, and nothing is left out by default"
        for name in (".env", ".git/**")
        if isinstance(excluded, list) and name not in excluded
    ]


def _settings_problems(inputs: Mapping[str, Any]) -> list[str]:
    environment = inputs.get("environment")
    variables = environment.get("variables") if isinstance(environment, dict) else None
    if not isinstance(variables, dict) or not all(isinstance(text, str) for text in (*variables, *variables.values())):
        return []  # said already
    where = "inputs.environment.variables"
    found = [
        f"{where}.{name}: the platform keeps such names to itself" for name in variables if name.startswith(RESERVED)
    ]
    size = sum(len(name.encode()) + len(value.encode()) for name, value in variables.items())
    if size > ENVIRONMENT_BYTES:
        found.append(f"{where}: {size} bytes; the platform takes {ENVIRONMENT_BYTES}")
    try:
        settings = Settings.read(variables)
    except SettingsError as error:
        return [*found, f"{where}: {error}"]
    if settings.ledger is None:
        found.append(f"{where}.REAPER_LEDGER: missing: without a ledger a task that fails is only in the log")
    elif settings.ledger.endpoint or settings.live_endpoint.scheme != "https":
        found.append(f"{where}: leads to a stand-in, not to the cloud")
    if settings.callback_key is None:
        found.append(f"{where}.REAPER_CALLBACK_KEY: missing: the function would refuse every callback")
    return found


def _package_problems(build: Path) -> list[str]:
    if not (build / "index.py").exists():
        return ["build/ is missing: make package"]
    if not ZIP.exists():
        return [f"{ZIP.relative_to(ROOT)} is missing: make package"]
    with zipfile.ZipFile(ZIP) as archive:
        packaged = {entry.filename: entry.CRC for entry in archive.infolist()}
        pins = archive.comment.decode()
    files = (path for path in build.rglob("*") if path.is_file())
    built = {path.relative_to(build).as_posix(): zlib.crc32(path.read_bytes()) for path in files}
    if built != packaged:
        differs = sorted(name for name in built.keys() | packaged.keys() if built.get(name) != packaged.get(name))
        return [f"build/ is not what was packaged: {', '.join(differs[:3])}: make package"]
    sources = [ROOT / "index.py", *sorted((ROOT / "handler").rglob("*.py"))]
    current = {path.relative_to(ROOT).as_posix(): zlib.crc32(path.read_bytes()) for path in sources}
    changed = [name for name, checksum in current.items() if packaged.get(name) != checksum]
    if pins != hashlib.sha256((ROOT / "requirements.txt").read_bytes()).hexdigest():
        changed.append("requirements.txt")
    if changed:
        return [f"build/ is older than {', '.join(changed[:3])}: make package"]
    if not any(name.endswith(".pyc") for name in packaged):
        return ["build/ is not compiled, so every cold start would compile it: make package with a Python 3.10 at hand"]
    return []


def _conflicts() -> list[str]:
    """Variables that the shell and .env say differently: who wins, another tool may see otherwise."""
    return [
        f"{name}: this shell says something else than .env: unset it, or open a new shell"
        for name, value in _dotenv().items()
        if name.startswith("DEPLOY_") and os.environ.get(name, value) != value
    ]


def main() -> int:
    """Says what is wrong, or what would be deployed; returns the exit status."""
    text, environ = FILE.read_text(encoding="utf-8"), environment()
    found = _conflicts() + problems(text, environ)
    for problem in found:
        out.print(f"[red]✗[/] {escape(problem)}")
    if found:
        out.print(f"\n{len(found)} to mend in {FILE.name}, .env or build/, before `scf deploy`")
        return 1
    inputs = resolved(yaml.load(text, _Loader), environ)["inputs"]  # noqa: S506  it is a safe one
    table = Table(box=None, show_header=False, pad_edge=False)
    for name in ("name", "region", "role", "memorySize", "timeout"):
        table.add_row(name, escape(str(inputs[name])))
    for event in inputs["events"]:
        for kind, body in event.items():
            table.add_row(kind, escape(body["parameters"]["name"]))
    out.print(table)
    dry = Settings.read(inputs["environment"]["variables"]).dry_run
    out.print("[cyan]It will only say what it would delete.[/]" if dry else "[bold yellow]It will delete.[/]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
