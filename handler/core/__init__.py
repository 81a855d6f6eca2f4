"""The decisions: plain data in, plain data out. No clock, thread, environment, storage or SDK."""
