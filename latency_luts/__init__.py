"""Latency tables (JSON, one a device), and the builder that makes one. Runs without torch."""
