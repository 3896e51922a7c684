"""Latency tables: what to measure (pieces and whole networks), the bundle that measures it, the check of a table."""
