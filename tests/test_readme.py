"""The README says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from handler.error_codes import ErrorClass
from handler.messages import TYPES
from handler.model import Outcome, Reason
from handler.settings import PREFIX, Settings

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
        assert Settings.read({name: default}) == Settings.read({}), name


def test_every_event_type_is_explained() -> None:
    assert [kind for kind in first_column("## The event contract") if kind in TYPES] == list(TYPES)
