from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.live_api import LiveStandIn
from tests import loopback

TESTS = Path(__file__).parent

loopback.enforce()


@pytest.fixture(autouse=True)
def _only_loopback() -> Iterator[None]:
    loopback.attempts.clear()
    yield
    assert not loopback.attempts, f"the test tried to reach {loopback.attempts}"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("REAPER_", "TENCENTCLOUD_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("REAPER_DRY_RUN", "false")  # which a deployment has to say, too
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (TESTS / "guard", TESTS.parent))))


@pytest.fixture(scope="session")
def _server() -> Iterator[LiveStandIn]:
    with LiveStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def api(_server: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> LiveStandIn:
    """A stand-in of the Live API without any state, and an environment that leads to it."""
    _server.reset()
    for name, value in _server.environment.items():
        monkeypatch.setenv(name, value)
    return _server
