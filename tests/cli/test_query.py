from __future__ import annotations

import contextlib
import json
import math
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import embedcli
from embedcli.config import TrainSettings
from embedcli.model import Model, save_model
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary

# Man and king lie apart as woman and queen do; a river lies elsewhere.
PLACES = {
    "man": (1, 0, 0),
    "woman": (1, 1, 0),
    "king": (1, 0, 1),
    "queen": (1, 1, 1),
    "prince": (1, 0.1, 0.9),
    "river": (-1, 0.2, -0.3),
}


@pytest.fixture
def royals(tmp_path):
    vectors = np.array(list(PLACES.values()), np.float32)
    ones = np.ones(len(vectors), np.int64)
    table = EmbeddingTable(Vocabulary(PLACES, ones), vectors)
    settings = TrainSettings(dim=3)
    save_model(
        tmp_path / "embeddings",
        Model(table=table, settings=settings, trained=ones, first_lines=ones),
    )
    return table


def cosine(one: str, two: str) -> float:
    a, b = np.array(PLACES[one]), np.array(PLACES[two])
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def test_neighbors(embed, royals):
    found = embed("neighbors", "king", "-k", "2")
    assert found.out == "king\n   0.9959  prince\n   0.8165  queen\n"
    answer = json.loads(embed("neighbors", "king", "--format", "json").out)
    assert answer[0]["token"] == "king"
    assert [n["token"] for n in answer[0]["neighbors"]][:2] == ["prince", "queen"]
    assert len(answer[0]["neighbors"]) == 5
    assert answer[0]["neighbors"][1]["score"] == pytest.approx(cosine("king", "queen"), abs=1e-5)


def test_neighbors_by_other_metrics_and_without_some_words(embed, royals):
    by_distance = embed("neighbors", "king", "-k", "1", "--metric", "euclidean", "--format", "tsv")
    assert by_distance.out == f"king\tprince\t{-math.sqrt(0.02):.6g}\n"
    by_product = embed("neighbors", "king", "-k", "1", "--metric", "dot", "--format", "tsv")
    assert by_product.out == "king\tqueen\t2\n"
    without = embed("neighbors", "king", "-k", "1", "--exclude", "prince", "--format", "tsv")
    assert without.out.startswith("king\tqueen\t")


def test_questions_from_stdin(embed, royals, stdin):
    stdin("king\nzzzz\nman\n")
    found = embed("neighbors", "-k", "1", "--oov", "skip", "--format", "tsv")
    assert [line.split("\t")[0] for line in found.out.splitlines()] == ["king", "man"]
    assert found.err == "2 found, 1 not in the vocabulary\n"
    stdin("man king woman\n")
    assert embed("analogy", "-k", "1", "--format", "tsv").out.startswith("man\tking\twoman\tqueen")
    stdin("king\tqueen\n")
    assert embed("similarity", "--format", "tsv").out.startswith("king\tqueen\t0.816")
    stdin("man woman river\n")
    assert json.loads(embed("odd", "--format", "json").out)[0]["odd"] == "river"


def test_an_unknown_word_is_an_error(embed, royals):
    found = embed("neighbors", "kin")
    assert (found.code, found.out) == (1, "")
    assert "king" in found.err


def answers(found):
    return [json.loads(line.rstrip(",")) for line in found.out.splitlines()[1:-1]]


def test_zeros_for_unknown_words_keep_every_question(embed, royals, stdin):
    zero = ("--oov", "zero", "--format", "json")
    stdin("king\nzzzz\nman\n")
    found = embed("neighbors", *zero)
    assert [answer["token"] for answer in answers(found)] == ["king", "zzzz", "man"]
    assert [len(answer["neighbors"]) for answer in answers(found)] == [5, 0, 5]
    assert found.err == "2 found, 1 not in the vocabulary\n"
    found = embed("analogy", "man", "zzzz", "woman", "man", "king", "woman", *zero)
    assert [len(answer["neighbors"]) for answer in answers(found)] == [0, 3]
    assert found.err == "5 found, 1 not in the vocabulary\n"
    found = embed("similarity", "king", "zzzz", "king", "man", *zero)
    assert [answer["score"] for answer in answers(found)] == [0, pytest.approx(math.sqrt(0.5))]
    found = embed("odd", "king", "queen", "zzzz", *zero)
    assert answers(found)[0]["odd"] == "zzzz"
    assert answers(found)[0]["fits"][0]["score"] == 0


@pytest.mark.parametrize(
    "command", ["neighbors zzzz", "analogy man king zzzz", "similarity king zzzz", "odd king zzzz"]
)
def test_a_question_with_an_unknown_word_is_an_error_or_left_out(embed, royals, command):
    found = embed(*command.split())
    assert (found.code, found.out) == (1, "")
    assert "'zzzz' is not in the vocabulary" in found.err
    found = embed(*command.split(), "--oov", "skip", "--format", "json")
    assert (found.code, found.out) == (0, "[]\n")
    assert found.err.endswith("found, 1 not in the vocabulary\n")
    assert embed(*command.split(), "--oov", "skip", "--quiet").err == ""


def test_what_was_found_is_said_of_several_questions(embed, royals):
    assert embed("analogy", "man", "king", "woman").err == ""
    found = embed("neighbors", "king", "man")
    assert found.err == "2 found, 0 not in the vocabulary\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("odd king", "found 1 word; expected 2 for each question"),
        ("similarity king", "found 1 word; expected 2 for each question"),
        ("analogy king man queen woman", "found 4 words; expected 3 for each question"),
    ],
)
def test_too_few_words_or_too_many(embed, royals, stdin, command, said):
    found = embed(*command.split())
    assert (found.code, found.out) == (2, "")
    assert said in found.err


@pytest.mark.parametrize("command", ["odd", "similarity", "analogy"])
def test_a_line_of_too_few_words(embed, royals, stdin, command):
    stdin("king\n")
    found = embed(command)
    assert (found.code, found.out) == (2, "")
    assert "found 'king'; expected " in found.err


def test_words_to_leave_out_are_treated_alike(embed, royals):
    argv = ["neighbors", "king", "-k", "1", "--exclude", "zzzz", "--format", "tsv"]
    assert "'zzzz' is not in the vocabulary" in embed(*argv).err
    for oov in ("skip", "zero"):
        assert embed(*argv, "--oov", oov).out.startswith("king\tprince\t")


class Terminal:
    """A command that has a terminal: what it says there is read up to what is waited for."""

    def __init__(self, *argv: str, stdout: object = None) -> None:
        self.ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "embedcli", *argv],
            stdin=theirs,
            stdout=theirs if stdout is None else stdout,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "INPUTRC": "/dev/null"},
            start_new_session=True,
        )
        os.close(theirs)

    def read_up_to(self, end: str) -> str:
        said = b""
        while not said.decode("utf-8", "ignore").endswith(end):
            said += os.read(self.ours, 1)
        return said.decode("utf-8")

    def type(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def end(self) -> int:
        with contextlib.suppress(OSError):  # that is how a terminal ends
            while os.read(self.ours, 4096):
                pass
        os.close(self.ours)
        return self.process.wait(timeout=60)


@pytest.fixture
def where_embed_is(royals, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(embedcli.__file__).parent.parent))


def test_a_prompt_with_history_that_ends_at_eof(where_embed_is):
    terminal = Terminal("neighbors", "-k", "1")
    terminal.read_up_to("word> ")
    terminal.type("king\n")
    assert "0.9959  prince" in terminal.read_up_to("word> ")
    terminal.type("kingg\n")
    assert "'kingg' is not in the vocabulary; did you mean king" in terminal.read_up_to("word> ")
    terminal.type("\x1b[A\x1b[A\n")  # twice the arrow up
    assert "0.9959  prince" in terminal.read_up_to("word> ")
    terminal.type("\n\x04")
    assert terminal.end() == 0


@pytest.mark.parametrize(
    ("command", "prompt", "question", "answer"),
    [
        ("similarity", "A B> ", "king queen", "0.816497"),
        ("analogy", "A B C> ", "man king woman", "queen"),
        ("odd", "words> ", "man woman river", "river"),
    ],
)
def test_prompts_for_several_words(where_embed_is, command, prompt, question, answer):
    terminal = Terminal(command)
    terminal.read_up_to(prompt)
    if command != "odd":
        terminal.type("king\n")
        assert "found 'king'; expected" in terminal.read_up_to(prompt)
    terminal.type(f"{question}\n")
    assert answer in terminal.read_up_to(prompt)
    terminal.type("\x04")
    assert terminal.end() == 0


def test_answers_that_go_to_a_file_hold_no_prompt(where_embed_is, tmp_path):
    with (tmp_path / "answers").open("wb") as file:
        terminal = Terminal("neighbors", "-k", "1", "--format", "json", stdout=file)
        terminal.read_up_to("word> ")
        terminal.type("king\n")
        terminal.read_up_to("word> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    (answer,) = json.loads((tmp_path / "answers").read_text())
    assert answer["neighbors"][0]["token"] == "prince"


@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
def test_analogy(embed, royals, method):
    found = embed("analogy", "man", "king", "woman", "--method", method, "--format", "json")
    answer = json.loads(found.out)[0]
    assert answer["tokens"] == ["man", "king", "woman"]
    assert answer["neighbors"][0]["token"] == "queen"
    assert embed("analogy", "man", "king").code == 2


def test_similarity(embed, royals):
    found = embed("similarity", "king", "queen", "king", "river", "--format", "json")
    assert json.loads(found.out) == [
        {"tokens": ["king", "queen"], "score": pytest.approx(cosine("king", "queen"), abs=1e-6)},
        {"tokens": ["king", "river"], "score": pytest.approx(cosine("king", "river"), abs=1e-6)},
    ]


def test_odd(embed, royals):
    found = embed("odd", "king", "queen", "river", "man")
    assert found.out.splitlines()[1].endswith("  river")
    answer = json.loads(embed("odd", "king", "queen", "river", "--format", "json").out)[0]
    assert answer["odd"] == "river"
    assert {fit["token"] for fit in answer["fits"]} == {"king", "queen", "river"}
    assert answer["fits"][0]["score"] < answer["fits"][1]["score"]


def test_lines_of_blanks_ask_nothing(embed, royals, stdin):
    stdin("\x0c\nking queen river\n \t \n")
    found = embed("odd", "--format", "json")
    assert [answer["odd"] for answer in json.loads(found.out)] == ["river"]


def test_json_of_no_question(embed, royals, stdin):
    stdin("")
    assert embed("neighbors", "--format", "json").out == "[]\n"


def test_neighbors_of_sums(embed, royals):
    found = embed("neighbors", "king", "--plus", "woman", "--minus", "man", "-k", "1")
    assert found.out.startswith("king + woman - man\n") and "queen" in found.out
    alone = embed("neighbors", "--plus", "king", "--minus", "man", "-k", "1", "--format", "tsv")
    assert alone.out.startswith("king - man\t") and alone.err == ""
    assert embed("neighbors", "king", "--plus", "kong").code == 1


def test_neighbors_of_a_vector(embed, royals, tmp_path):
    embed("lookup", "king")
    (tmp_path / "v.txt").write_text("mine 1 0 1\n")
    assert embed("neighbors", "--vector", "v.txt", "-k", "1").out == "mine\n   1.0000  king\n"
    for more in (("king",), ("--plus", "king"), ("-m", "a", "-m", "b")):
        wrong = embed("neighbors", *more, "--vector", "v.txt")
        assert wrong.code == 2 and "--vector" in wrong.err
    (tmp_path / "v.txt").write_text("1 0\n")
    short = embed("neighbors", "--vector", "v.txt")
    assert short.code == 1 and "v.txt:1: found 2 numbers; expected 3" in short.err


def test_neighbors_in_several_models(embed, royals, tmp_path):
    (tmp_path / "other.txt").write_text("king 1 0 1\nqueen 1 1 .9\nriver -1 0 0\nman 1 0 0\n")
    found = embed("neighbors", "king", "-m", "embeddings", "-m", "other.txt", "-k", "2")
    assert found.out.splitlines()[0].startswith("king  (mean and range; in how many of 2 models")
    assert found.out.splitlines()[1].endswith("2/2  queen")
    tsv = embed("neighbors", "king", "-m", "embeddings", "-m", "other.txt", "--format", "tsv")
    assert [len(line.split("\t")) for line in tsv.out.splitlines()] == [7, 7, 7]
    (tmp_path / "models").mkdir()
    (tmp_path / "embeddings").rename(tmp_path / "models/1")
    one = embed("neighbors", "king", "-m", "models", "-k", "1")
    assert "1/1  prince" in one.out
