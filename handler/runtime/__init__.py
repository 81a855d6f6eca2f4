"""Threads and time around the core: who works on what, at which pace, until when."""
