"""Ids of tokens, by index and by search, and the words spelt most like one."""

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.errors import VocabularyError
from embedcli.text import spelling
from embedcli.text.spelling import _distances, _Spellings
from embedcli.text.vocabulary import Vocabulary

TOKENS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), min_size=1)


@given(st.lists(TOKENS, min_size=1, unique=True))
def test_search_and_index_agree(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_bytes(Vocabulary(words).to_bytes())
    for ids in (range(len(words)), []):
        opened = Vocabulary.open(path)
        assert [opened.id_of(words[place]) for place in ids] == list(ids)
        assert opened.ids_of(words).tolist() == list(range(len(words)))
        assert opened.tokens(slice(None)) == list(opened) == words
    absent = "".join(words) + "x"
    assert absent not in Vocabulary.open(path)
    assert Vocabulary.open(path).get(absent) is None
    assert path.read_bytes().decode().split("\n")[:-1] == words


def test_one_token_is_not_found_inside_another(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(b"kingdom\nking\nking's\n")
    opened = Vocabulary.open(path, np.array([3, 2, 1]))
    present, absent = ("kingdom", "king", "king's"), ("kin", "dom", "", "king\n", "s")
    assert [opened.get(word) for word in present] == [0, 1, 2]
    assert [opened.get(word) for word in absent] == [None] * 5
    assert opened.counts is not None
    assert opened.counts.tolist() == [3, 2, 1]
    assert opened.token(1) == "king"
    with pytest.raises(VocabularyError, match="3 words"):
        opened.token(3)


def test_unknown_words() -> None:
    words = Vocabulary(["king", "queen"])
    with pytest.raises(VocabularyError) as caught:
        words.id_of("kink")
    assert caught.value.hint == "did you mean king, queen?"
    assert words.ids_of(["queen", "x"], unknown=-1).tolist() == [1, -1]
    with pytest.raises(VocabularyError):
        words.ids_of(["queen", "x"])
    assert "\ud800" not in words


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["a", "b", "a"], "line 3: 'a' was line 1 already"),
        (["a", "b\nc"], "line 2: found 'b\\\\nc'"),
        (["a", ""], "line 2: found ''"),
        (["\ud800"], "not text"),
    ],
)
def test_what_a_vocabulary_refuses(tokens: list[str], message: str) -> None:
    with pytest.raises(VocabularyError, match=message):
        Vocabulary(tokens)


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffking\r\nकिताब\n".encode())
    assert list(Vocabulary.read(path)) == ["king", "किताब"]
    path.write_bytes(b"a\n\nb\n")
    with pytest.raises(VocabularyError, match=r"words.txt: line 2"):
        Vocabulary.read(path)
    path.write_bytes(b"a\xff\n")
    with pytest.raises(VocabularyError, match="byte 1 is not UTF-8"):
        Vocabulary.read(path)
    with pytest.raises(VocabularyError, match="expected a vocabulary"):
        Vocabulary.read(tmp_path / "none.txt")
    with pytest.raises(VocabularyError, match="expected a vocabulary"):
        Vocabulary.open(tmp_path / "none.txt")


def test_an_empty_file_is_an_empty_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.touch()
    opened = Vocabulary.open(path)
    assert (len(opened), "a" in opened, opened.suggest("a")) == (0, False, [])


def test_suggestions_are_near_and_frequent() -> None:
    words = ["the", "teh", "theme", "then", "हिन्दी", "नदी"]
    vocabulary = Vocabulary(words, np.array([9, 1, 1, 5, 1, 1]))
    assert vocabulary.suggest("thn") == ["the", "then", "teh"]
    assert vocabulary.suggest("हिन्दि", 1) == ["हिन्दी"]
    assert set(vocabulary.suggest("h", 99)) == {"the", "teh", "theme", "then"}
    for unlike in ("zzzz", "घर", "\ud800", ""):
        assert vocabulary.suggest(unlike) == []


def test_suggestions_without_counts() -> None:
    assert Vocabulary(["abc", "abd", "xyz"]).suggest("abe", 2) == ["abc", "abd"]


@given(
    st.text("aéन", max_size=5),
    st.lists(st.text("abéनद", min_size=1, max_size=6), min_size=1, max_size=20, unique=True),
    st.integers(1, 5),
    st.booleans(),
)
def test_suggestions_do_not_depend_on_the_blocks(
    query: str, words: list[str], at_once: int, counted: bool
) -> None:
    vocabulary = Vocabulary(words, np.arange(len(words)) % 3 if counted else None)
    with mock.patch.object(spelling, "_WORDS_AT_ONCE", at_once):
        found = vocabulary.suggest(query)
    assert found == vocabulary.suggest(query)
    nearest = sorted(_alignment(query, word) for word in words if set(query) & set(word))[:3]
    assert [_alignment(query, word) for word in found] == nearest


def _alignment(a: str, b: str) -> int:
    """Optimal string alignment, cell by cell."""
    cells = {(i, 0): i for i in range(len(a) + 1)} | {(0, j): j for j in range(len(b) + 1)}
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            best = min(
                cells[i - 1, j] + 1,
                cells[i, j - 1] + 1,
                cells[i - 1, j - 1] + (a[i - 1] != b[j - 1]),
            )
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                best = min(best, cells[i - 2, j - 2] + 1)
            cells[i, j] = best
    return cells[len(a), len(b)]


@given(st.text("abc", max_size=8), st.lists(st.text("abc", min_size=1, max_size=8), min_size=1))
def test_distances(query: str, words: list[str]) -> None:
    spelt = _Spellings("".join(f"{word}\n" for word in words).encode())
    found = _distances(np.frombuffer(query.encode("utf-32-le"), np.uint32), spelt)
    assert found.tolist() == [_alignment(query, word) for word in words]


def test_a_vocabulary_of_lines_is_the_same() -> None:
    words = ["hope", "to", "see", "आशा"]
    kept = Vocabulary.of_lines("hope\nto\nsee\nआशा\n".encode(), np.arange(4))
    assert kept.to_bytes() == Vocabulary(words).to_bytes()
    assert [kept.token(place) for place in range(4)] == words
    assert kept.id_of("आशा") == 3
    assert len(kept) == 4
