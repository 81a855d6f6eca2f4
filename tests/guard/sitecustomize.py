"""Loaded by the interpreters that tests start: they, too, may only speak to loopback."""

import loopback

loopback.enforce()
