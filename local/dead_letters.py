"""``python -m local ledger dead``, ``requeue`` and ``drop``: what a ledger's dead letters say, and their end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from rich.markup import escape

from handler.adapters.cos_bucket import DETAIL_CHARACTERS
from handler.adapters.records import entry_of, is_time
from handler.core.entry import Entry
from handler.core.model import RecordTask
from handler.core.ports import LedgerAdmin
from handler.core.storage import LedgerRefused
from local.ledger import Problems, UsageError, err, out, read_all, would

_VANISHED = "has vanished meanwhile"


class Letter(NamedTuple):
    """A dead letter as it was read: ``body`` as it is stored, ``about`` for people, ``as_json`` for programs.

    ``died_at`` is unix seconds. ``entry`` is the task as it was; None: it is the letter of a message.
    """

    key: str
    body: bytes
    about: str
    as_json: str
    died_at: float
    entry: Entry | None


def dead(ledger: LedgerAdmin, *, as_json: bool) -> int:
    """The dead letters, by their keys."""
    problems = Problems()
    found = False
    for key, letter in read_all(_keys(ledger), lambda key: _letter_at(ledger, key), problems):
        found = True
        if as_json:
            print(letter.as_json)
        else:
            out.print(escape(f"{key}\n  {letter.about}"))
    if not found and not problems.status:
        err.print("[dim]there are no dead letters[/]")
    return problems.status


def requeue(ledger: LedgerAdmin, *, keys: list[str], everything: bool, dry_run: bool, now: float | None = None) -> int:
    """Makes dead tasks due again, now; the next sweep tries them. A dead message has to be mended and sent anew.

    What only a hint had made due is looked at again before it is deleted. Of several letters of one task the newest
    counts, as the one that knows most; the others stay.
    """
    at = time.time() if now is None else now
    problems = Problems()
    requeued: set[RecordTask] = set()
    chosen = sorted(_chosen(ledger, keys, everything, problems), key=lambda letter: letter.died_at, reverse=True)
    for letter in chosen:
        try:
            entry = _revived(ledger, letter, at, requeued)
            if not dry_run:
                ledger.save(entry, None)
            requeued.add(entry.task)
            out.print(escape(f"{would(dry_run)}requeued {_name(entry.task)}"))
            _delete(ledger, letter, dry_run)
        except (UsageError, LedgerRefused) as problem:
            problems.report(letter.key, problem)
    return problems.status


def _revived(ledger: LedgerAdmin, letter: Letter, at: float, requeued: set[RecordTask]) -> Entry:
    """The task of ``letter``, due at ``at`` (unix seconds).

    Raises:
        UsageError: it cannot be requeued; the text says what can be done.
        LedgerRefused: what the ledger knows of the task cannot be read.
    """
    entry = letter.entry
    if entry is None:
        raise UsageError("is a message that was not valid: mend it and send it anew (`dead --json` shows it)")
    if entry.task in requeued or ledger.load(entry.task) is not None:
        raise UsageError(f"{_name(entry.task)} has been registered anew: drop the letter, or send a stream-end")
    look = entry.delete_at is None or entry.delete_at > at
    if look and entry.domain_name is None:
        raise UsageError(
            f"only a hint had made {_name(entry.task)} due, and without its domain nothing can be looked at: "
            "if it may go, send a stream-end"
        )
    _check_unchanged(ledger, letter)  # somebody may have dropped it meanwhile
    fresh = entry._replace(retry_at=None, failures=(), created_at=at)
    return fresh._replace(check_at=at, checked_at=None) if look else fresh._replace(delete_at=at)


def drop(ledger: LedgerAdmin, *, keys: list[str], everything: bool, dry_run: bool) -> int:
    """Forgets dead letters for good."""
    problems = Problems()
    for letter in _chosen(ledger, keys, everything, problems):
        try:
            _delete(ledger, letter, dry_run)
            out.print(escape(f"{would(dry_run)}dropped {letter.key}"))
        except (UsageError, LedgerRefused) as problem:
            problems.report(letter.key, problem)
    return problems.status


def _delete(ledger: LedgerAdmin, letter: Letter, dry_run: bool) -> None:
    """Deletes exactly the letter that was read: letters of older versions replace one another under one key.

    Raises:
        UsageError: another letter lies there now, or none. It is not touched.
    """
    _check_unchanged(ledger, letter)
    if not dry_run:
        ledger.drop_letter(letter.key)


def _check_unchanged(ledger: LedgerAdmin, letter: Letter) -> None:
    body = ledger.read_letter(letter.key)
    if body is None:
        raise UsageError(_VANISHED)
    if body != letter.body:
        raise UsageError("has been replaced by a new letter meanwhile, which stays: see `ledger dead`")


def _chosen(ledger: LedgerAdmin, keys: list[str], everything: bool, problems: Problems) -> Iterator[Letter]:
    """The letters that were asked for, each once; what is no letter is reported, and left out.

    Raises:
        UsageError: it is not clear which are meant.
    """
    if keys and everything:
        raise UsageError("name keys, or say --all: not both")
    if not keys and not everything:
        raise UsageError("name the keys that `ledger dead` lists, or say --all")
    there = dict.fromkeys(_keys(ledger))
    if unknown := [key for key in keys if key not in there]:
        raise UsageError(f"there is no dead letter {unknown[0]}: `ledger dead` lists them")

    def read(key: str) -> Letter:
        letter = _letter_at(ledger, key)
        if letter is None:
            raise LedgerRefused(_VANISHED)
        return letter

    return (letter for _, letter in read_all(list(dict.fromkeys(keys or there)), read, problems))


def _keys(ledger: LedgerAdmin) -> list[str]:
    return ledger.letters()


def _letter_at(ledger: LedgerAdmin, key: str) -> Letter | None:
    """The dead letter at ``key``; None if it has vanished since it was listed.

    Raises:
        LedgerRefused: it cannot be read, or something else lies there.
    """
    body = ledger.read_letter(key)
    if body is None:
        return None
    try:
        return _letter_of(key, body)
    except (ValueError, TypeError, KeyError, RecursionError, LedgerRefused) as error:
        raise LedgerRefused(f"is no dead letter that can be read: {error!r}"[:DETAIL_CHARACTERS]) from None


def _letter_of(key: str, body: bytes) -> Letter:
    fields = _of(dict, json.loads(body))
    entry = entry_of(_of(dict, fields["entry"])).entry if "task_id" in fields else None
    about = _about_message(fields) if entry is None else _about_task(fields, entry)
    died_at = fields.get("died_at")
    as_json = json.dumps({"key": key, **fields}, ensure_ascii=False)
    return Letter(key, body, about, as_json, float(died_at) if is_time(died_at) else 0.0, entry)


def _about_task(fields: dict[str, Any], entry: Entry) -> str:
    name = f"{_of(str, fields['stream_name'])} {_of(str, fields['task_id'])}"
    if name != _name(entry.task):
        raise ValueError(f"it is about {name}, and its entry about {_name(entry.task)}")
    errors = [f"{_of(int, error['times'])} × {_of(str, error['code'])}" for error in _of(list, fields["errors"])]
    return f"{name}  {', '.join(errors)}"


def _about_message(fields: dict[str, Any]) -> str:
    details = [_of(str, detail) for detail in _of(list, fields["details"])]
    return f"{_of(str, fields['message_id'])}  {'; '.join(details)}"


def _name(task: RecordTask) -> str:
    return f"{task.stream_name} {task.task_id}"


def _of(kind: type, value: Any) -> Any:
    if type(value) is kind:
        return value
    raise TypeError(f"{value!r} is no {kind.__name__}")
