"""Loaded by the interpreters that tests start: they, too, may only speak to loopback."""

from tests import loopback

loopback.enforce()
