"""The page of a step, in a browser: what it computes is what Python computes."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest

from embedcli.explanation import explain_step
from embedcli.messages import catalogue
from embedcli.views.explain import formatted
from tests.explained import ASKED, EVERY, OF_PARTS_AND_COUNTS, explained_model

STEPS = 10


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Each case's model, and what is right for the text; made when it is asked for."""
    return cache(lambda name: explained_model(name, tmp_path_factory.mktemp(name)))


@pytest.fixture
def opened(models, open_page, tmp_path):
    """Open the page of a case's step."""

    def page(name: str, text: str = ASKED, language: str = "en", **how):
        model, answer = models(name)
        path = tmp_path / "step.html"
        written = formatted(explain_step(model, text, answer), "html", language=language)
        path.write_text(written, encoding="utf-8")
        return open_page(path, **how)

    return page


# Of the text of elements and what is behind it (WCAG 2, "contrast ratio").
CONTRASTS = """(selector) => [...document.querySelectorAll(selector)].map((each) => {
    const { color, backgroundColor } = getComputedStyle(each);
    const light = (of) => {
        const scale = of.startsWith("rgb") ? 255 : 1;
        const [r, g, b] = of.match(/[\\d.]+/g).map((n) => n / scale)
            .map((n) => (n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
    };
    const [one, two] = [light(color), light(backgroundColor)];
    return Math.max(one, two) / Math.min(one, two);
})"""


def array_of(parameter, model):
    """The array of a parameter: GloVe's words have one beside the sum of both tables."""
    return "input" if parameter == "table" and "input" in model.head else parameter


def stepped(model, step):
    """The model after a step."""
    arrays = {"table": np.array(model.table.vectors)}
    arrays |= {name: np.array(array) for name, array in model.head.items()}
    state = {name: np.array(array) for name, array in model.optimizer.items()}
    for change in step.changes:
        at = ... if change.row is None else change.row
        arrays[array_of(change.parameter, model)][at] = change.after
        for slot, after in change.state_after.items():
            name = f"{change.parameter}.{slot}"
            state.setdefault(name, np.zeros_like(arrays[change.parameter]))[at] = after
    table = model.table.like(model.table.vocabulary, arrays.pop("table"))
    log = [{"steps": step.number}]
    return dataclasses.replace(model, table=table, head=arrays, optimizer=state, log=log)


@pytest.mark.parametrize("name", [*EVERY, *OF_PARTS_AND_COUNTS])
def test_ten_more_steps_are_those_of_python(models, opened, name):
    page = opened(name)
    page.click("#stages button:has-text('Step')")
    page.click("#ten")
    model, answer = models(name)
    losses = []
    for _ in range(STEPS + 1):
        step = explain_step(model, ASKED, answer)
        losses.append(step.loss)
        before, model = model, stepped(model, step)
    np.testing.assert_allclose(page.evaluate("embed.losses()"), losses, rtol=1e-5, atol=1e-6)
    found = page.evaluate(
        "Object.entries(embed.parameters()).map(([name, of]) => "
        "[name, of.ids, of.rows.map((row) => [...row])])"
    )
    for parameter, ids, rows in found:
        name = array_of(parameter, before)
        whole = before.table.vectors if name == "table" else before.head[name]
        expected = np.atleast_2d(whole) if ids is None else whole[ids]
        np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-5)
    assert f"{STEPS} steps taken; loss {losses[-1]:.4f}" in page.inner_text("#taken")


def test_stages_go_by_button_and_by_key(opened):
    page = opened("classify-sgd")
    stages = ["look_up", "forward", "loss", "backward", "step"]

    def shown() -> list[str]:
        return [name for name in stages if page.is_visible(f"#{name}")]

    assert shown() == ["look_up"]
    for name in stages[1:]:
        page.keyboard.press("ArrowRight")
        assert shown() == [name]
    page.keyboard.press("ArrowRight")
    assert shown() == ["step"] and page.is_disabled("#next")
    page.click("#back")
    assert shown() == ["backward"]
    page.click("#all")
    assert shown() == stages
    page.focus("#rate")
    page.keyboard.press("ArrowLeft")
    assert shown() == stages


@pytest.mark.parametrize("by", ["pointer", "key"])
def test_a_row_shows_which_tokens_pick_it(opened, by):
    page = opened("classify-sgd")
    row = page.locator("#table .row", has_text="see")
    row.hover() if by == "pointer" else row.focus()
    assert page.locator("#tokens .picked").all_inner_texts() == ["see2", "see2"]
    assert page.inner_text("#picked-by") == "see: 2 tokens of the text pick this row."
    token = page.locator("#tokens .token", has_text="again")
    token.hover() if by == "pointer" else token.focus()
    assert "again" in page.inner_text("#table .row.picked")


def test_the_rate_changes_what_a_step_does(opened):
    page = opened("classify-sgd")
    page.click("#stages button:has-text('Step')")
    page.fill("#rate", "0")
    page.click("#one")
    losses = page.evaluate("embed.losses()")
    assert losses[0] == losses[1]
    page.fill("#rate", "0.25")
    page.click("#one")
    lower = page.evaluate("embed.losses()")[-1]
    assert lower < losses[0]
    page.click("#reset")
    assert page.evaluate("embed.losses()") == losses[:1]
    assert page.input_value("#rate") == "0.5"
    page.fill("#rate", "nothing")
    page.click("#one")
    assert page.evaluate("embed.losses()")[-1] < lower


def test_a_sample_drawn_several_times_is_one_cell_and_look_ups_are_folded(opened):
    page = opened("skipgram-sgd")
    page.click("#all")
    answers = page.locator("#answers .answer.wrong").all_inner_texts()
    assert any("×" in each for each in answers)
    tips = [each.get_attribute("title") for each in page.locator("#answers .answer.wrong").all()]
    assert any("(drawn " in tip and " times): prediction" in tip for tip in tips)
    folded = page.locator("#gradients details").first
    part = folded.locator(".row").first
    assert not part.is_visible()
    folded.locator("summary").click()
    assert part.is_visible()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("language", ["en", "hi"])
@pytest.mark.parametrize(
    "name", ["skipgram-damped", "classify-adam-hidden", "regress-flatten", "glove"]
)
def test_it_is_legible_on_a_phone(opened, name, language, dark):
    page = opened(name, language=language, width=390, height=800, dark=dark)
    page.click("#all")
    contrasts = page.evaluate(CONTRASTS, ".answer.right, .answer.wrong")
    assert all(each >= 4.5 for each in contrasts)
    page.click("#ten")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    sizes = page.evaluate(
        """() => [...document.querySelectorAll("main *")]
            .filter((each) => [...each.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
            .filter((each) => each.checkVisibility() && !each.closest("noscript"))
            .map((each) => parseFloat(getComputedStyle(each).fontSize))"""
    )
    assert min(sizes) >= 12
    filters = "[...document.querySelectorAll('*')].map((each) => getComputedStyle(each).filter)"
    assert set(page.evaluate(filters)) == {"none"}
    lightness = page.evaluate(
        "getComputedStyle(document.querySelector('main')).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert (max(lightness) < 60) == dark
    assert catalogue(language)("page.reset") == page.inner_text("#reset")
    assert page.evaluate("document.documentElement.lang") == language


def test_harmful_text_is_text(opened):
    harmful = 'see <script>alert(1)</script> </script> &amp; "you" <img src=x onerror=alert(1)>'
    page = opened("classify-sgd", text=harmful)
    assert page.inner_text("h1") == f"“{harmful}”"
    assert page.locator("img").count() == 0 and page.locator("main script").count() == 0
