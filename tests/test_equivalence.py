"""The new core (``handler/core``) compared at random with the code that it replaces: both must decide alike.

Each comparison gives both sides the same random case, and holds what they decide against each other. Where the core
is meant to differ, ``Intended`` says so in a sentence; each comparison states which of these it met, and no other
difference passes. To be deleted together with the code that it compares.

Not compared, because it is the runtime's: which of two index keys of one task counts, pace and its feedback, answers
that come after the end of a batch, REAPER_STREAMS, the order of writes, deliveries whose events differ in trust.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum
from random import Random
from typing import Any, NamedTuple, cast

import pytest

from handler import ledger as old_ledger
from handler import messages, settling
from handler import model as old_model
from handler.core import attempt as new_attempt
from handler.core import plan as new_plan
from handler.core import settle as new_settle
from handler.core.attempt import End, Ended, Fresh, Reply, Reread, Send, Sleep, Unsent
from handler.core.entry import NEVER, Check, Delete, Entry, Failure, Step, Target, Wait, Why, next_step
from handler.core.events import TYPES, Event, Interruption, OtherCallback
from handler.core.model import Outcome, Reason, RecordTask, Rejection, TaskResult
from handler.core.plan import Moment, Received, TaskPlan, plan_task
from handler.core.policy import ErrorClass, policy_of
from handler.core.settle import DeadLetter, Forget, Leave, Rules, Save, Settlement
from handler.crew import Crew
from handler.error_codes import ErrorClass as OldErrorClass
from handler.ledger import Due, LedgerRefused, MemoryLedger, Pointer
from handler.live import Answer
from handler.pacer import Pacer
from handler.planner import Asked, Part, Parts, Planner
from handler.reaper import Deadline, Reaper, Work, _Batch, _result_of
from handler.settings import Settings
from handler.triggers import Message


class Intended(Enum):
    """What the core decides otherwise than the code before it, on purpose."""

    # attempt
    DRY_RUN_REREADS = "after an inactive check a dry run, too, reads the record again, and plans what would be deleted"
    ASSERTED_ELSEWHERE = "a record that was registered elsewhere during the check, but whose assertion is due, goes now"
    AS_READ_LAST = (
        "what is settled after a check is the record as it was read before the deletion, not before the check"
    )
    UNSENT_ONCE = "a request that could not be made (no credentials) ends the tries: no wait of 0 s, no second turn"
    # settle
    CHECKED_AT = "a check that was answered, or given up, is remembered: it answers every hint up to then"
    EMPTY_CODE = "a check refused with an empty error code has failed; it was taken for an answer and cleared failures"
    PAST_RETRY = "a retry_at that is past may stay in what is written (or buried): it changes nothing any more"
    NO_TRY_NO_FAILURE = "where no check can be made, nothing was tried: the letter has a detail, but no failure"
    # plan
    MERGED = "an assertion that is due now is merged with an earlier one instead of replacing its due time: lag only"
    LAST_CAUSE = "of one delivery, the last event that changed an entry is its cause, also beside an assertion due now"
    UNTRUSTED_WAITS = "what an untrusted source asserts is stored and waits for a sweep (HTTP lets none of it in)"
    KNOWN_WITHIN = (
        "a task that an earlier event of the delivery asserted is known to the events after it: another detail"
    )
    ALL_STATELESS = "the detail of a stream-end for all without a ledger names the field first"


Seen = Counter[Intended]
SEEDS, CASES = range(5), 2_000
NOW = 1_750_000_000.0
MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
RULES = Rules(end_margin=600.0, grace=1_800.0, give_up_after=7 * DAY)
SETTINGS = Settings.model_validate({"dry_run": "false"})
MOMENTS = [-9 * DAY, -7 * DAY, -DAY, -3 * HOUR, -40 * MINUTE, -1_800, -1_200, -900, -300, -60, -1, -0.5, 0]
MOMENTS += [0.5, 1, 60, 299, 300, 301, 600, 1_200, 1_800, 3 * HOUR, DAY, 9 * DAY]
DOMAINS = ["push.example.com", "push.example.com", "Push.Example.com.", "other.example.com"]
APPS = ["live", "live", "Live", "show"]
CODES = ["InternalError", "FailedOperation.AlterTaskState", "RequestLimitExceeded", "Odd.Code"]
STREAM = "room-1"
seeded = pytest.mark.parametrize("seed", SEEDS)


def only(seen: Seen, *names: str) -> None:
    """Each of these differences was met, and no other."""
    assert {intended.name for intended in +seen} == set(names)


# -- random cases ------------------------------------------------------------------------------


def moment(random: Random) -> float:
    at = NOW + random.choice(MOMENTS)
    return at if random.random() < 0.7 else at + random.uniform(-30, 30)


def maybe(random: Random, share: float, make: Callable[[Random], Any]) -> Any:
    return make(random) if random.random() < share else None


def any_domain(random: Random) -> str:
    return random.choice(DOMAINS)


def any_app(random: Random) -> str:
    return random.choice(APPS)


def failures(random: Random) -> tuple[Failure, ...]:
    if random.random() < 0.6:
        return ()
    found = []
    for code in random.sample(CODES, random.randint(1, 3)):
        first = NOW - random.choice([1, HOUR, DAY, 6.9 * DAY, 7 * DAY, 8 * DAY])
        found.append(Failure(code, f"{code}: no", random.randint(1, 12), first, random.uniform(first, NOW)))
    return tuple(found)


def entry_of(random: Random, task_id: int = 1) -> Entry:
    return Entry(
        RecordTask(STREAM, task_id),
        maybe(random, 0.8, any_domain),
        maybe(random, 0.7, any_app),
        maybe(random, 0.8, moment),
        maybe(random, 0.7, moment),
        maybe(random, 0.6, moment),
        maybe(random, 0.2, moment),
        maybe(random, 0.3, moment),
        failures(random),
        maybe(random, 0.8, lambda random: {"message_id": f"before-{random.randint(1, 9)}", "type": "stream-end"}),
        maybe(random, 0.9, moment),
    )


def due_entry_of(random: Random, wanted: type[Delete] | type[Check] | None = None) -> tuple[Entry, Delete | Check]:
    while True:
        entry = entry_of(random)
        step = next_step(entry, NOW)
        if not isinstance(step, Wait) and wanted in (None, type(step)):
            return entry, step


# -- one side's values as the other's ----------------------------------------------------------


def old_task(task: RecordTask) -> old_model.RecordTask:
    return old_model.RecordTask(*task)


def old_entry(entry: Entry) -> old_ledger.Entry:
    """``tries`` and ``first_due_at`` are not kept any more: they follow from the failures."""
    return old_ledger.Entry(
        task=old_task(entry.task),
        domain_name=entry.domain_name,
        app_name=entry.app_name,
        started_at=entry.started_at,
        asserted_at=entry.delete_at,
        look_at=entry.check_at,
        not_before=entry.retry_at,
        first_due_at=entry.failing_since,
        tries=entry.attempts,
        failures=tuple(old_ledger.Failure(*failure) for failure in entry.failures),
        because=entry.cause,
        known_since=entry.created_at,
    )


def new_entry(entry: old_ledger.Entry, checked_at: float | None) -> Entry:
    made = Entry(
        task=RecordTask(*entry.task),
        domain_name=entry.domain_name,
        app_name=entry.app_name,
        started_at=entry.started_at,
        delete_at=entry.asserted_at,
        check_at=entry.look_at,
        checked_at=checked_at,
        retry_at=entry.not_before,
        failures=tuple(Failure(*failure) for failure in entry.failures),
        cause=entry.because,
        created_at=entry.known_since,
    )
    assert (made.attempts, made.failing_since) == (entry.tries, entry.first_due_at)
    return made


def new_result(result: old_model.Result) -> TaskResult:
    """Without what the runtime adds: how long it took, and whether the ledger holds it."""
    return TaskResult(
        Outcome(result.outcome.value),
        Reason(result.reason.value) if result.reason else None,
        result.detail,
        result.error_code,
        result.error_class,
        result.calls,
        live_request_id=result.live_request_id,
    )


def old_answer(reply: Reply, on_air: bool | None) -> Answer:
    error_class = OldErrorClass(reply.error_class.value) if reply.error_class else None
    return Answer(error_class, reply.error_code, reply.detail, reply.request_id, reply.ambiguous, reply.sent, on_air)


class OldLedger(MemoryLedger):
    """Keeps entries as the code before it did, and what it was told."""

    keeps = True

    def __init__(self, *stored: Entry, refuses: bool = False) -> None:
        self.stored = {old_task(entry.task): old_entry(entry) for entry in stored}
        self.refuses = refuses
        self.written: dict[old_model.RecordTask, old_ledger.Entry] = {}
        self.letters: list[tuple[old_ledger.Entry, old_model.Result]] = []
        self.forgotten: list[old_model.RecordTask] = []

    def read(self, task: old_model.RecordTask) -> old_ledger.Entry | None:
        return self.stored.get(task)

    def of_stream(self, stream_name: str) -> tuple[list[old_ledger.Entry], list[LedgerRefused]]:
        return list(self.stored.values()), []

    def write(self, entry: old_ledger.Entry) -> old_ledger.Entry:
        if self.refuses:
            raise LedgerRefused("COS said no")
        self.written[entry.task] = self.stored[entry.task] = entry
        return entry

    def settle(self, entry: old_ledger.Entry) -> None:
        self.forgotten.append(entry.task)
        self.stored.pop(entry.task, None)

    def bury(self, entry: old_ledger.Entry, result: old_model.Result, now: float) -> None:
        assert now == NOW
        self.put_letter(entry, result, now)
        self.settle(entry)

    def put_letter(self, entry: old_ledger.Entry, result: old_model.Result, now: float) -> None:
        self.letters.append((entry, result))

    def follow(self, pointer: Pointer, now: float) -> old_ledger.Entry | None:
        [entry] = self.stored.values()
        return entry if entry.is_due(now) else None


def old_work(ledger: OldLedger, now: float, *, dry_run: bool = False) -> Work:
    settings = SETTINGS.model_copy(update={"dry_run": dry_run})
    return settling.work([], False, lambda: now, settings, ledger, settling.HourlyLines())


# -- 1. which step an entry leads to -----------------------------------------------------------


@seeded
def test_an_entry_leads_to_the_same_step(seed: int) -> None:
    random = Random(seed)
    kinds: Counter[object] = Counter()
    for case in range(CASES):
        entry = entry_of(random)
        step = next_step(entry, NOW)
        kinds[step.why if isinstance(step, Wait) else type(step)] += 1
        assert step == old_step(entry), f"{seed}/{case}: {entry}"
    assert kinds.keys() == {Delete, Check, *Why}


def old_step(entry: Entry) -> Step:
    old = old_entry(entry)
    due = old_work(OldLedger(entry), NOW).claim(Pointer("any", NOW, NOW))
    if due is None:
        assert not old.is_due(NOW)
        if old.due_at is None:
            return Wait(NEVER, Why.NO_TIME)
        return Wait(old.due_at, Why.AFTER_FAILURE if old.due_at == old.not_before else Why.NOT_DUE)
    assert due.look == old.needs_look(NOW)
    if due.verdict:
        return Wait(NEVER if old.asserted_at is None else old.asserted_at, Why.CANNOT_CHECK)
    if not due.look:
        return Delete(entry.task)
    assert old.target
    return Check(entry.task, Target(*old.target))


# -- 2. which requests are made of it ----------------------------------------------------------


class Turn(NamedTuple):
    """What happens when the next request is to leave: what it is answered, or why it does not leave."""

    of_check: Reply
    of_deletion: Reply
    on_air: bool | None
    sleeps: bool  # whether there is time for another try
    in_time: bool = True
    stopped: type[Delete] | type[Check] | None = None  # another task's answer stopped these just before


class Script(NamedTuple):
    """All that both sides are told. ``fresh``: what is stored when it is read again; ``later``: the time by then."""

    turns: list[Turn]
    fresh: list[Entry | None]
    later: float
    dry_run: bool
    randoms: int


TOO_LATE = Turn(Reply(), Reply(), None, sleeps=False, in_time=False)


def reply_of(random: Random) -> Reply:
    """Every class; ambiguous or not. What could not be sent, for want of credentials, is ``blocked``."""
    error_class = random.choice([None, *ErrorClass, *[ErrorClass.TRANSIENT, ErrorClass.GONE] * 2, ErrorClass.THROTTLED])
    if error_class is None:
        return Reply(request_id=f"r{random.randint(1, 99)}")
    sent = error_class is not ErrorClass.BLOCKED or random.random() < 0.5
    code = f"Code.{error_class.value}"
    ambiguous = error_class in (ErrorClass.TRANSIENT, ErrorClass.UNKNOWN) and random.random() < 0.5
    return Reply(error_class, code, f"{code}: no", maybe(random, 0.5, lambda _: "r"), ambiguous, sent)


def turn_of(random: Random) -> Turn:
    on_air = random.choice([True, False, False, False, None]) if random.random() < 0.6 else None
    of_check = reply_of(random) if on_air is None else Reply(request_id="r", off_air=not on_air)
    stopped = random.choice([Delete, Check]) if random.random() < 0.04 else None
    return Turn(of_check, reply_of(random), on_air, random.random() < 0.8, random.random() < 0.95, stopped)


def fresh_of(random: Random, entry: Entry) -> Entry | None:
    """The record as it is read after a check: as it was, gone, put off, or changed somehow."""
    changes: list[Callable[[], Entry | None]] = [
        *[lambda: entry] * 8,
        lambda: None,
        lambda: entry._replace(check_at=NOW + random.choice([1, 60, 1_800])),
        lambda: entry._replace(retry_at=NOW + random.choice([1, 60, 1_800])),
        lambda: entry._replace(domain_name=maybe(random, 0.8, any_domain), app_name=maybe(random, 0.8, any_app)),
        lambda: entry._replace(delete_at=moment(random), domain_name=maybe(random, 0.5, any_domain)),
        lambda: entry._replace(delete_at=moment(random), started_at=moment(random)),
        lambda: entry_of(random),
    ]
    return random.choice(changes)()


def script_of(random: Random, entry: Entry) -> Script:
    turns = [turn_of(random) for _ in range(random.randint(0, 9))]
    fresh = [fresh_of(random, entry) for _ in turns]
    later = NOW + random.choice([0, 0, 1, 90])
    return Script(turns, fresh, later, random.random() < 0.2, random.randint(1, 10**9))


Trace = list[tuple[object, ...]]  # each request that was tried, each sleep, each reading of the record


class NewSide:
    """Drives the generator as the runtime does."""

    def __init__(self, script: Script) -> None:
        self.script, self.trace = script, Trace()
        self._turns, self._fresh = iter(script.turns), iter(script.fresh)
        self._turn = TOO_LATE
        self._stopped: dict[type[Delete] | type[Check], str] = {}

    def drive(self, entry: Entry, step: Delete | Check) -> Ended:
        draw = Random(self.script.randoms).random
        tries = new_attempt.attempt(step, entry, draw, dry_run=self.script.dry_run)
        try:
            asked = next(tries)
            while True:
                asked = tries.send(self._answer(asked))
        except StopIteration as stop:
            ended: Ended = stop.value
            return ended

    def _answer(self, asked: Send | Sleep | Reread) -> Reply | Unsent | Fresh | bool:
        match asked:
            case Send(call):
                return self._send(call)
            case Sleep(seconds):
                self.trace += [("sleep", seconds)] if self._turn.sleeps else []
                return self._turn.sleeps
            case Reread():
                self.trace.append(("read",))
                return Fresh(next(self._fresh), self.script.later)

    def _send(self, call: Delete | Check) -> Reply | Unsent:
        self._turn = next(self._turns, TOO_LATE)
        if self._turn.in_time and self._turn.stopped:
            self._stopped.setdefault(self._turn.stopped, "AuthFailure.Other")
        if Delete in self._stopped:
            return Unsent(Reason.BLOCKED, f"not sent: {self._stopped[Delete]} stopped the batch")
        if type(call) in self._stopped:
            return Unsent(Reason.BLOCKED, f"not sent: {self._stopped[type(call)]} stopped all checks")
        if not self._turn.in_time:
            return Unsent(Reason.OUT_OF_TIME, "not sent: too little time was left")
        self.trace.append(("check", *call.target) if isinstance(call, Check) else ("delete",))
        reply = self._turn.of_check if isinstance(call, Check) else self._turn.of_deletion
        if policy_of(reply.error_class).stops:
            self._stopped.setdefault(type(call), str(reply.error_code))
        return reply


class OldSide(OldLedger):
    """The reaper with all that it leans on, but for its own batch: client, pacer, clocks, ledger."""

    rate = 1.0

    def __init__(self, script: Script, asserted_stays: bool = True) -> None:
        super().__init__()
        self.script, self.trace = script, Trace()
        self._asserted_stays = asserted_stays
        self._turns, self._fresh = iter(script.turns), iter(script.fresh)
        self._turn, self._time = TOO_LATE, 0.0
        self._target: tuple[str, str] | None = None
        self.moved = self.changed_plan = False

    def drive(self, entry: Entry, step: Delete | Check) -> old_model.Result:
        due = Due(old_task(entry.task), entry.due_at, old_entry(entry), isinstance(step, Check), kept=True)
        self._target = entry.target
        self._batch = _Batch([due], None, Deadline(1.0, 1e6, 2e6), 0.0)
        draw = Random(self.script.randoms).random
        reaper = Reaper(cast(Pacer, self), Crew(), lambda: self._time, self._sleep, draw)
        work = old_work(self, self.script.later, dry_run=self.script.dry_run)
        result = reaper._result(due, work, self._batch, self)
        if self.script.dry_run and result.calls and result.outcome is old_model.Outcome.PLANNED:
            overtaken = work.overtaken(due)  # Intended.DRY_RUN_REREADS
            self.changed_plan = True
            result = overtaken._replace(calls=result.calls) if overtaken else result
        return result

    def _sleep(self, seconds: float) -> None:
        self.trace.append(("sleep", seconds))

    # the pacer

    def wait_turn(self, latest: float) -> bool:
        self._turn = next(self._turns, TOO_LATE)
        if self._turn.in_time and self._turn.stopped:
            stop = Answer(OldErrorClass.BLOCKED, "AuthFailure.Other")
            self._batch.note(old_model.RecordTask("other", 9), stop, 0.0, self._turn.stopped is Check)
        return self._turn.in_time

    def throttled(self, sent_at: float) -> None: ...

    def answered(self, sent_at: float) -> None: ...

    # the client

    def delete(self, task: old_model.RecordTask) -> Answer:
        self.trace.append(("delete",))
        return self._answered(self._turn.of_deletion, None)

    def is_live(self, domain_name: str, app_name: str, stream_name: str) -> Answer:
        self.trace.append(("check", domain_name, app_name))
        return self._answered(self._turn.of_check, self._turn.on_air)

    def _answered(self, reply: Reply, on_air: bool | None) -> Answer:
        self._time = 0.0 if self._turn.sleeps else 1e9
        return old_answer(reply, on_air)

    # the ledger

    def read(self, task: old_model.RecordTask) -> old_ledger.Entry | None:
        self.trace.append(("read",))
        fresh = next(self._fresh)
        if fresh is None:
            return None
        later = self.script.later
        asserted = fresh.delete_at is not None and fresh.delete_at <= later
        if asserted and fresh.due_at <= later and fresh.target != self._target:  # Intended.ASSERTED_ELSEWHERE
            assert self._target
            self.moved = True
            fresh = fresh._replace(domain_name=self._target[0], app_name=self._target[1])
        return old_entry(fresh)


@seeded
def test_the_same_requests_are_made_for_the_same_replies(seed: int) -> None:
    random, seen = Random(seed), Seen()
    rules = RULES._replace(give_up_after=1e12)  # what becomes of it is compared below
    ends: Counter[object] = Counter()
    for case in range(CASES):
        entry, step = due_entry_of(random, random.choice([Delete, Check, Check]))
        script = script_of(random, entry)
        new, old = NewSide(script), OldSide(script)
        ended, result = new.drive(entry, step), old.drive(entry, step)
        case_of = (seed, case, step, entry, script)
        if new.trace != old.trace:
            assert old.trace == [*new.trace, ("sleep", 0.0)], case_of
            assert ended.reply is not None, case_of
            assert not ended.reply.sent, case_of
            seen[Intended.UNSENT_ONCE] += 1
        assert new_settle.settle(ended, NOW, rules).result == new_result(result), case_of
        assert ended.ambiguous or result.reason is not old_model.Reason.AFTER_RETRY, case_of
        if ended.entry != entry:
            assert ended.entry in script.fresh, case_of
            seen[Intended.AS_READ_LAST] += 1
        seen[Intended.DRY_RUN_REREADS] += old.changed_plan
        seen[Intended.ASSERTED_ELSEWHERE] += old.moved
        ends[ended.how] += 1
        ends[result.reason] += 1
    assert ends.keys() >= {*End, *REASONS_OF_TRIES}
    only(seen, "DRY_RUN_REREADS", "ASSERTED_ELSEWHERE", "AS_READ_LAST", "UNSENT_ONCE")


NAMES_OF_REASONS = [
    *("NOT_FOUND", "AFTER_RETRY", "THROTTLED", "BUSY", "TRANSIENT", "UNKNOWN", "BLOCKED", "INVALID"),
    *("OUT_OF_TIME", "DRY_RUN", "STREAM_IS_LIVE"),
]
REASONS_OF_TRIES = [old_model.Reason[name] for name in NAMES_OF_REASONS]


# -- 3. what is written of how they ended ------------------------------------------------------


class Settled(NamedTuple):
    """How the tries ended, for both sides. ``stored``: what the ledger holds; ``due`` may not know it."""

    ended: Ended
    result: old_model.Result
    stored: Entry | None
    due: Due


def ended_of(random: Random, entry: Entry, hows: Sequence[End]) -> tuple[Ended, old_model.Result]:
    how, calls, ambiguous = random.choice(hows), random.randint(1, 4), random.random() < 0.3
    reply = reply_of(random)
    if how is End.ANSWERED:
        answered = _result_of(old_answer(reply, None), False, calls, 0.0, ambiguous)
        return Ended(how, entry, reply, calls, ambiguous), answered
    if how is End.NOT_OFF_AIR:
        while not policy_of(reply.error_class).answers_check:
            reply = reply_of(random)
        if reply.error_class and random.random() < 0.05:
            reply = reply._replace(error_code="")
        return Ended(how, entry, reply, calls), _result_of(old_answer(reply, True), True, calls, 0.0, ambiguous)
    if how is End.UNTRIED:
        unsent = Unsent(random.choice([Reason.BLOCKED, Reason.OUT_OF_TIME]), "not sent: so it was")
        reason = old_model.Reason(unsent.reason.value)
        untried = old_model.Result(old_model.Outcome.DEFERRED, reason, unsent.detail, calls=calls)
        return Ended(how, entry, None, calls, unsent=unsent), untried
    if how is End.PLANNED:
        planned = old_model.Result(old_model.Outcome.PLANNED, old_model.Reason.DRY_RUN, calls=calls)
        return Ended(how, entry, None, calls), planned
    changed = settling._CHANGED if how is End.OVERTAKEN else settling._FORGOTTEN
    return Ended(how, entry, None, calls), changed._replace(calls=calls)


OF_MESSAGES = [End.ANSWERED, End.ANSWERED, End.UNTRIED, End.PLANNED]  # those of a check: what it decides on is stored


def settled_of(random: Random) -> Settled:
    """From a sweep; or because of a message, with what is known of the task, or before anybody has asked."""
    entry, step = due_entry_of(random)
    source = "sweep" if isinstance(step, Check) else random.choice(["sweep", "sweep", "message", "unasked"])
    if source == "sweep":
        ended, result = ended_of(random, entry, [*OF_MESSAGES, End.NOT_OFF_AIR, End.NOT_OFF_AIR, *End])
        return Settled(ended, result, entry, Due(old_task(entry.task), entry.due_at, old_entry(entry), kept=True))
    stored = maybe(random, 0.6, entry_of)
    if source == "message":
        ended, result = ended_of(random, entry, OF_MESSAGES)
        return Settled(ended, result, stored, Due(old_task(entry.task), entry.due_at, old_entry(entry)))
    at, cause = min(NOW, moment(random)), {"message_id": "now", "type": "stream-end"}
    entry = (stored or Entry(entry.task, created_at=NOW)).asserted(at, cause)._replace(retry_at=None)
    ended, result = ended_of(random, entry, OF_MESSAGES)
    return Settled(ended, result, stored, Due(old_task(entry.task), at, because=cause))


class Written(NamedTuple):
    """What a side came to: the record afterwards, the letter, and whether the task was forgotten."""

    stored: Entry | None
    letter: Entry | None
    forgotten: bool
    result: TaskResult


def written_by_new(settlement: Settlement, stored: Entry | None) -> Written:
    effect, result = settlement
    match effect:
        case Save(entry):
            return Written(entry, None, False, result)
        case Forget():
            return Written(None, None, True, result)
        case DeadLetter(entry, why):
            assert why == result
            return Written(None, entry, True, result)
        case Leave():
            return Written(stored, None, False, result)


def written_by_old(case: Settled, ledger: OldLedger, seen: Seen) -> Written:
    ended, before = case.ended, case.ended.entry.checked_at
    result = new_result(settling.settle(case.due, case.result, NOW, ledger, SETTINGS))
    after = ledger.stored.get(case.due.task)
    letter = None
    if ledger.letters:
        [(buried, why)] = ledger.letters
        assert new_result(why) == result
        letter = new_entry(buried, before)
    if ended.how is End.NOT_OFF_AIR and after and not after.failures:
        seen[Intended.CHECKED_AT] += 1
        before = NOW
    forgotten = case.due.task in ledger.forgotten or (case.stored is None and after is None)
    return Written(new_entry(after, before) if after else None, letter, forgotten, result)


def with_retry_of(entry: Entry | None, other: Entry | None, seen: Seen) -> Entry | None:
    """``entry``, with the time of the next try of ``other`` where that means nothing any more."""
    if entry is None or other is None or entry.retry_at == other.retry_at:
        return entry
    seen[Intended.PAST_RETRY] += 1
    return entry._replace(retry_at=other.retry_at)


@seeded
def test_the_same_is_written_of_the_same_end(seed: int) -> None:
    random, seen = Random(seed), Seen()
    effects: Counter[object] = Counter()
    for number in range(CASES):
        case = settled_of(random)
        stored = [] if case.stored is None else [case.stored]
        settlement = new_settle.settle(case.ended, NOW, RULES)
        effects[type(settlement.effect)] += 1
        effects[settlement.result.reason] += 1
        new, old = written_by_new(settlement, case.stored), written_by_old(case, OldLedger(*stored), seen)
        reply = case.ended.reply
        if case.ended.how is End.NOT_OFF_AIR and reply and reply.error_class and not reply.error_code:
            seen[Intended.EMPTY_CODE] += 1
            assert old.stored, f"{seed}/{number}: {case}"
            assert old.stored.failures == (), f"{seed}/{number}: {case}"
            assert is_counted_or_given_up(case.ended.entry, new), f"{seed}/{number}: {case}"
            continue
        if not case.due.kept and new.stored == case.ended.entry and is_past(new.stored):  # as it was
            old = old._replace(stored=with_retry_of(old.stored, new.stored, seen))
        if case.due.entry is None:
            old = old._replace(letter=with_retry_of(old.letter, new.letter, seen))
        assert new == old, f"{seed}/{number}: {case}"
        if case.ended.how is End.UNTRIED and case.due.kept:
            assert new.stored == case.stored, f"{seed}/{number}: {case}"  # so nothing is written
    assert effects.keys() >= {Save, Forget, DeadLetter, Leave, Reason.GAVE_UP, Reason.STREAM_IS_LIVE}
    only(seen, "CHECKED_AT", "EMPTY_CODE", "PAST_RETRY")


def is_past(entry: Entry | None) -> bool:
    return entry is not None and (entry.retry_at or 0.0) <= NOW


def is_counted_or_given_up(before: Entry, after: Written) -> bool:
    """Whether a failed check left one more failure, a letter, or at least no hint."""
    if after.stored is None:
        return after.letter is not None and after.letter.attempts == before.attempts + 1
    return after.stored.attempts == before.attempts + 1 or after.stored.check_at is None


@seeded
def test_the_same_is_buried_where_nothing_can_be_written(seed: int) -> None:
    random, refused = Random(seed), 0
    for number in range(CASES // 2):
        case = settled_of(random)
        settlement = new_settle.settle(case.ended, NOW, RULES)
        saves = isinstance(settlement.effect, Save) and settlement.effect.entry != case.stored
        failed_check = case.ended.how is End.NOT_OFF_AIR and case.ended.reply and case.ended.reply.error_class
        if not saves or failed_check or case.due.entry is None:
            continue  # the line of a hint that is dropped says more by then; what cannot be read is the shell's
        refused += 1
        stored = [] if case.stored is None else [case.stored]
        old = written_by_old(case, OldLedger(*stored, refuses=True), Seen())
        error = LedgerRefused("COS said no")
        again = new_settle.settle_refused(case.ended.entry, settlement.result, error, NOW)
        assert written_by_new(again, case.stored) == old, f"{seed}/{number}: {case}"
    assert refused > CASES / 20


@seeded
def test_the_same_becomes_of_a_task_that_cannot_be_checked(seed: int) -> None:
    random, seen = Random(seed), Seen()
    effects: Counter[object] = Counter()
    for number in range(CASES // 2):
        entry = entry_of(random)._replace(domain_name=None)
        if not isinstance(next_step(entry, NOW), Wait) or entry.due_at > NOW:
            continue
        ledger = OldLedger(entry)
        due = old_work(ledger, NOW).claim(Pointer("any", NOW, NOW))
        assert due
        assert due.verdict
        case = Settled(Ended(End.UNTRIED, entry), due.verdict, entry, due)
        old = written_by_old(case, ledger, seen)
        if old.letter:
            assert old.letter == entry.failed("", str(due.verdict.detail), NOW), f"{seed}/{number}: {entry}"
            seen[Intended.NO_TRY_NO_FAILURE] += 1
            old = old._replace(letter=entry)
        settlement = new_settle.settle_without_check(entry)
        assert written_by_new(settlement, entry) == old, f"{seed}/{number}: {entry}"
        effects[type(settlement.effect)] += 1
    assert effects.keys() == {Save, DeadLetter}
    only(seen, "NO_TRY_NO_FAILURE")


# -- 4. what events come to for the tasks of a stream ------------------------------------------


def body_of(random: Random) -> dict[str, object]:
    """One event of the stream, as it is sent; it may not be valid."""
    kind = random.choice(
        ["all", "stream-end", "retention-expiry", "task-created", "task-created", "callback", "callback"]
    )
    named = {"stream_name": STREAM, "task_id": random.randint(1, 4)}
    place = {"domain_name": maybe(random, 0.3, any_domain), "app_name": maybe(random, 0.3, any_app)}
    if kind == "all":
        return {"type": "stream-end", **named, "task_id": "all", "ended_at": moment(random), **place}
    if kind == "stream-end":
        return {"type": kind, **named, "ended_at": maybe(random, 0.7, moment), **place}
    if kind == "retention-expiry":
        return {"type": kind, **named, "expires_at": moment(random), **place}
    if kind == "task-created":
        return {"type": kind, **named, **place, **times_of(random)}
    event_type = 0 if random.random() < 0.9 else 1
    callback = {"event_type": event_type, "app": any_domain(random), "appname": any_app(random)}
    return {**callback, "stream_id": STREAM, "event_time": moment(random)}


def times_of(random: Random) -> dict[str, object]:
    start, end = maybe(random, 0.5, moment), maybe(random, 0.6, moment)
    if random.random() < 0.25:
        return {"end_time": end, "Highlight": 1}  # its start is not read
    return {"start_time": start, "end_time": end, "expires_at": maybe(random, 0.5, moment)}


def event_of(random: Random) -> tuple[messages.Event, Event]:
    """One event as each side reads it."""
    while True:
        body = {name: value for name, value in body_of(random).items() if value is not None}
        old = next(messages.read(body, NOW))
        if isinstance(old, old_model.Rejection):
            continue
        callback = Interruption if body.get("event_type") == 0 else OtherCallback
        model = TYPES[str(body["type"])] if "type" in body else callback
        new = cast(Event, model.model_validate(body, context={"now": NOW}))
        assert new.model_dump() == old.model_dump()
        return old, new


class Delivered(NamedTuple):
    """A delivery to both sides. ``trusted``: of its source, so of all of its events."""

    asked: list[Asked]
    received: list[Received]
    known: dict[RecordTask, Entry]
    trusted: bool


def delivered_of(random: Random) -> Delivered:
    trusted = random.random() < 0.8
    known = [entry_of(random, task_id) for task_id in range(1, 4) if random.random() < 0.6]
    asked, received = [], []
    for number in range(random.randint(1, 5)):
        old, new = event_of(random)
        asked.append(Asked(number, f"m{number}", old, Message(f"m{number}", {}), number))
        received.append(Received(number, number, f"m{number}", new, trusted))
    return Delivered(asked, received, {entry.task: entry for entry in known}, trusted)


class Planned(NamedTuple):
    """What both sides made of a delivery."""

    delivered: Delivered
    ledger: OldLedger
    parts: Parts
    plans: dict[RecordTask, TaskPlan]
    seen: Seen

    def old_parts(self, number: int) -> dict[RecordTask, Part]:
        return {RecordTask(*part.task): part for part in self.parts[number] if part.task}


@seeded
def test_the_same_events_come_to_the_same_for_each_task(seed: int) -> None:
    random, seen = Random(seed), Seen()
    steps: Counter[object] = Counter()
    for number in range(CASES):
        delivered = delivered_of(random)
        ledger = OldLedger(*delivered.known.values())
        parts = Planner(NOW, SETTINGS, ledger, delivered.trusted).decide(delivered.asked)
        plans = plans_of(delivered)
        planned = Planned(delivered, ledger, parts, plans, seen)
        try:
            for item in delivered.received:
                compare_event(planned, item)
            for task, plan in plans.items():
                steps[compare_task(planned, task, plan)] += 1
        except AssertionError as error:
            raise AssertionError(f"{seed}/{number}: {error}\n{delivered}\n{parts}\n{plans}") from error
    assert steps.keys() >= {Delete, Check, Wait, None}
    assert seen[Intended.LAST_CAUSE] < CASES / 4
    only(seen, "MERGED", "LAST_CAUSE", "UNTRUSTED_WAITS", "KNOWN_WITHIN")


def plans_of(delivered: Delivered) -> dict[RecordTask, TaskPlan]:
    named = {task for item in delivered.received if (task := new_plan.task_of(item.event))}
    moment = Moment(NOW, RULES)
    tasks = sorted({*named, *delivered.known})
    return {task: plan_task(task, delivered.known.get(task), delivered.received, moment) for task in tasks}


def compare_event(planned: Planned, item: Received) -> None:
    """Which tasks an event concerns, and its line where that needs no work."""
    number, event, seen = item.number, item.event, planned.seen
    assert not isinstance(event, Rejection)
    touched = {task for task, plan in planned.plans.items() if any(one.number == number for one in plan.touched)}
    old = planned.old_parts(number)
    assert touched == old.keys(), f"{number} concerns others"
    if touched:
        return
    [part] = planned.parts[number]
    assert isinstance(part.decision, old_model.Result)
    elsewhere = [why for plan in planned.plans.values() for other, why in plan.elsewhere if other == number]
    line = new_plan.answer_with_ledger(event, NOW) or new_plan.none_known(event, elsewhere)
    expected = new_result(part.decision)
    if line != expected and any(is_new_by(plan, task, planned, number) for task, plan in planned.plans.items()):
        seen[Intended.KNOWN_WITHIN] += 1
        expected = expected._replace(detail=line.detail)
    assert line == expected, f"the line of {number}"


def is_new_by(plan: TaskPlan, task: RecordTask, planned: Planned, number: int) -> bool:
    """Whether the ledger does not know a task that an earlier event of the delivery named."""
    return task not in planned.delivered.known and any(touched.number < number for touched in plan.touched)


def compare_task(planned: Planned, task: RecordTask, plan: TaskPlan) -> object:
    """What is written of a task, which step is due now, and the lines of its events. Returns the step's type."""
    delivered, old_written = planned.delivered, planned.ledger.written.get(old_task(task))
    if not plan.touched:
        assert plan.entry == delivered.known.get(task), f"{task} was changed by nothing"
        assert old_written is None, f"{task} was written for nothing"
        return None
    entry = plan.entry
    assert entry
    assert plan.trusted == delivered.trusted
    parts = [planned.old_parts(touched.number)[task] for touched in plan.touched]
    decisions = [part.decision for part in parts if isinstance(part.decision, Due)]
    step = next_step(entry, NOW) if plan.trusted else Wait(entry.due_at, Why.NOT_DUE)
    if decisions:
        due = decisions[0]
        assert decisions == [due] * len(parts)
        compare_due(planned, due, entry, step)
    else:
        assert isinstance(step, Wait), f"{task} is not due"
        for touched, part in zip(plan.touched, parts, strict=True):
            assert isinstance(part.decision, old_model.Result)
            assert new_plan.scheduled(entry, touched.stated_at) == new_result(part.decision), f"line of {task}"
    # As the runtime does: what waits, or is to be checked, is stored first.
    written = entry if not isinstance(step, Delete) and entry != delivered.known.get(task) else None
    if decisions and isinstance(step, Wait):
        return Wait  # Intended.UNTRUSTED_WAITS: what is written then was compared with what was due
    assert (written is None) == (old_written is None), f"{task} is written by one side only"
    if written and old_written:
        assert written == new_entry(old_written, written.checked_at), f"what is written of {task}"
    return type(step)


def compare_due(planned: Planned, due: Due, entry: Entry, step: Step) -> None:
    """What the code before works on now, against the step that the entry leads to."""
    seen, known = planned.seen, planned.delivered.known.get(entry.task)
    if planned.delivered.trusted:
        assert due.look == isinstance(step, Check), f"{entry.task}: {step}"
        assert isinstance(step, Delete | Check), f"{entry.task}: {step}"
    else:
        assert not due.look
        assert isinstance(next_step(entry, NOW), Delete)
        seen[Intended.UNTRUSTED_WAITS] += 1
    if due.entry:
        expected = new_entry(due.entry, known.checked_at if known else None)
    else:  # the ledger was asked once it was settled
        expected = (known or Entry(entry.task, created_at=NOW)).asserted(due.due_at, due.because)
    if not due.look and entry.retry_at is None:  # it is wanted now, whatever failed before
        expected = expected._replace(retry_at=None)
    if entry.cause != expected.cause:
        assert not due.look, f"{entry.task}: the cause of a check"
        seen[Intended.LAST_CAUSE] += 1
        expected = expected._replace(cause=entry.cause)
    assert entry == expected, f"{entry.task} as it is worked on"
    assert entry.due_at <= due.due_at
    seen[Intended.MERGED] += entry.due_at < due.due_at


@seeded
def test_the_same_is_said_where_there_is_no_ledger(seed: int) -> None:
    random, seen = Random(seed), Seen()
    for number in range(CASES // 5):
        old, new = event_of(random)
        asked = Asked(0, "m0", old, Message("m0", {}), 0)
        [part] = Planner(NOW, SETTINGS, MemoryLedger()).decide([asked])[0]
        line = new_plan.answer_without_ledger(new, NOW)
        if isinstance(part.decision, Due):
            assert line is None, f"{seed}/{number}: {new}"
            plan = plan_task(
                RecordTask(*part.decision.task), None, [Received(0, 0, "m0", new, True)], Moment(NOW, RULES)
            )
            assert plan.entry
            assert isinstance(next_step(plan.entry, NOW), Delete), f"{seed}/{number}: {new}"
            continue
        expected = new_result(part.decision)
        if expected.reason is Reason.NO_TASK_ID and line:
            seen[Intended.ALL_STATELESS] += 1
            expected = expected._replace(detail=line.detail)
        assert line == expected, f"{seed}/{number}: {new}"
    only(seen, "ALL_STATELESS")
