"""The fixture `open_page` sees what a page must not do; the page of `explain` does none of it."""

from pathlib import Path

import pytest

from embedcli import api
from embedcli.explanation import explain_step
from embedcli.model import load_model
from embedcli.views.explain import formatted


@pytest.mark.parametrize(
    "body, fault",
    [
        ("<script>throw new Error('broken')</script>", "error: broken"),
        ("<script>console.error('no good')</script>", "console error: no good"),
        ("<img src='https://example.invalid/a.png'>", "request: https://example.invalid/a.png"),
        ("<link rel=stylesheet href='other.css'>", "other.css"),
    ],
)
def test_faults_of_pages_are_found(open_page, tmp_path, body, fault):
    path = tmp_path / "page.html"
    path.write_text(f"<!doctype html><title>page</title>{body}", encoding="utf-8")
    open_page(path).wait_for_load_state()
    assert any(fault in each for each in open_page.faults), open_page.faults
    open_page.faults.clear()


def test_pages_can_be_drawn_with_webgl(open_page, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("<!doctype html><canvas id=c></canvas>", encoding="utf-8")
    assert open_page(path).evaluate("document.getElementById('c').getContext('webgl2') !== null")


@pytest.fixture(scope="module")
def step_page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("step")
    (folder / "text.txt").write_text("nice to see you again\n" * 3, encoding="utf-8")
    api.train(folder / "text.txt", folder / "model", dim=4, epochs=1, min_count=1, workers=1)
    step = explain_step(load_model(folder / "model"), "nice to see you", (), None, "skip")
    (folder / "step.html").write_text(formatted(step, "html", 4), encoding="utf-8")
    return folder / "step.html"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_explain_page_is_whole_in_a_browser(open_page, step_page, width, dark):
    page = open_page(step_page, width=width, dark=dark)
    assert page.locator("text=nice").count() > 0
