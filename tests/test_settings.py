"""The environment: defaults, rules, and messages that name the variable, the value and the rule."""

from __future__ import annotations

import pytest

from handler.settings import Settings, SettingsError
from local.live_api import LiveStandIn
from tests.support import STREAM, TASK, run, stream_end


def test_nothing_needs_to_be_set() -> None:
    settings = Settings.read({"PATH": "/bin"})
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
    assert Settings.read(dict.fromkeys(names, "")) == Settings.read(dict.fromkeys(names, " ")) == Settings.read({})


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
    endpoint = Settings.read({"REAPER_LIVE_ENDPOINT": value}).live_endpoint
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
    ],
)
def test_a_ledger_is_a_prefix_of_a_bucket(value: str, bucket: str, prefix: str) -> None:
    place = Settings.read({"REAPER_LEDGER": value}).ledger
    assert place
    assert (place.bucket, place.prefix, place.region, place.endpoint) == (bucket, prefix, "ap-guangzhou", None)


@pytest.mark.parametrize(
    "value",
    ["memory", "cos://bucket/x?region=a", "cos://b-1250000000/x", "cos://b-1250000000/x?region=",
     "cos://b-1250000000/x?region=a&retries=3", "cos://b-1250000000/x?region=a&endpoint=ftp://x", "s3://b-1250000000?region=a"],
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
    ],
)
def test_a_typo_must_not_silently_remove_a_belt(name: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=hint) as caught:
        Settings.read({name: "true"})
    assert str(caught.value).startswith(f"{name} is not a setting")


def test_no_error_shows_a_secret() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.read({"REAPER_LIVE_ENDPOINT": "http://user:hunter2@host/x"})
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(Settings.read({"REAPER_CALLBACK_KEY": "hunter2"}))


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
