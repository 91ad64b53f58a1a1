"""Pages in a real browser: Debian's Chromium, headless, driven by Playwright.

The fixture `open_page` of tests/conftest.py uses it. Without a browser its tests are skipped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A machine without a graphics card draws WebGL by SwiftShader.
ARGUMENTS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
WAIT_MS = 30_000  # at most, for what a test waits for


def find_chromium() -> str | None:
    """Return the path of a Chromium: `$CHROMIUM`, or the first on the PATH."""
    found = (shutil.which(name) for name in (os.environ.get("CHROMIUM", ""), *NAMES))
    return next(filter(None, found), None)


@contextmanager
def launched() -> Iterator[Browser]:
    """Start a browser; skip the test where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium on the PATH; `apt-get install chromium`, or name it in $CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Pages:
    """Opens pages from disk, and notes what none of them may do."""

    browser: Browser
    faults: list[str] = field(default_factory=list)

    def __call__(
        self,
        path: Path,
        *,
        fragment: str = "",
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        touch: bool = False,
    ) -> Page:
        """Open a file in a tab of its own; `fragment` is what follows the # of its address."""
        address = path.resolve().as_uri()
        context = self.browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            has_touch=touch,
            accept_downloads=True,
            locale="en-GB",
        )
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("console", lambda said: self._note(said.type, said.text))
        page.on("request", lambda asked: self._asked(asked.url, address))
        page.goto(address + (f"#{fragment}" if fragment else ""))
        return page

    def _note(self, kind: str, text: str) -> None:
        # Drawing in software is slow to read back, and Chromium says so.
        if kind in ("error", "warning") and "GPU stall due to ReadPixels" not in text:
            self.faults.append(f"console {kind}: {text}")

    def _asked(self, url: str, address: str) -> None:
        if url.partition("#")[0] != address and not url.startswith(("data:", "blob:")):
            self.faults.append(f"request: {url}")

    def close(self) -> None:
        """Close all tabs; fails for an error, a warning of the console, or a request."""
        for context in self.browser.contexts:
            context.close()
        assert not self.faults, "\n".join(self.faults)
