"""The events: what a message, or a callback of CSS, can say. Strict in meaning; unknown fields are ignored."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from handler.core.fields import ALL, Highlight, Name, OptionalName, OptionalTime, TaskId, TaskIdOrAll, Time
from handler.core.model import Reason

CLOCK_SKEW_SECONDS = 300  # what the platform's own signatures allow a clock to be off
HIGHLIGHT_SECONDS = 1800  # a real-time recording ends after at most 30 minutes (267/30148)


class EventModel(BaseModel):
    # Built when the first one comes: most events bring one type only.
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class TypedMessage(EventModel):
    """A message of ours. What a producer leaves out never widens it: what acts now, or on many tasks, is said."""


class StreamEnd(TypedMessage):
    """The user's own backend says that a stream is over: its task is due at ``ended_at``, now if that is left out.

    With the task id ``"all"``: every task that the ledger knows of that stream and that had started by ``ended_at``;
    where a domain or an app is named, only tasks that were registered under it.
    """

    type: Literal["stream-end"]
    stream_name: Name
    task_id: TaskIdOrAll
    ended_at: OptionalTime = None
    domain_name: OptionalName = None
    app_name: OptionalName = None

    @model_validator(mode="after")
    def _all_up_to_a_moment(self) -> StreamEnd:
        if self.task_id == ALL and self.ended_at is None:
            raise PydanticCustomError(
                Reason.MISSING_FIELD.value,
                'ended_at: missing: with the task_id "all", say when the stream ended; or send the id of one task',
            )
        return self


class RetentionExpiry(TypedMessage):
    """The user's own backend says when a retention expires: due at ``expires_at``, now if that is past."""

    type: Literal["retention-expiry"]
    stream_name: Name
    task_id: TaskId
    expires_at: Time
    domain_name: OptionalName = None
    app_name: OptionalName = None


class TaskCreated(TypedMessage):
    """Remember this task: due at ``expires_at``, else at ``end_time`` plus a margin.

    ``start_time`` None: it starts when the message arrives. ``highlight`` is kept only where the message does not say
    when such a recording ends.
    """

    type: Literal["task-created"]
    stream_name: Name
    task_id: TaskId
    start_time: OptionalTime = None
    end_time: OptionalTime = None
    expires_at: OptionalTime = None
    domain_name: OptionalName = None
    app_name: OptionalName = None
    highlight: Highlight = Field(default=None, alias="Highlight")

    @property
    def assumes_end(self) -> bool:
        """Whether no message stated this ``end_time``: it is counted from the message's arrival."""
        return self.highlight is not None

    @model_validator(mode="after")
    def _has_an_end(self, info: ValidationInfo) -> TaskCreated:
        if self.highlight is not None:
            return self._of_a_highlight((info.context or {})["now"])
        if self.end_time is None and self.expires_at is None:
            raise PydanticCustomError(
                Reason.MISSING_FIELD.value,
                "end_time: missing: say when the task ends: send end_time, expires_at, or Highlight: 1",
            )
        if self.start_time is not None and self.end_time is not None and self.end_time <= self.start_time:
            raise PydanticCustomError(
                Reason.CONFLICTING_FIELDS.value, "end_time is not after start_time: are they the wrong way round?"
            )
        return self

    def _of_a_highlight(self, now: float) -> TaskCreated:
        """As the API takes it: it starts now, and ends within 30 minutes."""
        latest = now + HIGHLIGHT_SECONDS
        if self.end_time is not None and now < self.end_time <= latest:
            return self.model_copy(update={"start_time": None, "highlight": None})
        return self.model_copy(update={"start_time": None, "end_time": latest})


class Sweep(TypedMessage):
    """Work off everything that is due."""

    type: Literal["sweep"]


class Interruption(EventModel):
    """A CSS push callback that says that a push was interrupted: a hint, it may come back in a second.

    Its ``task_id`` belongs to other subsystems and is never read (267/47025).
    """

    type: ClassVar[str] = "callback"
    event_type: Literal[0]
    domain_name: Name = Field(alias="app")
    app_name: Name = Field(alias="appname")
    stream_name: Name = Field(alias="stream_id")
    event_time: Time


class OtherCallback(EventModel):
    """Any other CSS callback: a push that started, a recorded file, a screenshot. Nothing is due because of it."""

    type: ClassVar[str] = "callback"
    event_type: Annotated[int, WithJsonSchema({"type": "integer", "not": {"const": 0}})]


Event = StreamEnd | RetentionExpiry | TaskCreated | Sweep | Interruption | OtherCallback

TYPES: dict[str, type[TypedMessage]] = {
    "stream-end": StreamEnd,
    "retention-expiry": RetentionExpiry,
    "task-created": TaskCreated,
    "sweep": Sweep,
}
