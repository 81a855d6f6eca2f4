"""Bytes in: what a trigger delivers → events that are valid, or the reason why not."""
