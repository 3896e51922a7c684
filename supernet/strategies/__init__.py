"""Search strategies, each behind the same call."""
