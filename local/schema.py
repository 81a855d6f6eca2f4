"""The event contract as JSON Schema, generated from the models of ``handler.messages``."""

from __future__ import annotations

import json
from typing import Any

from handler.messages import ALIASES, TYPES, Interruption, OtherCallback, StreamEnd
from local.samples import SCHEMA

TITLE = "live-record-reaper: a message"
DESCRIPTION = (
    "What a queue message, a timer's Message, a CloudEvent's data or a direct invocation holds: one of these "
    "objects, or an array of them. Unknown fields are ignored. JSON Schema cannot say how far off a time may be."
)


def schema() -> dict[str, Any]:
    """The JSON Schema of a message, or of an array of them."""
    kinds = {model.__name__: _described(model.model_json_schema()) for model in TYPES.values()}
    kinds[StreamEnd.__name__]["allOf"].append({"anyOf": [*_has("task_id")["anyOf"], {"required": ["ended_at"]}]})
    for callback in (Interruption, OtherCallback):
        kinds[callback.__name__] = {**callback.model_json_schema(), "not": {"required": ["type"]}}
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


def _described(model: dict[str, Any]) -> dict[str, Any]:
    """A model's schema in which each field goes by either spelling."""
    properties = model["properties"]
    for alias, name in ALIASES.items():
        if name in properties:
            properties[alias] = {**properties[name], "title": f"{name}, as the Live API spells it"}
    for field in properties.values():
        field.pop("default", None)
    required = [_has(name) for name in model.pop("required", []) if name != "type"]
    return {**model, "required": ["type"], **({"allOf": required} if required else {})}


def _has(name: str) -> dict[str, Any]:
    spellings = [name, *(alias for alias, of in ALIASES.items() if of == name)]
    return {"anyOf": [{"required": [spelling]} for spelling in spellings]}


if __name__ == "__main__":
    write()
