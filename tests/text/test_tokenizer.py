"""What a word is, in several scripts, and that the fast way agrees with the pattern."""

import pickle
import sys
import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from embedcli.config import TextSettings
from embedcli.errors import ConfigError
from embedcli.text import tokenizer as module
from embedcli.text.tokenizer import LONGEST, Tokenizer

WORD = Tokenizer(TextSettings())

CASES = [
    ("Hope to see you soon", ["hope", "to", "see", "you", "soon"]),
    ("Don't 'quote' me, o’clock", ["don't", "quote", "me", "o'clock"]),
    (
        "l'eau qu’il d'Artagnan aujourd'hui",
        ["l'", "eau", "qu'", "il", "d'", "artagnan", "aujourd'hui"],
    ),
    ("İstanbul'da ILIK ağaç", ["istanbul'da", "ilik", "ağaç"]),
    ("1,000.50 at 12:30, a,b c:d", ["1,000.50", "at", "12:30", "a", "b", "c", "d"]),
    ("U.S. e.g. example.org wait...what", ["u.s", "e.g", "example.org", "wait", "what"]),
    ("new_york __init__ _ a__b", ["new_york", "init", "a", "b"]),
    ("well-known co\u00adoperate", ["well", "known", "cooperate"]),
    ("हिन्दी की उम्मीद।", ["हिन्दी", "की", "उम्मीद"]),
    ("مُحَمَّد می\u200cخواهم", ["مُحَمَّد", "می\u200cخواهم"]),
    ("ന്\u200d \u200dabc\u200c \u200c", ["ന്\u200d", "abc"]),
    ("한국어'가 '인용'이라는", ["한국어", "가", "인용", "이라는"]),
    ("我喜欢Python3语言", ["我", "喜", "欢", "python3", "语", "言"]),
    ("東京タワーabc", ["東", "京", "タ", "ワ", "ー", "abc"]),
    ("น้ำใส ๒๕๖๐", ["น้ำ", "ใ", "ส", "๒๕๖๐"]),
    ("ကျွန်တော်", ["ကျွ", "န်", "တော်"]),
    ("ΟΔΟΣ Straße", ["οδος", "straße"]),
    ("— … !? ' . \u0301", []),
    ("cel·la N·m 5·3 a·5 ·a b·", ["cel·la", "n·m", "5", "3", "a", "5", "a", "b"]),
    ("한국·일본", ["한국", "일본"]),
    ("צה״ל צ׳יפס ר״", ["צה״ל", "צ׳יפס", "ר"]),
    ('צה"ל "אבא" é"ö a"b', ["צה״ל", "אבא", "é", "ö", "a", "b"]),
    ("o‘zbek oʻzbek ‘quote’", ["o'zbek", "oʻzbek", "quote"]),
    ("١٢٣٫٤٥ ١٬٠٠٠ ١،٢ a،b", ["١٢٣٫٤٥", "١٬٠٠٠", "١،٢", "a", "b"]),
    ("１２，３４５．６７ ａ，ｂ １：３", ["１２，３４５．６７", "ａ", "ｂ", "１：３"]),
    ("ինչո՞ւ այո՛ Ո՞վ", ["ինչո՞ւ", "այո", "ո՞վ"]),
    ("a‿b 1⁄2 a⁄b", ["a‿b", "1⁄2", "a", "b"]),
    ("good😀😀 👍🏽a", ["good", "😀", "😀", "👍🏽", "a"]),
    ("👨‍👩‍👧👩🏽‍💻 🇩🇪🇫🇷 🏴󠁧󠁢󠁥󠁮󠁧󠁿 1️⃣", ["👨‍👩‍👧", "👩🏽‍💻", "🇩🇪", "🇫🇷", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "1️⃣"]),
    ("❤ ❤️ ❤︎ ▶️ ©️ ⌚ © ™ → ▶ ½", ["❤", "❤", "❤", "▶", "©", "⌚", "½"]),
    ("#NLP @ada_l c# a@b.org", ["nlp", "ada_l", "c", "a", "b.org"]),
    ("a=\u0338b", ["a", "b"]),
    ("a\0b\x0cc\u2028d\u0085e\rf", ["a", "b", "c", "d", "e", "f"]),
]


@pytest.mark.parametrize(("text", "tokens"), CASES)
def test_words(text: str, tokens: list[str]) -> None:
    assert WORD.tokenize(text) == tokens


@pytest.mark.parametrize("word", ["क़लम", "ज़मीन", "é", "Å", "각", "ệ"])
def test_spellings_of_one_word_are_one_token(word: str) -> None:
    forms = {tuple(WORD.tokenize(unicodedata.normalize(form, word))) for form in ("NFC", "NFD")}
    assert len(forms) == 1
    assert len(forms.pop()) == 1


def test_switches() -> None:
    apart = Tokenizer(TextSettings(normalize=False, fold_case=False))
    assert apart.tokenize("Cafe\u0301 Café it’s") == ["Cafe\u0301", "Café", "it’s"]
    blanks = Tokenizer(TextSettings(tokenizer="whitespace"))
    assert blanks.tokenize("It’s, a\u00a0b\u2003c\x1cd.\0") == ["it’s,", "a", "b", "c", "d.\0"]


def test_clusters() -> None:
    clusters = Tokenizer(TextSettings(tokenizer="char"))
    assert clusters.tokenize("नमस्ते Ab\0 👨‍👩‍👧\r é") == [
        "न", "म", "स्ते", "a", "b", "👨‍👩‍👧", "é",
    ]  # fmt: skip


def test_endless_words_are_left_out() -> None:
    text = f"a {'x' * LONGEST} b {'y' * (LONGEST + 1)} {'é' * 5000} c"
    assert WORD.tokenize(text) == [
        "a", "x" * LONGEST, "b", "c",
    ]  # fmt: skip


@given(
    st.text(
        st.characters(exclude_categories=["Cs"])
        | st.sampled_from("aZéक़्ลˆ' ’‘.,:_-1٣·\"אב״٫՞ե❤👍🏽🇩🇪\ufe0f\u200d"),
        max_size=60,
    )
)
def test_the_fast_way_agrees_with_the_pattern(text: str) -> None:
    line = WORD._composed(text)
    pattern = regex.compile(f"{module._WORD}|{module._SPACELESS_CLUSTER}|{module._EMOJI}", regex.V1)
    expected = [WORD._finished(match[0]) for match in pattern.finditer(line)]
    assert WORD.tokenize(text) == expected


def test_latin_words_are_those_of_the_pattern_of_all_scripts() -> None:
    pattern = regex.compile(module._WORD, regex.V1)
    characters = [chr(code) for code in (*range(0x300), *range(0x2010, 0x2070))]
    texts = [
        "a{0}b",
        "1{0}2",
        "a{0}1",
        "1{0}a",
        "é{0}ö",
        "{0}'a",
        "d.{0}'a",
        "a{0}'b",
        "a{0}l'b",
        "1,{0}:2",
        "{0}_{0}",
    ]
    assert module._LATIN.fullmatch("".join(characters))
    for each in characters:
        for text in (text.format(each) for text in texts):
            assert module._LATIN_WORD.findall(text) == pattern.findall(text)


@given(st.text(max_size=60), st.sampled_from(["word", "whitespace", "char"]))
def test_tokens_fit_a_vocabulary_and_stay_when_read_again(text: str, kind: str) -> None:
    tokenizer = Tokenizer(TextSettings(tokenizer=kind))
    tokens = tokenizer.tokenize(text)
    assert all(token and not regex.search(r"\s", token) for token in tokens)
    assert all(unicodedata.is_normalized("NFC", token) for token in tokens)
    if kind == "whitespace":
        assert tokenizer.tokenize(" ".join(tokens)) == tokens


def test_pickles() -> None:
    copy = pickle.loads(pickle.dumps(WORD))
    assert copy.tokenize("l'eau") == ["l'", "eau"]


def test_segmenters() -> None:
    with pytest.raises(ConfigError, match="expected one of icu"):
        Tokenizer(TextSettings(segmenter="none"))


def test_a_segmenter_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "icu4py.breakers", None)
    with pytest.raises(ConfigError) as caught:
        Tokenizer(TextSettings(segmenter="icu"))
    assert caught.value.hint == "pip install 'embedcli[icu]'"


def test_words_of_scripts_without_spaces() -> None:
    pytest.importorskip("icu4py")
    icu = Tokenizer(TextSettings(segmenter="icu"))
    assert icu.tokenize("我喜欢音乐, สวัสดีครับ and more") == [
        "我", "喜欢", "音乐", "สวัสดี", "ครับ", "and", "more",
    ]  # fmt: skip
