"""The event contract as JSON Schema, generated from the models of ``handler.intake.messages``."""

from __future__ import annotations

import json
from typing import Any

from handler.core.events import TYPES, Interruption, OtherCallback, StreamEnd, TaskCreated
from handler.core.fields import ALL, API_TIME_SCHEMA
from handler.intake.messages import ALIASES
from local.samples import SCHEMA

TITLE = "live-record-reaper: a message"
DESCRIPTION = (
    "What a queue message, a timer's Message, a CloudEvent's data or a direct invocation holds: one of these "
    "objects, or an array of them. Unknown fields are ignored, but for those that nearly spell one of these or name a "
    "retention: they are rejected. JSON Schema cannot say which those are, nor how far off a time may be."
)


def schema() -> dict[str, Any]:
    """The JSON Schema of a message, or of an array of them."""
    kinds = {model.__name__: _described(model.model_json_schema()) for model in TYPES.values()}
    kinds[StreamEnd.__name__]["allOf"].append({"anyOf": [_has("ended_at"), {"not": _says("task_id", [ALL])}]})
    has_an_end = [_has("end_time"), _has("expires_at"), _says("Highlight", [1, "1"])]
    kinds[TaskCreated.__name__]["allOf"].append({"anyOf": has_an_end})
    kinds[Interruption.__name__] = {**Interruption.model_json_schema(), "not": {"required": ["type"]}}
    kinds[OtherCallback.__name__] = {
        **OtherCallback.model_json_schema(),
        "not": {"properties": {"type": _TEXT}, "required": ["type"]},
    }
    message = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in kinds]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": TITLE,
        "description": DESCRIPTION,
        "anyOf": [{"$ref": "#/$defs/Message"}, {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Message"}}],
        "$defs": {"Message": message, **kinds},
    }


def write() -> None:
    """Writes ``events/schema.json`` anew."""
    SCHEMA.write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf-8")


_TEXT = {"type": "string"}


def _described(model: dict[str, Any]) -> dict[str, Any]:
    """A model's schema in which each field goes by either spelling."""
    properties = model["properties"]
    for alias, name in ALIASES.items():
        if name in properties:
            as_the_api = API_TIME_SCHEMA if name in ("start_time", "end_time") else {}
            properties[alias] = {**properties[name], **as_the_api, "title": f"{name}, as the Live API spells it"}
    for field in properties.values():
        field.pop("default", None)
    required = [_has(name) for name in model.pop("required", []) if name != "type"]
    return {**model, "required": ["type"], **({"allOf": required} if required else {})}


def _has(name: str) -> dict[str, Any]:
    return {"anyOf": [{"required": [spelling]} for spelling in _spellings(name)]}


def _says(name: str, values: list[object]) -> dict[str, Any]:
    said = [{"properties": {spelling: {"enum": values}}, "required": [spelling]} for spelling in _spellings(name)]
    return {"anyOf": said}


def _spellings(name: str) -> list[str]:
    return [name, *(alias for alias, of in ALIASES.items() if of == name)]


if __name__ == "__main__":
    write()
