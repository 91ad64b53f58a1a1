"""Every record of the API shows itself in a notebook."""

from __future__ import annotations

import inspect

import pytest

import embedcli

INPUTS = {"TextSettings", "TrainSettings", "CountSettings", "Options"}  # a caller makes them
TEXT = "a <b> good day\na bad <b> day\n" * 20


def records() -> dict[str, type]:
    """Return every class that the package exports, but for errors and what is only passed in."""
    exported = {name: getattr(embedcli, name) for name in embedcli.__all__}
    return {
        name: each
        for name, each in exported.items()
        if inspect.isclass(each) and not issubclass(each, BaseException) and name not in INPUTS
    }


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Return the HTML or SVG of each kind of record, made by functions of the API."""
    folder = tmp_path_factory.mktemp("notebook")
    text = folder / "text.txt"
    text.write_text(TEXT)
    reviews = folder / "reviews.txt"
    reviews.write_text("__label__<b> warm <b> day\n__label__no cold <b> night\n" * 10)
    numbers = folder / "numbers.txt"
    numbers.write_text("__label__1 warm <b> day\n__label__2 cold <b> night\n" * 10)
    pairs = folder / "pairs.txt"
    pairs.write_text("a\t<b>\t1\ngood\tbad\t2\nday\t<b>\t3\n")
    questions = folder / "questions.txt"
    questions.write_text(": <b>\na <b> good bad\n")
    found: list[object] = []
    note = found.append
    settings = {"tokenizer": "whitespace", "epochs": 2, "dim": 4, "report": note}
    model, other = folder / "m", folder / "n"
    found += [embedcli.train(text, model, **settings), embedcli.load(model)]
    embedcli.train_replicas(text, folder / "several", 2, **settings)
    embedcli.train(text, other, seed=2, **settings)
    embedcli.train(reviews, folder / "c", task="classify", **settings)
    embedcli.train(numbers, folder / "r", task="regress", **settings)
    found += [embedcli.training.run.Reading(1, 2), embedcli.training.run.Counting(1, 2)]
    machine = embedcli.Machine("<b>", 4, 100, 1.0, 0)
    found += [machine, embedcli.Round(1, 1.0, (machine,)), embedcli.Notice("<b> is lost")]
    table = embedcli.load(model)
    found += [table.vocabulary, embedcli.lookup(["<b>"], model), embedcli.lookup(["<b>"], model)[0]]
    for answers in (
        embedcli.neighbors("<b>", model),
        embedcli.analogy(["a", "<b>", "good"], model),
        embedcli.similarity(["a", "<b>"], model),
        embedcli.odd(["a", "<b>", "good"], model),
        embedcli.stable_neighbors("<b>", [model, other]),
    ):
        found += [answers, *answers]
    found += [found[-1].neighbors[0], embedcli.neighbors("<b>", model)[0].neighbors[0]]
    found += [embedcli.load_ensemble([model, other]), table.nearest(table.vectors[:1], 2)]
    tokenized = embedcli.tokenize(text, tokenizer="whitespace")
    found += [tokenized, next(iter(tokenized)), tokenized.coverage]
    results = embedcli.predict(reviews, folder / "c")
    found += [results, next(results.lines)[0]]
    (why, *_) = next(embedcli.explain_predictions(reviews, folder / "c").lines)
    found += [why, why.contributions[0]]
    found += [embedcli.evaluate(pairs, model)]
    measured = embedcli.evaluate(questions, model, task="analogy")
    found += [measured, measured.sections[0]]
    found += [embedcli.evaluate(reviews, folder / "c", task="classify")]
    found += [embedcli.evaluate(numbers, folder / "r", task="regress")]
    comparison = embedcli.compare(model, other)
    found += [comparison, comparison[0]]
    drawn = embedcli.map_words(model)
    found += [drawn, drawn.arrangements[0], drawn.attributes[0], embedcli.map_pair(model, other)]
    counts = embedcli.count(text, tokenizer="whitespace")
    found += [counts, counts.contexts("<b>"), counts.contexts("<b>").partners[0]]
    found += [counts.most_frequent(1)[0], embedcli.describe(model), embedcli.cache()]
    from embedcli.formats import read

    embedcli.convert(model, folder / "v.txt")
    found += [read(folder / "v.txt")]
    found += [embedcli.Indexed("<b>", 3, 4, 16, 64, 100, 0.1)]
    again = embedcli.reproduce(model, text)
    found += [again, embedcli.Difference("<b>", "1", "2")]
    trial = embedcli.Trial(
        number=1, settings={"dim": 4}, seed=1, score=0.5, seconds=1.0, elapsed=1.0, stopped=False
    )
    found += [trial, embedcli.Tuned(folder, "skipgram", "<b>", {"dim": 4}, 0.5, 1, [trial])]
    return {type(each).__name__: each for each in found}


def test_every_record_shows_itself(shown):
    assert set(records()) - set(shown) == set()
    for name in records():
        each = shown[name]
        pages = [
            getattr(each, method)()
            for method in ("_repr_html_", "_repr_svg_")
            if hasattr(each, method)
        ]
        assert pages, name
        for page in pages:
            assert page.startswith("<") and len(page) > 20, name
            assert "<b>" not in page, name
