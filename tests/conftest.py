"""Settings of all tests."""

from hypothesis import settings

# The same examples each time, and no example fails for being slow on a busy machine.
settings.register_profile("embed", derandomize=True, deadline=None)
settings.load_profile("embed")
