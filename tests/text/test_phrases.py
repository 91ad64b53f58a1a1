import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import embedcli
from embedcli.cli import main
from embedcli.config import TextSettings
from embedcli.errors import StoreError, VocabularyError
from embedcli.model import load_model
from embedcli.text import phrases as module
from embedcli.text.encode import encode
from embedcli.text.phrases import Pair, Phrases
from embedcli.text.vocabulary import Vocabulary
from embedcli.training import run

SETTINGS = TextSettings(
    phrases=True, phrase_min_count=2, phrase_threshold=1.5, cache=False, workers=1, min_count=1
)
LINES = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "d", "a_b"]), max_size=8), min_size=1, max_size=20
)
OTHERS = list(permutations(["we", "they", "in", "live", "today", "gladly"], 2))
CITY = "".join(f"{one} new york {two}\n{two} new {one}\n" for one, two in OTHERS)
LABELLED = "".join(
    f"__label__city {one} new york {two}\n__label__day {two} new {one}\n" for one, two in OTHERS
)


def learnt_by_hand(lines, settings):
    """Learn and join as in the papers, with dictionaries."""
    passes = []
    for _ in range(settings.phrase_passes):
        words = Counter(word for line in lines for word in line)
        pairs = Counter(pair for line in lines for pair in pairwise(line))
        total, least = sum(words.values()), settings.phrase_min_count
        best = set()
        for (a, b), together in pairs.items():
            if min(together, words[a], words[b]) < least:
                continue
            score = (together - least) * total / (words[a] * words[b])
            if settings.phrase_score == "npmi":
                shared = together / total
                score = math.log(shared * total**2 / (words[a] * words[b]))
                score = score / -math.log(shared) if shared < 1 else 1.0
            if score > settings.phrase_threshold:
                best.add((a, b))
        passes.append(best)
        lines = [joined_by_hand(line, best) for line in lines]
    return passes, lines


def joined_by_hand(line, pairs):
    joined = []
    while line:
        size = 2 if tuple(line[:2]) in pairs else 1
        joined.append("_".join(line[:size]))
        line = line[size:]
    return joined


def encoded(folder, lines, settings, **more):
    folder.mkdir(exist_ok=True)
    path = folder / "text.txt"
    path.write_text("".join(" ".join(line) + "\n" for line in lines))
    corpus = encode([path], settings, folder=folder, **more)
    words = corpus.vocabulary.tokens(slice(None))
    ids, ends = corpus.ids.tolist(), corpus.offsets.tolist()
    return corpus, [[words[each] for each in ids[a:b]] for a, b in pairwise(ends)]


@pytest.mark.parametrize("at_once", [1, 3, 1 << 20])
@pytest.mark.parametrize("score", ["mikolov", "npmi"])
@hypothesis_settings(max_examples=40)
@given(lines=LINES)
def test_phrases_are_those_of_the_papers(at_once, score, lines, tmp_path_factory):
    threshold = 1.5 if score == "mikolov" else 0.3
    settings = replace(SETTINGS, phrase_score=score, phrase_threshold=threshold)
    passes, expected = learnt_by_hand(lines, settings)
    if not any(lines):
        return
    with pytest.MonkeyPatch.context() as patch:
        for name in ("phrases", "spool"):
            patch.setattr(f"embedcli.text.{name}.PIECE", at_once)
        corpus, found = encoded(tmp_path_factory.mktemp("text"), lines, settings)
    assert found == expected
    assert [{pair[:2] for pair in each} for each in corpus.phrases.passes] == passes
    # Ids are by first appearance of what is a token then; counts and first lines are of these.
    words = list(dict.fromkeys(word for line in expected for word in line))
    assert list(corpus.vocabulary) == words
    counts = Counter(word for line in expected for word in line)
    assert corpus.vocabulary.counts.tolist() == [counts[word] for word in words]
    first = [next(n for n, line in enumerate(expected, 1) if word in line) for word in words]
    assert corpus.first_lines.tolist() == first
    # The list joins other text, and lines of tokens, in the same way.
    again, joined = encoded(
        tmp_path_factory.mktemp("again"), lines, TextSettings(cache=False), phrases=corpus.phrases
    )
    assert joined == expected and again.phrases == corpus.phrases
    assert [corpus.phrases.join(line) for line in lines] == expected


def test_words_of_a_given_vocabulary_are_looked_up_after_joining(tmp_path):
    phrases = Phrases(((Pair("new", "york"),),))
    lines = [["new", "york", "is", "new"], ["york"]]
    given = Vocabulary(["york", "new_york", "other"])
    corpus, found = encoded(tmp_path, lines, SETTINGS, vocabulary=given, phrases=phrases)
    assert found == [["new_york"], ["york"]]
    assert corpus.ids.tolist() == [1, 0]


def test_pairs_are_forgotten_where_there_are_too_many(tmp_path, monkeypatch):
    lines = [["x", "y", f"w{n % 7}", f"v{n % 5}"] for n in range(70)]
    settings = replace(SETTINGS, phrase_min_count=1, phrase_threshold=2.0, phrase_passes=1)
    whole, _ = encoded(tmp_path / "whole", lines, settings)
    monkeypatch.setattr(module, "MOST_PAIRS", 8)
    for name in ("phrases", "spool"):
        monkeypatch.setattr(f"embedcli.text.{name}.PIECE", 16)
    some, _ = encoded(tmp_path / "some", lines, settings)
    assert whole.phrases.dropped == 0 < some.phrases.dropped
    assert ("x", "y") in {pair[:2] for pair in some.phrases.passes[0]}


@pytest.mark.parametrize(
    ("tokenizer", "together", "others", "phrase"),
    [
        ("word", "नई दिल्ली", "आज कल अब तब वह यहाँ", "नई_दिल्ली"),
        ("whitespace", "Los Angeles!", "in to from Of by", "Los_Angeles!"),
        ("char", "東京", "の 空 は に が", "東_京"),
    ],
)
def test_tokens_of_any_kind_are_joined(tokenizer, together, others, phrase, tmp_path):
    path = tmp_path / "text.txt"
    lines = [f"{one} {together} {two}\n" for one, two in permutations(others.split(), 2)]
    path.write_text("".join(lines), encoding="utf-8")
    settings = replace(SETTINGS, tokenizer=tokenizer, fold_case=False, phrase_passes=1)
    corpus = encode([path], settings, folder=tmp_path)
    assert phrase in corpus.vocabulary
    assert [pair[:2] for pair in corpus.phrases.passes[0]] == [tuple(phrase.split("_"))]


def test_the_cache_knows_phrases(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBED_CACHE", str(tmp_path / "cache"))
    lines = [line.split() for line in CITY.splitlines()]
    kept = replace(SETTINGS, cache=True)
    first, found = encoded(tmp_path / "a", lines, kept)
    again, cached = encoded(tmp_path / "a", lines, kept)
    assert cached == found and first.phrases == again.phrases
    plain, apart = encoded(tmp_path / "a", lines, replace(kept, phrases=False))
    assert plain.phrases is None and apart == lines
    other = Phrases(((Pair("they", "new"),),))
    _, joined = encoded(tmp_path / "a", lines, kept, phrases=other)
    assert joined[1] == ["they_new", "we"]


def test_a_list_is_read_as_it_was_written(tmp_path):
    found = Phrases(((Pair("a", "b", 3, 2.5), Pair("c", "d", 1, 0.5)), (), (Pair("a_b", "c"),)))
    path = tmp_path / "phrases.txt"
    path.write_bytes(found.to_bytes())
    assert Phrases.read(path) == found
    assert Phrases.parse("new york\nold york\n").join(["new", "york"]) == ["new_york"]
    assert Phrases.parse("").join(["new", "york"]) == ["new", "york"]


@pytest.mark.parametrize("line", ["york", "new york times", "a b\t1", "a b\tx\t1", " b", "a  b"])
def test_a_list_of_something_else_is_one_error(line, tmp_path):
    path = tmp_path / "phrases.txt"
    path.write_text(f"new york\n{line}\n")
    with pytest.raises(VocabularyError, match=r"phrases.txt:2: found .* expected two words"):
        Phrases.read(path)


TRAIN = {"dim": 4, "epochs": 2, "phrases": True, "phrase_threshold": 1.5, "min_count": 1}


def test_a_model_spells_phrases_as_its_text(tmp_path, capsys):
    path = tmp_path / "text.txt"
    path.write_text(CITY)
    digests = set()
    for workers in (1, 2, 3):
        trained = embedcli.train(path, tmp_path / "m", workers=workers, **TRAIN, cache=False)
        digests.add((trained.digest, (tmp_path / "m" / "phrases.txt").read_bytes()))
    assert len(digests) == 1
    table = embedcli.load(tmp_path / "m")
    assert "new_york" in table.vocabulary
    assert table.lookup(["New York", "new_york", "today"]).tokens[0] == "new_york"
    assert table.lookup_text("live in New York").tokens[-1] == "new_york"
    means = embedcli.vectors([write(tmp_path, "new york")], tmp_path / "m").lines
    np.testing.assert_allclose(next(means), table["new_york"], rtol=1e-6)
    assert main(["neighbors", "new york", "-k", "1", "-m", str(tmp_path / "m")]) == 0
    assert "new_york" in capsys.readouterr().out
    list_ = str(tmp_path / "m" / "phrases.txt")
    command = ["tokenize", "--format", "tokens", "--phrases", list_]
    assert main([*command, str(write(tmp_path, "We live in New York"))]) == 0
    assert "new_york" in capsys.readouterr().out.split()


def write(folder, line):
    path = folder / "line.txt"
    path.write_text(line + "\n")
    return path


def test_a_model_goes_on_with_its_phrases(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(CITY)
    whole = embedcli.train(path, tmp_path / "whole", **TRAIN, workers=1)
    asked = iter([True])
    with pytest.raises(run.Stopped):
        embedcli.train(path, tmp_path / "m", stop=lambda: next(asked, True), **TRAIN, workers=1)
    assert embedcli.train(None, tmp_path / "m", resume=True).digest == whole.digest
    before = load_model(tmp_path / "m")
    more = tmp_path / "more.txt"
    more.write_text("in new york we live well\nwell well they live well\n" * 20)
    changed = {"update": str(tmp_path / "m")}
    updated = embedcli.train(more, tmp_path / "n", **changed)
    after = load_model(tmp_path / "n")
    assert after.phrases == before.phrases
    assert list(after.table.vocabulary)[: len(before.table)] == list(before.table.vocabulary)
    asked = iter([True])
    with pytest.raises(run.Stopped):
        embedcli.train(more, tmp_path / "o", stop=lambda: next(asked, True), **changed)
    assert embedcli.train(None, tmp_path / "o", resume=True).digest == updated.digest


def test_labelled_text_is_joined_as_the_model_s(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(LABELLED)
    embedcli.train(path, tmp_path / "m", task="classify", lr=0.5, **{**TRAIN, "epochs": 20})
    scores = embedcli.evaluate(path, tmp_path / "m", task="classify")
    assert scores.unknown_words == 0 and scores.accuracy == 1
    step = embedcli.explain("in new york", tmp_path / "m", labels=["city"])
    assert [token.token for token in step.tokens][-1] == "new_york"
    found = embedcli.predict(write(tmp_path, "we live new york"), tmp_path / "m")
    assert next(found.lines)[0].name == "city"


def test_a_model_that_lost_its_phrases_is_damaged(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(CITY)
    embedcli.train(path, tmp_path / "m", **TRAIN)
    found = (tmp_path / "m" / "phrases.txt").read_bytes()
    (tmp_path / "m" / "phrases.txt").write_bytes(b"x" * len(found))
    with pytest.raises(StoreError, match=r"phrases.txt: damaged"):
        load_model(tmp_path / "m")


def test_a_list_of_blank_lines_is_refused():
    with pytest.raises(VocabularyError, match="over 100 passes"):
        Phrases.parse("\n" * 101 + "new york\n")
