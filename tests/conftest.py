"""Settings of all tests."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# The same examples each time, and no example fails for being slow on a busy machine.
settings.register_profile("embed", derandomize=True, deadline=None)
settings.load_profile("embed")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the ids of the tests' corpora out of the user's cache."""
    before = os.environ.get("EMBED_CACHE")
    os.environ["EMBED_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["EMBED_CACHE"]
    else:
        os.environ["EMBED_CACHE"] = before


@pytest.fixture(autouse=True, scope="session")
def signals_as_from_a_terminal() -> Iterator[None]:
    """Undo what nohup and background jobs pass on: `embed` goes on ignoring what was ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
