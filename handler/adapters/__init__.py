"""Bytes out: the Live API, the bucket and what is kept in it, behind the ports of the core."""
