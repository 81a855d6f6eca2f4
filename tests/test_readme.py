"""The README says what the code does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import report
from handler.core.events import TYPES, TaskCreated
from handler.core.model import Outcome, Reason
from handler.core.policy import ErrorClass
from handler.intake import messages
from handler.settings import PREFIX, Settings
from local import samples

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def first_column(heading: str) -> list[str]:
    """The words in back quotes in the first column of the table below ``heading``."""
    section = README.split(f"{heading}\n", 1)[1]
    section = re.split(r"^#+ ", section, maxsplit=1, flags=re.MULTILINE)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| ")]
    return [word for row in rows[2:] for word in re.findall(r"`([^`]+)`", row)]


def test_every_outcome_is_explained() -> None:
    assert set(first_column("## Outcomes")) == {outcome.value for outcome in Outcome}


def test_every_reason_is_explained() -> None:
    assert set(first_column("### Reasons")) == {reason.value for reason in Reason}


def test_every_error_class_is_explained() -> None:
    assert first_column("### Error classes") == [error_class.value for error_class in ErrorClass]


def test_every_setting_is_explained_with_its_default() -> None:
    assert set(first_column("## Settings")) == {PREFIX + name.upper() for name in Settings.model_fields}
    for name, default in re.findall(r"^\| `(REAPER_\w+)` \| `([^`]+)`", README, re.MULTILINE):
        said = {"REAPER_DRY_RUN": "false"}
        assert Settings.read({name: default} | said) == Settings.read(said), name


def test_every_event_type_is_explained() -> None:
    assert [kind for kind in first_column("## The event contract") if kind in TYPES] == list(TYPES)


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "bench").glob("*.json")), ids=lambda path: path.stem)
def test_its_numbers_are_those_that_the_benchmark_printed(path: Path) -> None:
    for name, table in json.loads(path.read_text(encoding="utf-8"))["tables"].items():
        assert report.block(name).findall(README) == [report.markdown(table)]


def test_the_python_producer_sends_what_the_contract_takes() -> None:
    """The example runs, with a producer that keeps what it is given instead of sending it."""
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "producers.md").read_text(encoding="utf-8"), re.DOTALL)
    sent: list[str] = []

    class Producer:
        def __init__(self, _: dict[str, str]) -> None: ...

        def produce(self, topic: str, key: str, value: str, on_delivery: Callable[[object, object], None]) -> None:
            sent.append(value)
            on_delivery(fails[0], None)

        def flush(self) -> None: ...

    fails: list[object] = [None]
    example = code.replace("from confluent_kafka import KafkaException, Producer\n", "")
    names: dict[str, Any] = {"Producer": Producer, "KafkaException": ConnectionError}
    exec(compile(example, "producers.md", "exec"), names)
    [event] = messages.read(sent[0], samples.MOMENT)
    assert isinstance(event, TaskCreated)
    assert (event.stream_name, event.task_id, event.end_time) == ("room-1", 7, 1_795_356_000)
    assert event.start_time == 1_795_356_000 - 7_200
    fails[0] = "timed out"
    with pytest.raises(ConnectionError):
        names["register"]("room-1", 7, 1, 2, "push.example.com")
