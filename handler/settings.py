"""Every ``REAPER_*`` variable, as one frozen model."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, SecretStr, ValidationError
from pydantic_core import PydanticCustomError

from handler.core.model import ReaperError
from handler.masking import describe

PREFIX = "REAPER_"
# A name that is meant as one of ours: in any case, and with anything around it that a console may have let in.
_MEANT = rf"(?i)\W*{PREFIX}"

_HOST = r"(?:(?P<scheme>https?)://)?(?P<address>[A-Za-z0-9._-]+(?::(?P<port>[0-9]{1,5}))?)/?"


class SettingsError(ReaperError):
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
    for glob in globs:
        parts = re.findall(_PART, glob)
        if "[" in parts:
            raise _rule(f"{describe(glob)} has a [ without its ]: write [[] for the character; no set may hold a comma")
        if not _can_match(parts):
            raise _rule(f"{describe(glob)} can match no stream name")
    return globs


# As fnmatch reads a glob: the first character of a set may be its closing bracket. A lone [ is one without its ].
_PART = r"(?s)\*|\[(?:!.|[^!])[^]]*\]|."
_NAME_CHARACTERS = 256


def _can_match(parts: list[str]) -> bool:
    """Whether a glob of these parts matches any valid stream name; all but ``*`` stand for one character."""
    ones = [part for part in parts if part != "*"]
    if not all(map(_allows, ones)):
        return False
    needed = len(ones)
    for end, outermost in ((parts[0], ones[:1]), (parts[-1], ones[-1:])):
        if not all(_allows(part, at_an_end=True) for part in outermost):
            if end != "*":
                return False
            needed += 1  # the * takes a character that may stand there
    return needed <= _NAME_CHARACTERS


def _allows(part: str, at_an_end: bool = False) -> bool:
    """Whether a character of a stream name, or one at an end of it, matches ``part``.

    A set is made of ranges, and so is what it leaves out. Each begins at 0, at a character of the set or just after
    one, so that the first usable character from there on is in it if any is.
    """
    if part == "?":
        return True
    if len(part) == 1:
        return _is_usable(part, at_an_end)
    begins = {0, *(ord(character) + step for character in part for step in (0, 1))}
    found = (_first_usable(begin, at_an_end) for begin in begins)
    return any(character is not None and fnmatchcase(character, part) for character in found)


def _first_usable(begin: int, at_an_end: bool) -> str | None:
    characters = map(chr, range(begin, sys.maxunicode + 1))
    return next((character for character in characters if _is_usable(character, at_an_end)), None)


def _is_usable(character: str, at_an_end: bool) -> bool:
    """Whether a stream name may have ``character``: no control, no invisible one, no half of a surrogate pair."""
    if at_an_end and character.isspace():
        return False
    if character.isprintable():
        return True
    from unicodedata import category  # only odd characters need it

    return category(character) not in ("Cc", "Cf", "Cs")


def _switch(value: str) -> bool:
    try:
        return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
    except KeyError:
        raise _rule("must be true or false") from None


class CosLocation(NamedTuple):
    """Where the ledger is kept. ``prefix`` ends in a slash, or is empty; ``endpoint`` is a local stand-in's."""

    bucket: str
    prefix: str
    region: str
    endpoint: Endpoint | None = None


_LEDGER = r"(?a)cos://(?P<bucket>[a-z0-9-]{1,50}-[0-9]{5,20})/?(?P<prefix>[\w./-]{0,200})\?(?P<query>\S+)"


def _ledger(value: str) -> CosLocation:
    match = re.fullmatch(_LEDGER, value)
    query = dict(pair.partition("=")[::2] for pair in match["query"].split("&")) if match else {}
    if (
        match is None
        or not re.fullmatch(r"[a-z0-9-]+", query.get("region", ""))
        or query.keys() - {"region", "endpoint"}
    ):
        raise _rule("must be cos://BUCKET-APPID/prefix?region=ap-guangzhou")
    prefix = match["prefix"].removesuffix("/")
    if prefix and {"", ".", ".."} & set(prefix.split("/")):
        raise _rule('must have no empty part, "." or ".." in its prefix: URLs are changed there, and lead elsewhere')
    endpoint = _endpoint(query["endpoint"]) if "endpoint" in query else None
    return CosLocation(
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
    ledger: Annotated[CosLocation | None, PlainValidator(_ledger)] = None
    end_margin_seconds: Seconds = 600.0
    grace_seconds: Seconds = 1_800.0
    give_up_after_seconds: Annotated[float, Field(ge=3_600, le=_A_YEAR, allow_inf_nan=False)] = 604_800.0
    streams: Annotated[tuple[str, ...], BeforeValidator(_streams)] = ("*",)
    dry_run: Annotated[bool, BeforeValidator(_switch)]  # must be said: a variable that got lost must not delete
    callback_key: SecretStr | None = None
    log_tasks: Literal["all", "problems"] = "all"

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Settings:
        """The settings that ``environ`` holds; an empty value means unset.

        Raises:
            SettingsError: a bad value, no ``REAPER_DRY_RUN``, or a ``REAPER_…`` name that nothing reads.
        """
        variables = {PREFIX + field.upper(): field for field in cls.model_fields}
        given = {}
        for name, value in environ.items():
            if name in variables:
                if value.strip():
                    given[variables[name]] = value.strip()
            elif re.match(_MEANT, name):
                raise SettingsError(_unknown(name, list(variables)))
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            bad = [item for item in error.errors() if item["type"] != "missing"]
            raise SettingsError(_bad(bad[0]) if bad else _UNSAID) from None

    @classmethod
    def for_tools(cls, environ: Mapping[str, str]) -> Settings:
        """The same for a tool: it never runs the handler, so ``REAPER_DRY_RUN`` need not be said.

        Raises:
            SettingsError: as ``read``.
        """
        return cls.read({**environ, "REAPER_DRY_RUN": "true"})

    def allows(self, stream_name: str) -> bool:
        """Whether this deployment may touch ``stream_name`` (``REAPER_STREAMS``)."""
        return any(fnmatchcase(stream_name, glob) for glob in self.streams)


_UNSAID = "REAPER_DRY_RUN is not set: say true (nothing is deleted, the log says what would be) or false (delete)"


def _unknown(name: str, known: list[str]) -> str:
    from difflib import get_close_matches  # only a mistake needs it

    plain = re.sub(r"\W", "", name).upper()
    close = get_close_matches(plain[len(PREFIX) :], [other[len(PREFIX) :] for other in known], n=1)
    hint = f"did you mean {PREFIX}{close[0]}?" if close else f"known are {', '.join(known)}"
    quoted = describe(name)  # where quotes are needed to see what is wrong
    return f"{quoted[1:-1] if name.isidentifier() else quoted} is not a setting: {hint}"


def _bad(error: Any) -> str:
    name = error["loc"][0]
    value = "(hidden)" if name == "callback_key" else describe(_without_secrets(str(error["input"])))
    return f"{PREFIX}{name.upper()}={value}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _without_secrets(value: str) -> str:
    """A URL's value without what may be a password in it."""
    value = re.sub(r"^(\w+://)?.*@", r"\1***@", value, flags=re.DOTALL)
    return re.sub(r"(?i)((?:pass|secret|token|key|pwd)\w*=)[^&\s]*", r"\1***", value)
