"""Settings of the whole suite."""

from hypothesis import settings

settings.register_profile("quick", max_examples=50, deadline=None)  # no timed asserts: machines differ
settings.load_profile("quick")
