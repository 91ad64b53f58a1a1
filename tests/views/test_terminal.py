from __future__ import annotations

import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.views import terminal

ANY_TEXT = st.text(st.characters(), max_size=40)


@given(ANY_TEXT)
def test_visible_text_holds_nothing_harmful_and_stays_as_it_is(text):
    shown = terminal.visible(text)
    harmful = [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not harmful
    assert not set(shown) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")
    assert terminal.visible(shown) == shown


@pytest.mark.parametrize("word", ["नमस्ते", "क्‍ष", "می‌خواهم", "東京", "naïve", "[bold]", "a b"])
def test_words_of_any_script_are_shown_as_they_are(word):
    assert terminal.visible(word) == word


@given(ANY_TEXT)
def test_json_is_harmless_and_reads_back_to_the_same(text):
    written = terminal.json_text({"token": text})
    assert json.loads(written) == {"token": text}
    assert "\n" not in written
    assert terminal.visible(written) == written


def test_json_has_no_word_for_what_is_not_a_number():
    value = {"a": [float("nan"), 1.5], "b": (float("inf"),)}
    assert terminal.json_text(value) == '{"a": [null, 1.5], "b": [null]}'


@given(ANY_TEXT, st.integers(1, 30), st.booleans())
def test_fitted_text_takes_just_its_columns(text, columns, right):
    assert terminal.width(terminal.fit(terminal.visible(text), columns, right=right)) == columns


@pytest.mark.parametrize("columns, cut", [(2, "… "), (3, "कि…"), (4, "कि… "), (5, "किता…")])
def test_no_vowel_sign_is_cut_off_its_letter(columns, cut):
    assert terminal.fit("किताकि" * 3, columns) == cut


@given(st.lists(ANY_TEXT, min_size=1, max_size=5))
def test_tsv_keeps_its_columns(cells):
    line = terminal.tsv_line(cells)
    assert line.count("\n") == 1
    assert line.count("\t") == len(cells) - 1


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=9))
def test_numbers_read_back_to_the_same_float32(values):
    row = np.array(values, np.float32)
    assert np.array_equal(np.float32(terminal.numbers(row)), row)
