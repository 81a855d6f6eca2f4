"""Refuses every address outside loopback, and remembers the attempt: a refusal alone might be retried away."""

from __future__ import annotations

import ipaddress
import sys

attempts: list[str] = []


def enforce() -> None:
    """From now on, in this process, for good."""
    sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        _check(arguments[1])
    elif event == "socket.getaddrinfo":
        _check((arguments[0],))


def _check(address: object) -> None:
    if not isinstance(address, tuple):
        return  # a path: a Unix socket never leaves the machine
    host = address[0].decode() if isinstance(address[0], bytes) else str(address[0] or "localhost")
    if host != "localhost" and not _is_loopback(host):
        attempts.append(host)
        raise PermissionError(f"tests may only speak to loopback, not to {host}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
