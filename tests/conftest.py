"""Settings of all tests."""

import os
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
