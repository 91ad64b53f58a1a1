from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from embedcli import api
from embedcli.storage import files
from embedcli.views import terminal

REVIEWS = (
    "__label__good nice to see you again\n__label__bad what a dull film\n"
    "__label__good एक अच्छी फ़िल्म again and again\n__label__<b>&bad dull <script>alert(1)</script>\n"
) * 3
NUMBERS = "__label__1.5 nice to see you again\n__label__-2 what a dull film\n" * 3
HARMFUL = 'see <script>alert(1)</script> & "you" \x1b[31m \u202e अच्छी again'
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    (folder / "reviews.txt").write_text(REVIEWS, encoding="utf-8")
    (folder / "numbers.txt").write_text(NUMBERS, encoding="utf-8")
    common = {"dim": 120, "epochs": 2, "optimizer": "sgd", "lr": 0.5, "tokenizer": "whitespace"}
    api.train(folder / "reviews.txt", folder / "classify", task="classify", **common)
    api.train(folder / "numbers.txt", folder / "regress", task="regress", **common)
    return folder


@pytest.fixture
def explained(embed, folders):
    def run(*argv: str, task: str = "classify") -> str:
        found = embed("explain", *argv, "--model", str(folders / task), "-q")
        assert (found.code, found.err) == (0, "")
        return found.out

    return run


def test_unknown_words_are_left_out_and_counted_or_an_error(embed, folders):
    argv = ["explain", "see you zzz", "--label", "good", "--model", str(folders / "classify")]
    assert embed(*argv).err == "2 found, 1 not in the vocabulary\n"
    found = embed(*argv, "--oov", "error")
    assert (found.code, found.out) == (1, "")
    assert "'zzz' is not in the vocabulary" in found.err
    assert embed(*argv, "--oov", "zero").code == 2


def test_text_fits_the_page_and_says_each_part(explained):
    said = explained("see you again, again zzz", "--label", "good")
    assert all(terminal.width(line) <= 80 for line in said.splitlines())
    headings = re.findall(r"^\d\. (.*)$", said, re.MULTILINE)
    assert headings == [
        "Tokens and their ids",
        "Look-up: the rows of the table",
        "The right answer",
        "Forward, to the loss",
        "Backward: the gradient of each row",
        "One step of the optimizer",
        "What stays",
    ]
    assert "zzz → not in the vocabulary" in said
    assert re.search(r"Rows without a gradient do not change: .* rows of table", said)


def test_a_word_that_comes_twice_shows_its_sum(explained):
    said = explained("again and again", "--label", "good")
    assert "look-up 1" in said and "look-up 2" in said and "again, the sum" in said


def test_numbers_are_shown_in_their_own_units(explained):
    said = explained("see you again", "--label", "7.25", task="regress")
    assert re.search(r"^number 1 .* 7\.25 ", said, re.MULTILINE)


def test_json_has_the_documented_keys(explained):
    record = json.loads(explained("see you again", "--label", "good", "--format", "json"))
    documented = contract("A step")
    assert set(record) == documented["step"]
    assert set(record["tokens"][0]) == documented["tokens"]
    assert set(record["rows"][0]) == documented["rows"]
    assert set(record["examples"][0]) == documented["examples"]
    assert set(record["examples"][0]["candidates"][0]) == documented["candidates"]
    assert set(record["changes"][0]) == documented["changes"]
    told = json.loads(explained("--word", "again", "--format", "json"))
    documented = contract("A word")
    assert set(told) == documented["word"]
    assert set(told["neighbors_now"][0]) == documented["neighbors_now"]


def contract(part: str) -> dict[str, set[str]]:
    """Read the keys that docs/explain.md lists, by the table they stand in."""
    page = (Path(__file__).parents[2] / "docs" / "explain.md").read_text(encoding="utf-8")
    section = page.split(f"## {part}\n")[1].split("\n## ")[0]
    tables: dict[str, set[str]] = {}
    for name, body in re.findall(r"### `(\w+)`.*?\n\n(\|.*?)(?=\n\n|\Z)", section, re.DOTALL):
        tables[name] = set(re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE))
    return tables


def test_the_story_of_a_word(explained):
    said = explained("--word", "Again")
    assert said.startswith("again\n")
    assert "first in line 1. It occurs 9 times" in said
    assert "nearest at first" in said


@pytest.mark.parametrize("task", ["classify", "regress"])
def test_the_picture_is_well_formed_and_harmless(explained, task):
    label = "<b>&bad" if task == "classify" else "1"
    drawn = explained(HARMFUL, "--label", label, "--format", "svg", task=task)
    picture = ElementTree.fromstring(drawn)
    assert picture.tag == f"{SVG}svg"
    assert harmless({each.tag.removeprefix(SVG) for each in picture.iter()})
    (style,) = picture.iter(f"{SVG}style")
    rules = r'(\[(fill|stroke)="#[0-9a-f]{6}"\]\{\2:#[0-9a-f]{6}\})+'
    assert re.fullmatch(rf"@media \(prefers-color-scheme:dark\)\{{{rules}\}}", style.text)
    words = [each.text for each in picture.iter(f"{SVG}text")]
    assert any(word.startswith("“see <script>") for word in words)
    assert not any(character in drawn for character in "\x1b\u202e")
    width = float(picture.get("width"))
    for shape in picture.iter(f"{SVG}rect"):
        assert float(shape.get("x", 0)) + float(shape.get("width")) <= width


def harmless(tags: set[str]) -> bool:
    return tags <= {"svg", "title", "style", "rect", "path", "text"}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[str] = set()
        self.scripts = 0

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)
        self.scripts += tag == "script"
        self.attributes |= {name for name, _ in attrs}


def test_the_page_holds_all_numbers_and_no_script_of_a_text(explained):
    page = explained(HARMFUL, "--label", "<b>&bad", "--format", "html")
    tags = Tags()
    tags.feed(page)
    assert not tags.found & {"link", "img", "iframe", "b", "object", "a"}
    assert tags.scripts == 2  # the numbers, and what draws them
    assert re.search(r"default-src 'none'; style-src 'sha256-\S+'; script-src 'sha256-", page)
    assert not any(name.startswith("on") or name in ("href", "src") for name in tags.attributes)
    assert "अच्छी" in page
    record = json.loads(explained(HARMFUL, "--label", "<b>&bad", "--format", "json"))
    for change in record["changes"]:
        if change["row"] is not None:
            assert f"{change['after'][-1]:.6g}" in page
            assert html.escape(terminal.visible(change["name"])) in page


def test_pictures_of_words(explained):
    for word in ("again", "अच्छी", "<script>alert(1)</script>"):
        picture = ElementTree.fromstring(explained("--word", word, "--format", "svg"))
        assert word in [each.text for each in picture.iter(f"{SVG}text")]
        assert "<script>alert" not in explained("--word", word, "--format", "html")


@pytest.mark.parametrize(
    ("name", "asked", "expected"),
    [
        ("step.svg", None, "svg"),
        ("step.HTML", None, "html"),
        ("step.json", None, "json"),
        ("step.txt", None, "text"),
        ("svg", None, "text"),
        ("step.svg", "json", "json"),
    ],
)
def test_out_names_a_file_and_how_to_show_it(explained, tmp_path, name, asked, expected):
    given = ["--format", asked] if asked else []
    assert explained("see you", "--label", "bad", "--out", name, *given) == ""
    shown = explained("see you", "--label", "bad", "--format", expected)
    assert (tmp_path / name).read_text(encoding="utf-8") == shown


def test_nothing_of_the_model_changes(explained, folders):
    names = sorted(path for path in (folders / "classify").iterdir())
    before = [files.sha256(path) for path in names]
    explained("see you", "--label", "bad")
    explained("--word", "again")
    assert sorted((folders / "classify").iterdir()) == names
    assert [files.sha256(path) for path in names] == before


def test_misuse(embed, folders):
    model = ["--model", str(folders / "classify")]
    assert embed("explain", *model).code == 2
    assert embed("explain", "see", "--word", "see", *model).code == 2
    assert embed("explain", "--word", "see", "--label", "good", *model).code == 2
    unknown = embed("explain", "--word", "agian", *model)
    assert unknown.code == 1 and "did you mean again" in unknown.err
    without = embed("explain", "see you", *model)
    assert without.code == 1 and "the labels are good, bad" in without.err
    assert embed("explain", "see", "--model", "nowhere").code == 1


def test_labels_in_the_text_are_no_words_and_say_what_is_right(explained):
    def step(*argv):
        found = json.loads(explained(*argv, "--format", "json"))
        return {name: value for name, value in found.items() if name != "text"}

    expected = step("nice to see you", "--label", "good")
    assert step("__label__good nice to see you") == expected
    assert step("__label__bad nice to see you", "--label", "good") == expected


@pytest.mark.parametrize("output", ["text", "svg"])
def test_a_negative_sample_drawn_several_times_is_one_cell(embed, tmp_path, output):
    text = tmp_path / "text.txt"
    text.write_text("hope to see you soon\nnice to see you again\n" * 3, encoding="utf-8")
    api.train(text, tmp_path / "words", dim=4, epochs=1, min_count=1, cache=False)
    argv = ["explain", "nice to see you again", "--model", str(tmp_path / "words"), "-q"]
    record = json.loads(embed(*argv, "--format", "json").out)
    drawn = [each for each in record["examples"][0]["candidates"] if each["kind"] == "noise"]
    times = sum(each["name"] == "hope" for each in drawn)
    assert times > 1
    found = embed(*argv, "--format", output)
    assert (found.code, found.err) == (0, "")
    question = found.out.split("Forward, to the loss")[1]
    if output == "text":
        question = question.split("negative samples, 0:")[1].split("(loss")[0]
        loss = sum(each["loss"] for each in drawn)
        assert f"(loss {loss:.4f})" in found.out
    else:
        question = question.split("Backward: the gradient")[0]
        weight = sum(each["weight"] for each in drawn if each["name"] == "hope")
        assert f"hope (drawn {times} times)" in question and f"weight {weight:.4g}" in question
    assert question.count("hope ×") == 1 and f"hope ×{times}" in question


def test_hindi_by_flag_and_by_environment(explained, monkeypatch):
    argv = ("see you again", "--label", "good")
    english, hindi = explained(*argv), explained(*argv, "--lang", "hi")
    assert "सही उत्तर" in hindi and "The right answer" not in hindi
    assert all(terminal.width(line) <= 80 for line in hindi.splitlines())
    loss = re.search(r"Loss (\d\.\d{4})", english)
    assert loss is not None and f"हानि {loss[1]}" in hindi
    assert '<html lang="hi">' in explained(*argv, "--format", "html", "--lang", "hi")
    json_of = explained(*argv, "--format", "json", "--lang", "hi")
    assert json_of == explained(*argv, "--format", "json")
    monkeypatch.setenv("LC_ALL", "hi_IN.UTF-8")
    assert explained(*argv) == hindi
    assert explained(*argv, "--lang", "en") == english
    assert "आरंभिक मान" in explained("--word", "again")


def test_many_look_ups_fold_into_their_sum(explained):
    said = explained("again and again again again", "--label", "good")
    assert "again, the sum of 4" in said and "look-up" not in said.split("5. Backward")[1]
    drawn = explained("again and again again again", "--label", "good", "--format", "svg")
    assert "look-up 1" not in drawn
    assert "look-up 2" in explained("again and again", "--label", "good", "--format", "svg")


def test_a_script_prints_the_loss_that_explain_printed(embed, folders, explained):
    argv = ("see you again", "--label", "good")
    code = explained(*argv, "--as", "numpy")
    done = subprocess.run(
        [sys.executable, "-"], input=code, capture_output=True, text=True, check=True
    )
    loss = re.search(r"^Loss (\d\.\d{4})", explained(*argv), re.MULTILINE)
    assert loss is not None and done.stdout.startswith(f"loss {loss[1]}\n")
    assert explained(*argv, "--as", "numpy", "--out", "step.py") == ""
    assert Path("step.py").read_text(encoding="utf-8") == code
    model = ["--model", str(folders / "classify")]
    for wrong in (["see", "--format", "json"], ["--word", "see"]):
        found = embed("explain", *wrong, "--as", "torch", *model)
        assert found.code == 2 and "--as" in found.err
    assert embed("explain", "see", "--as", "jax", *model).code == 2
