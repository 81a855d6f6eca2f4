"""The environment: defaults, rules, and messages that name the variable, the value and the rule."""

from __future__ import annotations

import itertools
import time
from fnmatch import fnmatchcase

import pytest

from handler.settings import Settings, SettingsError
from local.live_api import LiveStandIn
from tests.support import STREAM, TASK, run, stream_end

SAID = {"REAPER_DRY_RUN": "false"}


def refusal(environ: dict[str, str]) -> str:
    """The one line with which an environment is refused."""
    with pytest.raises(SettingsError) as caught:
        Settings.read(environ)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_but_dry_run_needs_to_be_set() -> None:
    settings = Settings.read({"PATH": "/bin"} | SAID)
    assert settings.live_endpoint.scheme == "https"
    assert settings.live_endpoint.address == "live.tencentcloudapi.com"
    assert (settings.max_qps, settings.concurrency, settings.ledger) == (200, 32, None)
    assert (settings.end_margin_seconds, settings.grace_seconds, settings.give_up_after_seconds) == (600, 1800, 604800)
    assert (settings.streams, settings.dry_run, settings.callback_key, settings.log_tasks) == (
        ("*",),
        False,
        None,
        "all",
    )


def test_an_empty_value_means_unset() -> None:
    names = [f"REAPER_{name.upper()}" for name in Settings.model_fields]
    for empty in ("", " ", "\xa0\n"):
        assert Settings.read(dict.fromkeys(names, empty) | SAID) == Settings.read(SAID)


@pytest.mark.parametrize("environ", [{}, {"REAPER_DRY_RUN": ""}, {"REAPER_DRY_RUN": " \t"}, {"REAPER_MAX_QPS": "100"}])
def test_a_dry_run_that_nobody_decided_on_deletes_nothing(environ: dict[str, str]) -> None:
    said = refusal(environ)
    assert said.startswith("REAPER_DRY_RUN is not set")
    assert "true" in said
    assert "false" in said


@pytest.mark.parametrize("value", ["maybe", "no", "off", "true\u200b", "fa lse", "2", "none"])
def test_a_dry_run_is_true_or_false_and_nothing_between(value: str) -> None:
    assert refusal({"REAPER_DRY_RUN": value}).startswith('REAPER_DRY_RUN="')


@pytest.mark.parametrize(
    ("value", "dry"), [("true", True), ("TRUE", True), ("1", True), (" True ", True), ("false", False), ("0", False)]
)
def test_a_dry_run_may_be_said_as_before(value: str, dry: bool) -> None:
    assert Settings.read({"REAPER_DRY_RUN": value}).dry_run is dry


def test_a_lost_dry_run_stops_everything_but_the_invocation_line(
    api: LiveStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.state.add(STREAM, TASK)
    monkeypatch.delenv("REAPER_DRY_RUN")
    done = run(stream_end())
    assert isinstance(done.raised, SettingsError)
    assert not api.calls
    assert list(api.state.recordings) == [TASK]


@pytest.mark.parametrize("said", [{}, {"REAPER_DRY_RUN": ""}, {"REAPER_DRY_RUN": "perhaps"}, SAID])
def test_tools_need_the_ledger_only(said: dict[str, str]) -> None:
    environ = {"REAPER_LEDGER": "cos://b-1250000000/x?region=a"} | said
    place = Settings.for_tools(environ).ledger
    assert place
    assert place.bucket == "b-1250000000"


def test_tools_refuse_what_they_do_read() -> None:
    for environ in ({"REAPER_LEDGER": "memory"}, {"REAPER_LEGDER": "cos://b-1250000000/x?region=a"}):
        with pytest.raises(SettingsError):
            Settings.for_tools(environ)


@pytest.mark.parametrize(
    ("value", "scheme", "address"),
    [
        ("live.ap-guangzhou.tencentcloudapi.com", "https", "live.ap-guangzhou.tencentcloudapi.com"),
        ("127.0.0.1:8080", "https", "127.0.0.1:8080"),
        ("http://127.0.0.1:8080", "http", "127.0.0.1:8080"),
        ("https://live.example.com/", "https", "live.example.com"),
    ],
)
def test_an_endpoint_is_a_host_or_a_url(value: str, scheme: str, address: str) -> None:
    endpoint = Settings.read({"REAPER_LIVE_ENDPOINT": value} | SAID).live_endpoint
    assert (endpoint.scheme, endpoint.address) == (scheme, address)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REAPER_LIVE_ENDPOINT", "ftp://x"),
        ("REAPER_LIVE_ENDPOINT", "http://x/path"),
        ("REAPER_LIVE_ENDPOINT", "x:99999"),
        ("REAPER_LIVE_ENDPOINT", "a b"),
        ("REAPER_MAX_QPS", "0"),
        ("REAPER_MAX_QPS", "-1"),
        ("REAPER_MAX_QPS", "nan"),
        ("REAPER_MAX_QPS", "inf"),
        ("REAPER_MAX_QPS", "fast"),
        ("REAPER_CONCURRENCY", "0"),
        ("REAPER_CONCURRENCY", "1.5"),
        ("REAPER_CONCURRENCY", "100000"),
        ("REAPER_END_MARGIN_SECONDS", "-1"),
        ("REAPER_GRACE_SECONDS", "1e99"),
        ("REAPER_GIVE_UP_AFTER_SECONDS", "a week"),
        ("REAPER_GIVE_UP_AFTER_SECONDS", "0"),
        ("REAPER_GIVE_UP_AFTER_SECONDS", "1e-9"),
        ("REAPER_GIVE_UP_AFTER_SECONDS", "3599.9"),
        ("REAPER_GIVE_UP_AFTER_SECONDS", "-3600"),
        ("REAPER_STREAMS", ","),
        ("REAPER_DRY_RUN", "maybe"),
        ("REAPER_LOG_TASKS", "none"),
    ],
)
def test_a_bad_value_is_named_with_its_rule_in_one_line(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.read({name: value})
    assert str(caught.value).startswith(f'{name}="{value}": ')
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) > len(name) + len(value) + 10


@pytest.mark.parametrize(
    ("value", "bucket", "prefix"),
    [
        ("cos://reaper-1250000000?region=ap-guangzhou", "reaper-1250000000", ""),
        ("cos://reaper-1250000000/?region=ap-guangzhou", "reaper-1250000000", ""),
        ("cos://b-1-1250000000/live/reaper/?region=ap-guangzhou", "b-1-1250000000", "live/reaper/"),
        ("cos://b-1250000000/.live/..2/a.b/...?region=ap-guangzhou", "b-1250000000", ".live/..2/a.b/.../"),
    ],
)
def test_a_ledger_is_a_prefix_of_a_bucket(value: str, bucket: str, prefix: str) -> None:
    place = Settings.read({"REAPER_LEDGER": value} | SAID).ledger
    assert place
    assert (place.bucket, place.prefix, place.region, place.endpoint) == (bucket, prefix, "ap-guangzhou", None)


@pytest.mark.parametrize(
    "value",
    ["memory", "cos://bucket/x?region=a", "cos://b-1250000000/x", "cos://b-1250000000/x?region=",
     "cos://b-1250000000/..?region=a", "cos://b-1250000000/a/../b?region=a", "cos://b-1250000000/a/..?region=a",
     "cos://b-1250000000/./a?region=a", "cos://b-1250000000/a/.?region=a", "cos://b-1250000000/a//b?region=a",
     "cos://b-1250000000//a?region=a", "cos://b-1250000000/a//?region=a", "cos://b-1250000000/a/%2e%2e?region=a",
     "cos://b-1250000000/x?region=a&retries=3", "cos://b-1250000000/x?region=a&endpoint=ftp://x",
     "s3://b-1250000000?region=a"],
)  # fmt: skip
def test_a_ledger_that_cannot_be_meant_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^REAPER_LEDGER="):
        Settings.read({"REAPER_LEDGER": value})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("REAPER_DRYRUN", "did you mean REAPER_DRY_RUN"),
        ("REAPER_STREAM", "did you mean REAPER_STREAMS"),
        ("REAPER_dry_run", "did you mean REAPER_DRY_RUN"),
        ("REAPER_XYZZY", "known are REAPER_LIVE_ENDPOINT"),
        ("reaper_dry_run", "did you mean REAPER_DRY_RUN"),
        ("Reaper_Dry_Run", "did you mean REAPER_DRY_RUN"),
        ("reaper_dryrun", "did you mean REAPER_DRY_RUN"),
        ("reaper_xyzzy", "known are REAPER_LIVE_ENDPOINT"),
    ],
)
def test_a_typo_must_not_silently_remove_a_belt(name: str, hint: str) -> None:
    said = refusal({name: "true"} | SAID)
    assert said.startswith(f"{name} is not a setting")
    assert hint in said


@pytest.mark.parametrize("name", ["REAPER_DRY_RUN", "REAPER_STREAMS", "reaper_ledger"])
@pytest.mark.parametrize("blank", [" ", "\t", "\n", "\xa0", "\u3000", "\u200b", "\ufeff", " \xa0 "])
def test_a_blank_beside_a_name_must_not_silently_remove_a_belt(name: str, blank: str) -> None:
    for given in (blank + name, name + blank, blank + name + blank):
        said = refusal({given: "true"} | SAID)
        assert f"is not a setting: did you mean {name.upper()}?" in said


@pytest.mark.parametrize("name", ["REAPER", "MY_REAPER_X", "GRIM_REAPER", "_REAPER_X", "REAPERS", "reaper"])
def test_names_that_are_somebody_elses_are_left_alone(name: str) -> None:
    assert Settings.read({name: "x"} | SAID) == Settings.read(SAID)


@pytest.mark.parametrize(
    "globs",
    ["[", "live-[", "live-[0-9", "[]", "[!]", "a,b[", "live-[0,9]", "[!a", "[[]a[", "*[", "x[]y", "[0-9][0-9"],
)
def test_a_set_that_is_not_closed_is_refused(globs: str) -> None:
    said = refusal({"REAPER_STREAMS": globs} | SAID)
    assert said.startswith(f'REAPER_STREAMS="{globs}": "')
    assert "without its ]" in said


NO_NAME = [
    "[z-a]", "live-[9-0]", "*[b-a]*", "[!\x00-\U0010ffff]",  # nothing is in the set
    "a\x00b", "live\x1b*", "\x84?", "a\x7f",  # control characters
    "live\u200b-*", "\ufeffroom", "a\u202eb", "a\xadb", "*\u2060",  # invisible ones
    "\ud800", "a\udcffb",  # lone surrogates: what a variable holds that is not UTF-8
    "[\x00-\x1f]", "a[\x7f-\x9f]", "[\u200b-\u200f]*", "[\ud800-\udfff]", "[!\u0020-\U0010ffff]",
    "[ ]", "[ ]live", "live[ \t]", "[\xa0]*", "*a[\u3000 ]", "[\u2000-\u200a]x",  # white space at an end
    "x" * 257, "?" * 257, "*" + "a*" * 257, "[a]" * 257, "x" * 300 + "*", "*[ ]" + "x" * 255,
    "*[ ]" + "x" * 254 + "[ ]*",
]  # fmt: skip


@pytest.mark.parametrize("glob", NO_NAME)
def test_a_glob_that_no_stream_name_can_match_is_refused(glob: str) -> None:
    for globs in (glob, f"live-*,{glob}", f"{glob} , *"):
        said = refusal({"REAPER_STREAMS": globs} | SAID)
        assert said.startswith("REAPER_STREAMS=")
        assert "can match no stream name" in said


SOME_NAME = [
    ("[]]", "]"), ("[!]]", "a"), ("[]-a]", "^"), ("[!!]", "a"), ("[^a]", "^"), ("[a-]", "-"), ("[-a]", "-"),
    ("[z-ab]", "b"), ("[[]", "["), ("a]", "a]"), ("!", "!"), ("[!z-a]", "q"), ("[\x00-z]", "a"), ("[!\x00-z]", "~"),
    ("[ a]", "a"), ("[\t-\r!]", "!"), ("*[ ]*", "a b"), ("a[ ]b", "a b"), ("*[ ]b", "a b"), ("a b", "a b"), ("a\xa0b",
    "a\xa0b"),
    ("x" * 256, "x" * 256), ("*" + "?" * 256 + "*", "x" * 256), ("*[ ]" + "x" * 254, "a " + "x" * 254), ("**", "a"),
    ("\u623f\u95f4-*", "\u623f\u95f4-1"), ("[\U0001f300-\U0001f5ff]", "\U0001f3a5"), ("\ue000", "\ue000"),
    ("[\ud7ff-\ue000]", "\ue000"),
    ("[!a-\U0010ffff]", "A"), ("\u0378", "\u0378"), ("[\x80-\xa0-]", "-"), ("a\\b", "a\\b"),
    ("[\\]", "\\"), ("[\x1f-\x7f]*[\x00-a]", "x0"),
]  # fmt: skip


@pytest.mark.parametrize(("glob", "name"), SOME_NAME)
def test_a_glob_that_a_stream_name_can_match_is_taken(glob: str, name: str) -> None:
    assert Settings.read({"REAPER_STREAMS": glob} | SAID).allows(name)


def test_no_glob_that_can_match_is_refused_and_no_other_is_taken() -> None:
    """Every glob of up to four of these characters, against every name of up to four."""
    names = ["".join(name) for size in (1, 2, 3, 4) for name in itertools.product("a]-! \x00[", repeat=size)]
    valid = [name for name in names if name == name.strip() and "\x00" not in name]
    for size in (1, 2, 3, 4):
        for letters in itertools.product("a[]-! ", repeat=size):
            glob = "".join(letters)
            if glob != glob.strip():
                continue
            try:
                Settings.read({"REAPER_STREAMS": glob} | SAID)
            except SettingsError as error:
                if "can match no" in str(error):
                    assert not any(fnmatchcase(name, glob) for name in valid), glob
            else:
                open_at_the_end = "]" not in glob[glob.rfind("[") + 1 :]
                assert "[!" in glob or any(fnmatchcase(name, glob) for name in valid), glob
                assert "[" not in glob or not open_at_the_end, glob


def test_settings_are_read_in_no_time() -> None:
    globs = ",".join(["live-*", "[0-9a-f]?", "[!\x00-\x1f]", "[\U0001f300-\U0001f5ff]*", "x" * 200])
    began = time.process_time()
    for _ in range(20):
        Settings.read({"REAPER_STREAMS": globs} | SAID)
    assert time.process_time() - began < 0.2


def test_no_error_shows_a_secret() -> None:
    assert "hunter2" not in refusal({"REAPER_LIVE_ENDPOINT": "http://user:hunter2@host/x"})
    assert "hunter2" not in repr(Settings.read({"REAPER_CALLBACK_KEY": "hunter2"} | SAID))


@pytest.mark.parametrize(
    ("globs", "stream_name", "allowed"),
    [
        ("*", "anything", True),
        ("live-*", "live-1", True),
        ("live-*", "Live-1", False),
        ("a, b-?", "b-2", True),
        ("a,b-?", "b-22", False),
    ],
)
def test_only_named_streams_are_this_deployments_business(
    api: LiveStandIn, monkeypatch: pytest.MonkeyPatch, globs: str, stream_name: str, allowed: bool
) -> None:
    monkeypatch.setenv("REAPER_STREAMS", globs)
    api.state.add(stream_name, TASK)
    done = run(stream_end(stream_name))
    assert done.outcomes == [("deleted", None) if allowed else ("ignored", "stream_not_allowed")]
    assert bool(api.state.recordings) is not allowed


def test_unusable_settings_stop_everything_but_the_invocation_line(
    api: LiveStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.state.add(STREAM, TASK)
    monkeypatch.setenv("REAPER_DRYRUN", "true")
    done = run(stream_end())
    assert isinstance(done.raised, SettingsError)
    assert done.invocation["error"] == str(done.raised)
    assert (done.invocation["source"], done.invocation["lines"]) == ("direct", 0)
    assert not api.calls
