"""Text to ids by first appearance: by hand, against a plain way, and with any number of workers."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.config import TextSettings
from embedcli.errors import CorpusError, StoreError, WorkerError
from embedcli.text import blocks, corpus, words
from embedcli.text.blocks import BlockEncoder
from embedcli.text.encode import EncodedCorpus, encode, token_lines
from embedcli.text.labels import ClassTargets, NumberTargets
from embedcli.text.tokenizer import Tokenizer
from embedcli.text.vocabulary import Coverage, Vocabulary

Encode = Callable[..., EncodedCorpus]


@pytest.fixture
def encoded(tmp_path: Path) -> Encode:
    """Encode text given as it is."""

    def run(text: str | bytes, name: str = "text", **options: Any) -> EncodedCorpus:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        asked = {key: options.pop(key) for key in ("labels", "vocabulary") if key in options}
        settings = TextSettings(**{"cache": False, **options})
        return encode([path], settings, folder=tmp_path, **asked)

    return run


def lines(found: EncodedCorpus) -> list[list[int]]:
    return [
        found.ids[start:end].tolist()
        for start, end in zip(found.offsets, found.offsets[1:], strict=False)
    ]


def test_two_sentences(encoded: Encode) -> None:
    found = encoded("Hope to see you soon\nNice to see you again\n")
    assert lines(found) == [[0, 1, 2, 3, 4], [5, 1, 2, 3, 6]]
    assert list(found.vocabulary) == ["hope", "to", "see", "you", "soon", "nice", "again"]
    assert found.vocabulary.counts is not None
    assert found.vocabulary.counts.tolist() == [1, 2, 2, 2, 1, 1, 1]
    assert found.first_lines.tolist() == [1, 1, 1, 1, 1, 2, 2]
    assert (found.ids.dtype, found.offsets.dtype) == (np.int32, np.int64)


def test_two_sentences_in_hindi(encoded: Encode) -> None:
    found = encoded("आपसे मिलने की उम्मीद है\nआपसे दोबारा मिलकर अच्छा लगा\n")
    assert lines(found) == [[0, 1, 2, 3, 4], [0, 5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b\n\n a\n", [[0, 1], [], [0]]),
        ("a b\r\n\r\na", [[0, 1], [], [0]]),
        ("a\rb\u2028c\u0085d\x0ce\x1df\n", [[0, 1, 2, 3, 4, 5]]),
        ("\ufeffa\0b\n\0\n", [[0, 1], []]),
        ("a", [[0]]),
        ("\n\na", [[], [], [0]]),
    ],
)
def test_where_lines_end(encoded: Encode, text: str, expected: list[list[int]]) -> None:
    assert lines(encoded(text)) == expected


def test_a_word_spelt_in_two_ways_is_one(encoded: Encode) -> None:
    found = encoded("see s\u00adee\nn\u00adaive naive don't see don’t\n", min_count=1)
    assert lines(found) == [[0, 0], [1, 1, 2, 0, 2]]
    assert found.vocabulary.tokens(slice(None)) == ["see", "naive", "don't"]
    assert np.asarray(found.vocabulary.counts).tolist() == [3, 2, 2]
    assert found.first_lines.tolist() == [1, 2, 2]


def test_files_end_lines(tmp_path: Path) -> None:
    for name, text in (("1", "a b"), ("2", ""), ("3", "\nb c\n"), ("4", "d")):
        (tmp_path / name).write_text(text)
    places = [tmp_path / name for name in "1234"]
    found = encode(places, TextSettings(cache=False), folder=tmp_path)
    assert lines(found) == [[0, 1], [], [1, 2], [3]]
    assert found.first_lines.tolist() == [1, 1, 3, 4]


TEXTS = st.lists(
    st.text("ab B'-.\té字’1,\r", max_size=12) | st.sampled_from(["l'eau", "字字 字", "a—b c", "—"]),
    max_size=12,
)


@given(TEXTS, st.integers(16, 48), st.sampled_from(["word", "whitespace", "char"]))
def test_blocks_and_a_plain_way_agree(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], size: int, kind: str
) -> None:
    folder = tmp_path_factory.mktemp("encode")
    (folder / "text").write_bytes("\n".join([*texts, "end"]).encode())
    settings = TextSettings(tokenizer=kind, cache=False, workers=1)  # type: ignore[arg-type]
    tokens = [Tokenizer(settings).tokenize(text) for text in [*texts, "end"]]
    index: dict[str, int] = {}
    expected = [[index.setdefault(token, len(index)) for token in line] for line in tokens]
    counts = Counter(token for line in tokens for token in line)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "BLOCK", size)
        found = encode([folder / "text"], settings, folder=folder)
        parts = list(token_lines([folder / "text"], settings))
    assert lines(found) == expected
    assert list(found.vocabulary) == list(index)
    assert found.vocabulary.counts is not None
    assert found.vocabulary.counts.tolist() == [counts[token] for token in index]
    firsts = {token: number for number, line in reversed([*enumerate(tokens, 1)]) for token in line}
    assert found.first_lines.tolist() == [firsts[token] for token in index]
    joined: list[list[str]] = [[]]
    for part, ended in parts:
        joined[-1] += part
        if ended:
            joined.append([])
    assert joined[:-1] == tokens


@given(TEXTS, TEXTS)
def test_appended_text_changes_no_id(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], more: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("encode")
    settings = TextSettings(min_count=1, cache=False)
    found = []
    for text in (["start", *texts], ["start", *texts, *more]):
        (folder / "text").write_bytes("\n".join(text).encode())
        found.append(list(encode([folder / "text"], settings, folder=folder).vocabulary))
    assert found[1][: len(found[0])] == found[0]


def test_rare_words_go_and_the_others_close_up(encoded: Encode) -> None:
    found = encoded("x a b\ny b a c\n\nc z c a", min_count=2)
    assert list(found.vocabulary) == ["a", "b", "c"]
    assert lines(found) == [[0, 1], [1, 0, 2], [], [2, 2, 0]]
    assert found.first_lines.tolist() == [1, 1, 2]
    assert found.min_count == 2


@pytest.mark.parametrize("at_a_time", [1, 3, 5, 100])
def test_rare_words_go_a_part_at_a_time(
    encoded: Encode, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    monkeypatch.setattr("embedcli.text.spool.PIECE", at_a_time)
    found = encoded("a b a\n\nc a\nd e f g h i j\na b\n\n", min_count=2)
    assert lines(found) == [[0, 1, 0], [], [0], [], [0, 1], []]


def test_the_most_frequent_stay_the_first_of_equals(encoded: Encode) -> None:
    found = encoded("z b a c\na b d c a", max_vocab=3)
    assert list(found.vocabulary) == ["b", "a", "c"]
    assert lines(found) == [[0, 1, 2], [1, 0, 2, 1]]


def test_stop_words(encoded: Encode, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    stop.write_bytes("\ufeffThe\r\nd’être\n\nof\n".encode())
    found = encoded("the king of the world", stop_words=str(stop))
    assert list(found.vocabulary) == ["king", "world"]
    with pytest.raises(CorpusError, match="none"):
        encoded("a", stop_words=str(tmp_path / "none"))


def test_auto_depends_on_the_size(encoded: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a b\n" * 5 + "c\n"
    assert (encoded(text).min_count, len(encoded(text).vocabulary)) == (1, 3)
    monkeypatch.setattr(words, "LARGE_CORPUS_TOKENS", 11)
    assert (encoded(text).min_count, len(encoded(text).vocabulary)) == (5, 2)
    assert encoded(text, min_count=1).min_count == 1


def test_a_vocabulary_given(encoded: Encode) -> None:
    given = Vocabulary(["c", "zz", "a"])
    found = encoded("a b c\nb\na", vocabulary=given, min_count=9)
    assert lines(found) == [[2, 0], [], [2]]
    assert found.vocabulary == given
    assert found.vocabulary.counts is not None
    assert found.vocabulary.counts.tolist() == [1, 0, 2]
    assert found.first_lines.tolist() == [1, 0, 1]
    assert given.counts is None
    with pytest.raises(CorpusError, match="none of its words"):
        encoded("x", vocabulary=given)


@pytest.mark.parametrize("text", ["", "\n\n", "... !? \r\n —", "\0"])
def test_text_without_a_word(encoded: Encode, text: str) -> None:
    with pytest.raises(CorpusError, match="no word found"):
        encoded(text)


def test_no_word_is_left(encoded: Encode) -> None:
    with pytest.raises(CorpusError, match="text: no word is left of 2") as caught:
        encoded("a b", min_count=3)
    assert caught.value.hint is not None


def test_bytes_that_are_not_utf8(encoded: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"one\ntwo three\nfour \xffve\n"
    monkeypatch.setattr(corpus, "BLOCK", 16)
    with pytest.raises(CorpusError, match="text:3: byte 0xff at offset 19 is not UTF-8"):
        encoded(data)
    assert list(encoded(data, errors="replace").vocabulary)[3:] == ["four", "ve"]
    assert list(encoded(b"fo\xffur", errors="skip").vocabulary) == ["four"]
    with pytest.raises(CorpusError) as caught:
        encoded("é".encode("utf-16"))
    assert caught.value.hint == "this looks like UTF-16: --encoding utf-16"


def test_a_line_of_many_blocks(encoded: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "BLOCK", 64)
    found = encoded(
        "__label__x " + "word other " * 100 + "__label__y\nnext __label__x", labels="class"
    )
    assert np.diff(found.offsets).tolist() == [200, 1]
    assert isinstance(found.targets, ClassTargets)
    assert found.targets.offsets.tolist() == [0, 2, 3]


class TestLabels:
    def test_in_the_text(self, encoded: Encode) -> None:
        found = encoded("__label__b good\n\n__label__a bad __label__b __label__é", labels="class")
        targets = found.targets
        assert isinstance(targets, ClassTargets)
        assert targets.names == ("b", "a", "é")
        assert targets.ids.tolist() == [0, 1, 0, 2]
        assert targets.offsets.tolist() == [0, 1, 1, 4]
        assert list(found.vocabulary) == ["good", "bad"]

    def test_labels_are_no_words_of_any_task(self, encoded: Encode, tmp_path: Path) -> None:
        text = "__label__sport a __label__b\nb\tx__label__y __label__"
        found = encoded(text)
        assert found.targets is None
        assert list(found.vocabulary) == ["a", "b", "x", "label", "y"]
        assert list(token_lines([tmp_path / "text"], TextSettings())) == [
            (["a"], True),
            (["b", "x", "label", "y"], True),
        ]
        assert list(encoded("#a b", label_prefix="#").vocabulary) == ["b"]
        for nothing in ("", None):
            assert list(encoded("#a b", label_prefix=nothing).vocabulary) == ["a", "b"]
        with pytest.raises(CorpusError) as caught:
            encoded("__label__a b", label_prefix=None, labels="class")
        assert "None" not in (caught.value.hint or "")
        assert list(encoded("text\n__label__a b\n", "t.csv").vocabulary) == ["label", "a", "b"]

    @pytest.mark.parametrize("block", [24, 1 << 20])
    def test_a_label_counts_once_on_a_line(
        self, encoded: Encode, monkeypatch: pytest.MonkeyPatch, block: int
    ) -> None:
        monkeypatch.setattr(corpus, "BLOCK", block)
        line = "__label__b red __label__a blue __label__b green __label__a __label__c"
        found = encoded(f"{line}\n__label__a x __label__a\n__label__a y", labels="class")
        assert isinstance(found.targets, ClassTargets)
        assert found.targets.names == ("b", "a", "c")
        assert found.targets.ids.tolist() == [0, 1, 2, 1, 1]
        assert found.targets.offsets.tolist() == [0, 3, 4, 5]

    def test_a_label_counts_once_in_a_list(self, encoded: Encode) -> None:
        found = encoded('{"text": "a", "label": ["x", "y", " x", "x"]}', "t.jsonl", labels="class")
        assert isinstance(found.targets, ClassTargets)
        assert found.targets.ids.tolist() == [0, 1]

    def test_numbers_may_be_equal(self, encoded: Encode) -> None:
        found = encoded("__label__1 a __label__1 __label__1", labels="number")
        assert isinstance(found.targets, NumberTargets)
        assert found.targets.values.tolist() == [[1, 1, 1]]

    def test_another_prefix(self, encoded: Encode) -> None:
        found = encoded("#x good me#dium #y", labels="class", label_prefix="#")
        assert isinstance(found.targets, ClassTargets)
        assert found.targets.names == ("x", "y")
        assert list(found.vocabulary) == ["good", "me", "dium"]

    def test_numbers(self, encoded: Encode) -> None:
        found = encoded("__label__1 __label__-2.5e1 a\n\n__label__0 __label__3 b", labels="number")
        assert isinstance(found.targets, NumberTargets)
        np.testing.assert_array_equal(
            found.targets.values, np.array([[1, -25], [np.nan, np.nan], [0, 3]], np.float32)
        )

    @pytest.mark.parametrize(
        ("text", "labels", "message"),
        [
            ("__label__a x\ny\n", "class", "text:2: a line without a label"),
            ("x\ny\n", "number", "text:1: a line without a label"),
            ("a\n__label__ x", "class", "text:2: found an empty label"),
            ("...\n", "class", "text: no word found"),
            ("__label__1 x\n__label__one y", "number", "text:2: found 'one'; expected a finite"),
            ("__label__nan x", "number", "text:1: found 'nan'"),
            ("__label__1e39 x", "number", "text:1: found '1e39'"),
            (
                "__label__1 x\n__label__1 __label__2 y",
                "number",
                "text:1: found 1 numbers; expected 2",
            ),
        ],
    )
    def test_labels_that_are_wrong(
        self, encoded: Encode, text: str, labels: str, message: str
    ) -> None:
        with pytest.raises(CorpusError, match=message):
            encoded(text, labels=labels)

    def test_csv(self, encoded: Encode) -> None:
        text = '\ufefflabel,text\r\nx y,"hello, ""you"""\r\nz,"a\nb"\r\n\r\n'
        found = encoded(text, "t.csv", labels="class")
        assert lines(found) == [[0, 1], [2, 3]]
        assert isinstance(found.targets, ClassTargets)
        assert found.targets.names == ("x y", "z")

    def test_tsv(self, encoded: Encode) -> None:
        found = encoded('t\tn\n"a b\t1 2\nc\t3 4\n', "t.TSV", labels="number", text_column="t",
                        label_column="n")  # fmt: skip
        assert isinstance(found.targets, NumberTargets)
        assert found.targets.values.tolist() == [[1, 2], [3, 4]]
        assert list(found.vocabulary) == ["a", "b", "c"]

    def test_json_lines(self, encoded: Encode) -> None:
        text = (
            '{"text": "a\\nb", "label": ["x", 3]}\n\n{"label": [], "text": "b"}\n'
            '{"text":"c","label":true}'
        )
        found = encoded(text, "t.jsonl", labels="class")
        assert lines(found) == [[0, 1], [1], [2]]
        assert isinstance(found.targets, ClassTargets)
        assert found.targets.names == ("x", "3", "true")
        assert found.targets.offsets.tolist() == [0, 2, 2, 3]

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("t.txt", "class,body\nx,a b\ny,c\n"),
            ("t", "class\tbody\nx\ta b\ny\tc\n"),
            ("t.csv", 'class;body\nx;"a b"\ny;c'),
            ("t.csv", "class|body|more,text\nx|a b|\ny|c|"),
            ("t.dat", '\ufeff{"class": "x", "body": "a b"}\n{"body": "c", "class": "y"}'),
            ("t.json", '{"class": "x", "body": "a b"}\n{"body": "c", "class": "y"}'),
        ],
    )
    def test_columns_of_files_of_any_name(self, encoded: Encode, name: str, text: str) -> None:
        found = encoded(text, name, labels="class", text_column="body", label_column="class")
        assert lines(found) == [[0, 1], [2]]
        assert isinstance(found.targets, ClassTargets)
        assert found.targets.names == ("x", "y")

    @pytest.mark.parametrize(
        ("text", "options"),
        [
            ("x,a b\ny,c\n", {}),
            ("x;a b;1,2\ny;c;\n", {}),
            ("x~a b~a,b\ny~c~\n", {"delimiter": "~"}),
            ("x\ta b\ny\tc\n", {"delimiter": "tab"}),
        ],
    )
    def test_columns_without_a_header(
        self, encoded: Encode, text: str, options: dict[str, str]
    ) -> None:
        columns = {"text_column": "2", "label_column": "1", "header": False, **options}
        found = encoded(text, labels="class", **columns)
        assert lines(found) == [[0, 1], [2]]
        assert isinstance(found.targets, ClassTargets)
        assert found.targets.names == ("x", "y")

    @pytest.mark.parametrize(
        ("name", "text", "options", "message"),
        [
            ("t", "a b c\n", {"text_column": "b"}, "t:1: no column 'b'; the columns are a b c"),
            ("t.csv", "text\na\n", {"label_column": "x"}, "t.csv:1: no column 'x'"),
            ("t.jsonl", '{"text": ""}', {"label_column": "x"}, "t.jsonl:1: no key 'x'"),
            ("t", "a,b\n", {"header": False}, "t:1: no column 'text'; the columns are 1, 2"),
            ("t", "a,b\n", {"header": False, "text_column": "3"}, "t:1: no column '3'"),
            ("t", "a\rb,c\n", {"text_column": "b"}, "t:1: new-line character .*expected records"),
            ("t", "a,b\n", {"delimiter": ";"}, "t:1: no column 'text'; the columns are a,b"),
            ("t.json", '[{"text": "a"}]', {}, "t.json:1: found .* expected a JSON object"),
            ("t.json", '[\n{"text": "a"}\n]', {}, "t.json:1: Expecting value, .*a JSON object"),
            ("t.json", '{"text": "a"', {}, "t.json:1: Expecting ',' delimiter"),
        ],
    )
    def test_columns_that_are_not_there(
        self, encoded: Encode, name: str, text: str, options: dict[str, str], message: str
    ) -> None:
        with pytest.raises(CorpusError, match=message) as caught:
            encoded(text, name, **options)
        assert (caught.value.hint is None) == ("delimiter" in message or "records" in message)

    def test_columns_by_name_only(self, encoded: Encode, tmp_path: Path) -> None:
        """As text is read for a model that was trained on columns."""
        (tmp_path / "t.csv").write_text("label,body\nx,b\n")
        (tmp_path / "t").write_text("label,body\n")
        settings = TextSettings(text_column="body")
        found = token_lines([tmp_path / "t.csv", tmp_path / "t"], settings, by_name=True)
        assert [tokens for tokens, _ in found] == [["b"], ["label", "body"]]

    def test_columns_without_labels(self, encoded: Encode) -> None:
        assert lines(encoded("text\na b\n", "t.csv")) == [[0, 1]]

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("t.csv", "txt,label\na,b\n", "t.csv:1: no column 'text'; the columns are txt, label"),
            ("t.csv", "", "t.csv:1: no column 'text'; the columns are none"),
            ("t.csv", "text,label\na,b,c\n", "t.csv:2: found 3 cells; expected 2"),
            ("t.csv", 'text,label\n"a,b\nc,d\n', "t.csv:3: unexpected end of data"),
            ("t.csv", "text,label\na,\n", "t.csv:2: found an empty label"),
            ("t.csv", b"text,label\na,b\nc\xff,d\n", "t.csv:3: byte 0xff at offset 16"),
            ("t.jsonl", "{", "t.jsonl:1: Expecting property name"),
            ("t.jsonl", "[1]", "t.jsonl:1: found '.1.'; expected a JSON object"),
            ("t.jsonl", "[" * 100_000, "t.jsonl:1: .*expected a JSON object"),
            ("t.jsonl", '{"text": "a"}', "t.jsonl:1: no key 'label'; the keys are text"),
            ("t.jsonl", '{"text": 1, "label": "a"}', "t.jsonl:1: text is 1; expected text"),
            ("t.jsonl", '{"text": "a", "label": null}', "t.jsonl:1: label is null; expected"),
            ("t.jsonl", '{"text": "\\ud800", "label": "a"}', "t.jsonl:1: half a character"),
        ],
    )
    def test_columns_that_are_wrong(
        self, encoded: Encode, name: str, text: str | bytes, message: str
    ) -> None:
        with pytest.raises(CorpusError, match=message):
            encoded(text, name, labels="class")

    def test_a_record_without_end(self, encoded: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("embedcli.text.records.LONGEST_RECORD", 1000)
        long = "b" * (1 << 19)
        for name, text in (
            ("t.csv", 'text\n"' + "a\n" * 600 + long),
            ("t.csv", "text\n" + long),
            ("t.jsonl", '{"text": "' + long),
        ):
            with pytest.raises(CorpusError, match=r"field larger|a line of over"):
                encoded(text, name)

    def test_a_long_record_of_many_blocks(
        self, encoded: Encode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(corpus, "BLOCK", 64)
        found = encoded("text,label\n" + "a b " * 100 + ",x\nc,y\n", "t.csv", labels="class")
        assert np.diff(found.offsets).tolist() == [200, 1]
        assert isinstance(found.targets, ClassTargets)
        assert found.targets.ids.tolist() == [0, 1]


@pytest.mark.parametrize("workers", [1, 2])
def test_words_that_are_too_long_are_counted(
    encoded: Encode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(corpus, "BLOCK", 1 << 14)
    line = f"a {'x' * 1001} b-{'é' * 1001}='{'y' * 1000}' {'字' * 1001}\n"
    found = encoded(line * 20, workers=workers)
    assert found.too_long == 40
    assert list(found.vocabulary) == ["a", "b", "y" * 1000, "字"]
    coverage = Coverage()
    assert sum(
        len(tokens) for tokens, _ in token_lines([tmp_path / "text"], TextSettings(), coverage)
    ) == len(found.ids)
    assert coverage.too_long == 40


class TestWorkers:
    TEXT = "".join(f"__label__{n % 7} word{n * n % 97} ça l'eau 字{n} other\n" for n in range(400))

    @pytest.fixture(autouse=True)
    def small_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(corpus, "BLOCK", 256)

    @pytest.mark.parametrize("size", [2, 3, 8])
    def test_any_number_gives_the_same(self, encoded: Encode, size: int) -> None:
        one, many = (encoded(self.TEXT, labels="class", workers=n) for n in (1, size))
        np.testing.assert_array_equal(one.ids, many.ids)
        np.testing.assert_array_equal(one.offsets, many.offsets)
        np.testing.assert_array_equal(one.first_lines, many.first_lines)
        assert one.vocabulary == many.vocabulary
        assert isinstance(one.targets, ClassTargets)
        assert isinstance(many.targets, ClassTargets)
        assert one.targets.names == many.targets.names
        np.testing.assert_array_equal(one.targets.ids, many.targets.ids)

    @pytest.mark.parametrize("given", [False, True])
    def test_what_is_forgotten_is_met_again(
        self, encoded: Encode, monkeypatch: pytest.MonkeyPatch, given: bool
    ) -> None:
        given_words = Vocabulary(["l'", "word9", "字", "none"]) if given else None
        kept = encoded(self.TEXT, workers=1, vocabulary=given_words)
        monkeypatch.setattr(blocks, "_MOST_REMEMBERED", 300)
        forgotten = encoded(self.TEXT, workers=2, vocabulary=given_words)
        np.testing.assert_array_equal(kept.ids, forgotten.ids)
        np.testing.assert_array_equal(kept.offsets, forgotten.offsets)
        np.testing.assert_array_equal(kept.first_lines, forgotten.first_lines)
        np.testing.assert_array_equal(kept.vocabulary.counts, forgotten.vocabulary.counts)  # type: ignore[arg-type]
        assert kept.vocabulary == forgotten.vocabulary

    def test_freed_memory_is_given_back_now_and_then(
        self, encoded: Encode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given_back: list[int] = []
        monkeypatch.setattr(blocks, "trim_heap", lambda: given_back.append(1))
        encoded("letters\n" * 32 * 70, workers=1)  # 70 blocks
        assert len(given_back) == 70 // 32

    def test_all_are_busy(self, encoded: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = BlockEncoder.encode
        seen = set()

        def telling(self: BlockEncoder, block: corpus.Block) -> Any:
            found = plain(self, block)
            found.labels.append(str(os.getpid()))
            return found

        def noting(*arguments: Any) -> Any:
            for block, found, worker in encode_blocks(*arguments):
                seen.add(found.labels.pop())
                yield block, found, worker

        encode_blocks = blocks.encode_blocks
        monkeypatch.setattr(BlockEncoder, "encode", telling)
        monkeypatch.setattr("embedcli.text.encode.encode_blocks", noting)
        encoded(self.TEXT, workers=3)
        assert len(seen) == 3
        assert str(os.getpid()) not in seen

    def test_the_first_error_in_the_text_is_told(self, encoded: Encode) -> None:
        data = self.TEXT.encode().replace(b"word9\n", b"w")
        lines_ = data.split(b"\n")
        lines_[150] = b"a\xff"
        lines_[300] = b"\xfe"
        with pytest.raises(CorpusError, match="text:151: byte 0xff") as caught:
            encoded(b"\n".join(lines_), workers=2)
        assert caught.value.hint is not None

    def test_results_larger_than_a_slot(
        self, encoded: Encode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(blocks, "_SLOT", 600)
        assert lines(encoded(self.TEXT, workers=2)) == lines(encoded(self.TEXT, workers=1))

    def test_a_worker_that_dies(self, encoded: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            BlockEncoder, "encode", lambda self, block: os.kill(os.getpid(), signal.SIGKILL)
        )
        with pytest.raises(WorkerError, match=r"worker \d died \(signal 9\)"):
            encoded(self.TEXT, workers=2)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    def test_a_bug_in_a_worker_keeps_its_traceback(
        self, encoded: Encode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(BlockEncoder, "encode", lambda self, block: 1 / 0)
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            encoded(self.TEXT, workers=2)

    def test_none_outlives_a_killed_parent(self, tmp_path: Path) -> None:
        (tmp_path / "text").write_text(self.TEXT)
        program = (
            "import os, sys, time\n"
            "from pathlib import Path\n"
            "from embedcli.config import TextSettings\n"
            "from embedcli import parallel\n"
            "from embedcli.text import corpus, encode\n"
            "corpus.BLOCK = 256\n"
            "def told(self, member):\n"
            "    print(*self._pids, flush=True)\n"
            "    time.sleep(60)\n"
            "parallel.Team.wait = told\n"
            "settings = TextSettings(workers=3, cache=False)\n"
            "encode.encode([sys.argv[1] + '/text'], settings, folder=Path(sys.argv[1]))\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as parent:
            assert parent.stdout is not None
            workers = [int(pid) for pid in parent.stdout.readline().split()]
            assert len(workers) == 3
            parent.kill()
        until = time.monotonic() + 20
        while any(_is_running(pid) for pid in workers) and time.monotonic() < until:
            os.sched_yield()
        assert not any(_is_running(pid) for pid in workers)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_no_room_for_the_ids(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a b")
    with pytest.raises(StoreError):
        encode([tmp_path / "text"], TextSettings(cache=False), folder=tmp_path / "none")
