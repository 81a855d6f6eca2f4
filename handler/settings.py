"""Every ``REAPER_*`` variable, as one frozen model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, SecretStr, ValidationError
from pydantic_core import PydanticCustomError

from handler.model import shown

PREFIX = "REAPER_"

_HOST = r"(?:(?P<scheme>https?)://)?(?P<address>[A-Za-z0-9._-]+(?::(?P<port>[0-9]{1,5}))?)/?"


class SettingsError(Exception):
    """The configuration is not usable: one line that names the variable, its value and the rule."""


class Endpoint(NamedTuple):
    """Where the Live API answers: ``scheme`` is http or https, ``address`` host or host:port."""

    scheme: str
    address: str


def _rule(text: str) -> PydanticCustomError:
    return PydanticCustomError("setting", "{rule}", {"rule": text})


def _endpoint(value: str) -> Endpoint:
    match = re.fullmatch(_HOST, value)
    if match is None or (match["port"] and not 0 < int(match["port"]) < 65536):
        raise _rule("must be a host, host:port, or http://host:port for a local stand-in")
    return Endpoint(scheme=match["scheme"] or "https", address=match["address"])


def _streams(value: str) -> tuple[str, ...]:
    globs = tuple(glob for part in value.split(",") if (glob := part.strip()))
    if not globs:
        raise _rule("must name at least one stream name or glob, separated by commas")
    return globs


def _switch(value: str) -> bool:
    try:
        return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
    except KeyError:
        raise _rule("must be true or false") from None


class Place(NamedTuple):
    """Where the ledger is kept. ``prefix`` ends in a slash, or is empty; ``endpoint`` is a local stand-in's."""

    bucket: str
    prefix: str
    region: str
    endpoint: Endpoint | None = None


_LEDGER = r"(?a)cos://(?P<bucket>[a-z0-9-]{1,50}-[0-9]{5,20})/?(?P<prefix>[\w./-]{0,200})\?(?P<query>\S+)"


def _ledger(value: str) -> Place:
    match = re.fullmatch(_LEDGER, value)
    query = dict(pair.partition("=")[::2] for pair in match["query"].split("&")) if match else {}
    if (
        match is None
        or not re.fullmatch(r"[a-z0-9-]+", query.get("region", ""))
        or query.keys() - {"region", "endpoint"}
    ):
        raise _rule("must be cos://BUCKET-APPID/prefix?region=ap-guangzhou")
    prefix = match["prefix"].strip("/")
    endpoint = _endpoint(query["endpoint"]) if "endpoint" in query else None
    return Place(
        bucket=match["bucket"], prefix=f"{prefix}/" if prefix else "", region=query["region"], endpoint=endpoint
    )


_A_YEAR = 366 * 86_400
Seconds = Annotated[float, Field(ge=0, le=_A_YEAR, allow_inf_nan=False)]


class Settings(BaseModel):
    """What a deployment may decide. Field names are the variables' names without the prefix."""

    model_config = ConfigDict(frozen=True)

    live_endpoint: Annotated[Endpoint, PlainValidator(_endpoint)] = Endpoint(
        scheme="https", address="live.tencentcloudapi.com"
    )
    max_qps: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 200.0
    concurrency: Annotated[int, Field(ge=1, le=512)] = 32
    ledger: Annotated[Place | None, PlainValidator(_ledger)] = None
    end_margin_seconds: Seconds = 600.0
    grace_seconds: Seconds = 1_800.0
    give_up_after_seconds: Seconds = 604_800.0
    streams: Annotated[tuple[str, ...], BeforeValidator(_streams)] = ("*",)
    dry_run: Annotated[bool, BeforeValidator(_switch)] = False
    callback_key: SecretStr | None = None
    log_tasks: Literal["all", "problems"] = "all"

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Settings:
        """The settings that ``environ`` holds; an empty value means unset.

        Raises:
            SettingsError: a bad value, or a ``REAPER_…`` name that nothing reads.
        """
        variables = {PREFIX + field.upper(): field for field in cls.model_fields}
        given = {}
        for name, value in environ.items():
            if name.startswith(PREFIX):
                if name not in variables:
                    raise SettingsError(_unknown(name, list(variables)))
                if value.strip():
                    given[variables[name]] = value.strip()
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise SettingsError(_bad(error.errors()[0])) from None

    def concerns(self, stream_name: str) -> bool:
        """Whether this deployment may touch ``stream_name`` (``REAPER_STREAMS``)."""
        return any(fnmatchcase(stream_name, glob) for glob in self.streams)


def _unknown(name: str, known: list[str]) -> str:
    from difflib import get_close_matches  # only a mistake needs it

    close = get_close_matches(name[len(PREFIX) :].upper(), [other[len(PREFIX) :] for other in known], n=1)
    hint = f"did you mean {PREFIX}{close[0]}?" if close else f"known are {', '.join(known)}"
    return f"{shown(name)[1:-1]} is not a setting: {hint}"


def _bad(error: Any) -> str:
    name = error["loc"][0]
    value = "(hidden)" if name == "callback_key" else shown(_without_secrets(str(error["input"])))
    return f"{PREFIX}{name.upper()}={value}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _without_secrets(value: str) -> str:
    """A URL's value without what may be a password in it."""
    value = re.sub(r"^(\w+://)?.*@", r"\1***@", value, flags=re.DOTALL)
    return re.sub(r"(?i)((?:pass|secret|token|key|pwd)\w*=)[^&\s]*", r"\1***", value)
