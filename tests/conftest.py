from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

GUARD = Path(__file__).parent / "guard"
sys.path.insert(0, str(GUARD))

import loopback  # noqa: E402

from local.live_api import LiveStandIn  # noqa: E402

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
    monkeypatch.setenv("PYTHONPATH", str(GUARD))


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
