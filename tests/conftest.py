"""Settings of all tests."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests import browser

# The same examples each time, and no example fails for being slow on a busy machine.
settings.register_profile("embed", derandomize=True, deadline=None)
settings.load_profile("embed")

# Explanations are in English, whatever the machine's language.
os.environ["LC_ALL"] = "C.UTF-8"


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


@pytest.fixture(scope="module")
def chromium() -> Iterator["browser.Browser"]:
    """A headless browser; the test is skipped where there is none."""
    with browser.launched() as opened:
        yield opened


@pytest.fixture
def open_page(chromium: "browser.Browser") -> Iterator[browser.Pages]:
    """Open pages from disk; at the end none may have logged an error or asked for anything."""
    pages = browser.Pages(chromium)
    yield pages
    pages.close()
