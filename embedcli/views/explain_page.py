"""Explanations as pages: one HTML file that holds its data, its style and its script.

The page of a step computes the step again, and as many more as one likes, from the numbers in it;
explain.js has its own forward pass, gradients and optimizers, which a test compares with Python's.
A page requests nothing: its content security policy allows its own style and script and no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedcli import __version__
from embedcli.views import captions, explain_svg, pages
from embedcli.views.blocks import Heading
from embedcli.views.canvas import Canvas
from embedcli.views.terminal import escaped, numbers, visible

if TYPE_CHECKING:
    from embedcli.explanation import Change, Example, Step
    from embedcli.messages import Catalogue

STAGES = {  # of the page: the button and the title
    "look_up": ("page.stage_look_up", "step.look_up"),
    "forward": ("page.stage_forward", "step.forward"),
    "loss": ("page.stage_loss", "page.loss"),
    "backward": ("page.stage_backward", "step.backward"),
    "step": ("page.stage_step", "step.update"),
}
WORDS_OF_PAGE = ("page.", "table.")  # messages that the script fills in


def step_page(step: Step, say: Catalogue) -> str:
    """Return the page of a step, to go through stage by stage."""
    tables = "".join(_numbers_table(*each, say) for each in captions.by_parameter(step))
    script = pages.read("explain.js")
    data = pages.script_data(_data(step, say))
    scripts = f'<script type="application/json" id="data">{data}</script>\n'
    body = "".join(_stages(step, say)) + tables
    style = pages.digest(pages.read("explain.css"))
    policy = f"style-src {style}; script-src {pages.digest(script)}"
    return page(f"“{step.text}”", body, say, policy, f"{scripts}<script>{script}</script>")


def drawn_page(of: Any, say: Catalogue) -> str:
    """Return the page of a Word or a Pair, without a script: text, and figures that scroll."""
    title, drawn = explain_svg.parts(of, say)
    body = [f"<h1>{escaped(title)}</h1>\n"]
    for part in drawn:
        if isinstance(part, Heading):
            body.append(f"<h2><span>{part.number}</span> {escaped(part.words)}</h2>\n")
        elif isinstance(part, explain_svg.Figure):
            canvas = Canvas(top=0)
            part.draw(canvas)
            body.append(f"<figure tabindex=0>{canvas.svg(part.words)}</figure>\n")
        else:
            body.append(f"<p>{escaped(part.words)}</p>\n")
    if hasattr(of, "now"):
        rows = [] if of.start is None else [("", say("table.at_first"), of.start)]
        rows.append(("" if of.id is None else str(of.id), say("table.now"), of.now))
        body.append(_table(say("table.row"), rows, say))
    # Each figure has its style with it.
    return page(title, "".join(body), say)


def page(
    title: str,
    body: str,
    say: Catalogue,
    policy: str = "style-src 'unsafe-inline'",
    scripts: str = "",
) -> str:
    """Return a page with the style of all explanations; `policy` says which styles it may have."""
    template = Template(pages.read("explain.html"))
    return template.substitute(
        language=say.language,
        policy=pages.policy(policy),
        version=__version__,
        title=escaped(title),
        style=pages.read("explain.css"),
        body=body,
        scripts=scripts,
    )


def _stages(step: Step, say: Catalogue) -> Iterator[str]:
    """Yield the text of the stages, with places for what the script draws."""

    def paragraph(words: str) -> str:
        return f"<p>{escaped(words)}</p>\n"

    yield f"<h1>{escaped(f'“{step.text}”')}</h1>\n{paragraph(captions.title(step, say))}"
    yield '<ul id="tokens" class="tokens"></ul>\n<p id="picked-by" class="muted"></p>\n'
    buttons = "".join(
        f"<button data-stage>{number} {escaped(say(button))}</button>"
        for number, (button, _) in enumerate(STAGES.values(), 1)
    )
    yield (
        f'<nav id="stages" hidden><button id="back" aria-label="{escaped(say("page.back"))}">‹'
        f'</button>{buttons}<button id="next" aria-label="{escaped(say("page.next"))}">›</button>'
        f'<button id="all" aria-pressed="false">{escaped(say("page.every_stage"))}</button></nav>\n'
    )
    yield f"<noscript>{paragraph(say('page.no_script'))}</noscript>\n"
    parts = [say("step.parts_explained")] if step.composed else []
    parts += [captions.parts(f"{each.token} =", each.parts, say) for each in step.composed]
    key = say("page.key_of_counts" if captions.asks_counts(step) else "page.key")
    bodies = {
        "look_up": [
            paragraph(captions.look_up(step, say)),
            '<div id="table"></div>',
            *map(paragraph, parts),
        ],
        "forward": [
            paragraph(captions.answer(step, say)),
            paragraph(key) if step.examples[0].centre is not None else "",
            '<div id="answers"></div>',
        ],
        "loss": [paragraph(captions.loss(step, say)), '<div id="loss-now"></div>'],
        "backward": [paragraph(say("step.chain_rule")), '<div id="gradients"></div>'],
        "step": [
            paragraph(captions.update(step, say)),
            _controls(say),
            '<div id="changes"></div>',
            f"<h3>{escaped(say('step.stays'))}</h3>\n",
            paragraph(captions.unchanged(step, say)),
        ],
    }
    for number, (name, (_, title)) in enumerate(STAGES.items(), 1):
        heading = f"<h2><span>{number}</span> {escaped(say(title))}</h2>\n"
        yield f'<section id="{name}">\n{heading}{"".join(bodies[name])}\n</section>\n'


def _controls(say: Catalogue) -> str:
    def button(name: str, key: str) -> str:
        return f'<button id="{name}">{escaped(say(key))}</button>'

    return (
        f'<div id="controls" hidden>\n<p>{escaped(say("page.try"))}</p>\n<div class="tools">'
        f'<label>{escaped(say("page.rate"))} <input id="rate" inputmode="decimal"></label>'
        f"{button('one', 'page.one_step')}{button('ten', 'page.ten_steps')}"
        f'{button("reset", "page.reset")}</div>\n<p><output id="taken" for="rate"></output></p>\n'
        '<figure id="curve"></figure>\n</div>\n'
    )


def _data(step: Step, say: Catalogue) -> dict[str, Any]:
    """Return what the script computes from: numbers in full, words as they may be shown."""
    names = {(change.parameter, change.row): visible(change.name) for change in step.changes} | {
        ("table", token.id): visible(token.token) for token in step.tokens if token.id is not None
    }
    names |= {("ngrams", each.row): visible(each.words) for each in step.ngrams}
    names |= {
        ("output", each.id): visible(each.name)
        for example in step.examples
        for each in example.candidates
    }
    parameters = {}
    for name, of in step.weights.items():
        ids = None if of.ids is None else of.ids.tolist()
        parameters[name] = {
            "ids": ids,
            "names": None if ids is None else [names.get((name, each), "") for each in ids],
            "rows": numbers(np.atleast_2d(of.rows)),
            "state": {slot: numbers(np.atleast_2d(rows)) for slot, rows in of.state.items()},
            "trained": np.broadcast_to(of.trained, len(np.atleast_2d(of.rows))).tolist(),
        }
    # Of a text: the tasks over words compute it anew for each step.
    curvature = {(each.parameter, each.row): each.curvature for each in step.changes}
    about_text = step.examples[0].centre is None
    parts = _places(step, "parts") if step.composed else {}
    return {
        "task": step.task,
        "messages": {
            key: template for key, template in say.messages.items() if key.startswith(WORDS_OF_PAGE)
        },
        "one": say.one,
        "shape": step.shape,
        "tokens": [
            {"token": visible(each.token), "id": each.id, "kept": each.kept} for each in step.tokens
        ],
        "parameters": parameters,
        "curvature": {
            name: [curvature.get((name, each), 1.0) for each in of.ids.tolist()]
            for name, of in step.weights.items()
            if of.ids is not None
        },
        "optimizer": step.optimizer,
        "rate": step.rate,
        "number": step.number,
        "clip_norm": step.settings.clip_norm,
        "counts": captions.asks_counts(step),
        "composed": [
            [
                _places(step, "table")[word.id],
                [[parts[part.row], part.share] for part in word.parts],
            ]
            for word in step.composed
        ],
        "text": _text(step, say) if about_text else None,
        "examples": [] if about_text else [_example(each, step) for each in step.examples],
    }


def _example(example: Example, step: Step) -> dict[str, Any]:
    """Return a question about words, in the rows of `parameters`."""
    positive, negative = captions.answers(example)
    if captions.asks_counts(step):
        positive, negative = [(each, 1) for each in example.candidates], []
    places = {name: _places(step, name) for name in ("table", "output")}
    return {
        "title": visible(example.title),
        "inputs": [places["table"][step.tokens[place].id] for place in example.inputs],
        "candidates": [
            {
                "index": places["output"][each.id],
                "id": each.id,
                "name": visible(each.name),
                "times": times,
                "target": each.target,
                "goal": each.target_in_units,
                "weight": each.weight,
            }
            for each, times in positive + negative
        ],
    }


def _text(step: Step, say: Catalogue) -> dict[str, Any]:
    """Return the question about the text, in the rows of `parameters`."""
    of, example = step.settings, step.examples[0]
    numbers_asked = step.task == "regress"
    places, padding = _places(step, "table"), (of.length or 0) - len(example.inputs)
    left = padding if of.pad_side == "left" else 0
    ngrams = [each for each in step.ngrams if each.row is not None]
    rows_of_ngrams = _places(step, "ngrams") if step.ngrams else {}
    scale = (step.weights[f"target.{name}"].rows for name in ("scale", "mean"))
    return {
        "inputs": [["table", places[step.tokens[place].id]] for place in example.inputs]
        + [["ngrams", rows_of_ngrams[each.row]] for each in ngrams],
        "from": [visible(step.tokens[place].token) for place in example.inputs]
        + [visible(each.words) for each in ngrams],
        "pooled": len(example.inputs) + len(step.ngrams),
        "pool": of.pool,
        "left": left,
        "right": padding - left,
        "keep": None if step.dropout is None else numbers(step.dropout),
        "loss": "squared" if numbers_asked else "sigmoid" if of.multi_label else "softmax",
        "targets": [each.target for each in example.candidates],
        "weights": [each.weight for each in example.candidates],
        "count": step.count,
        "names": [
            visible(each.name) or say("table.numbered", number=each.id + 1)
            for each in example.candidates
        ],
        "scale": [each.tolist() for each in scale] if numbers_asked else None,
    }


def _places(step: Step, name: str) -> dict[Any, int]:
    """Return where each row of a table stands among the rows that the step reads."""
    ids = step.weights[name].ids
    return {} if ids is None else {each: place for place, each in enumerate(ids.tolist())}


def _numbers_table(name: str, changes: Sequence[Change], say: Catalogue) -> str:
    rows: list[tuple[str, str, Any]] = []
    for change in changes:
        index = "" if change.row is None else str(change.row)
        label = captions.label_of(change)
        if len(change.parts) > 1:
            for number, part in enumerate(change.parts, 1):
                rows.append(("", say("page.of_look_up", name=label, number=number), part))
        rows.append((index, say("page.of_gradient", name=label), change.gradient.ravel()))
        rows.append((index, say("page.of_before", name=label), change.before.ravel()))
        rows.append((index, say("page.of_after", name=label), change.after.ravel()))
    return _table(name, rows, say)


def _table(name: str, rows: Sequence[tuple[str, str, NDArray[Any]]], say: Catalogue) -> str:
    lines = "".join(
        f"<tr><td>{index}</td><th scope=row>{escaped(label)}</th><td class=n>"
        + " ".join(f"{value:.6g}" for value in row)
        + "</td></tr>\n"
        for index, label, row in rows
    )
    summary = f"<summary>{escaped(say('page.all_numbers', parameter=name))}</summary>"
    return f"<details>{summary}<div class=table><table>{lines}</table></div></details>\n"
