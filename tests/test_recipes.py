"""docs/recipes.md and docs/tour.ipynb: their code runs, and gives what it says."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedcli
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary

DOCS = Path(__file__).parent.parent / "docs"
SECTION = re.compile(r"^## (.+)\n((?:(?!^## ).*\n)*)", re.MULTILINE)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGE = (DOCS / "recipes.md").read_text(encoding="utf-8")
BLOCKS = {name: BLOCK.findall(text) for name, text in SECTION.findall(PAGE)}
WORDS = ["king", "queen", "dog", "cat", "the", "and", "a"]
NEEDS = "needs pip install 'embedcli[peers]'"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddingTable:
    """Save a small model as `embeddings` in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    rows = np.random.default_rng(1).normal(size=(len(WORDS), 8)).astype(np.float32)
    rows[1], rows[3] = rows[0] + 0.1, rows[2] + 0.1
    made = EmbeddingTable(Vocabulary(WORDS, np.arange(7, 0, -1)), rows)
    embedcli.convert(made, "embeddings", "model")
    return embedcli.load("embeddings")


def run(name: str) -> dict[str, Any]:
    """Run the blocks of a section in turn; returns the names of its Python."""
    names: dict[str, Any] = {}
    for language, code in BLOCKS[name]:
        if language == "sh":
            subprocess.run(["sh", "-euc", code], check=True)
        elif language == "python":
            exec(compile(code, f"recipes.md, {name}", "exec"), names)
    return names


# A warning of a peer is none of ours.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_first_lines_of_the_page(table: EmbeddingTable) -> None:
    exec(BLOCK.findall(PAGE)[0][1], names := {})
    assert names["table"].vectors.shape == (7, 8)


def test_gensim(table: EmbeddingTable) -> None:
    pytest.importorskip("gensim", reason=NEEDS)
    names = run("gensim")
    assert names["keyed"].most_similar("king", topn=1)[0][0] == "queen"
    copy = embedcli.load("copy")
    assert copy.vectors.tolist() == table.vectors.tolist()


def test_spacy(table: EmbeddingTable) -> None:
    pytest.importorskip("spacy", reason=NEEDS)
    nlp = run("spaCy")["nlp"]
    np.testing.assert_allclose(nlp("king").vector, table["king"], rtol=1e-5)


def test_pytorch(table: EmbeddingTable) -> None:
    pytest.importorskip("torch", reason=NEEDS)
    names = run("PyTorch")
    found = names["layer"](names["torch"].tensor([1])).detach().numpy()[0]
    assert found.tolist() == table["queen"].tolist()


def test_keras(table: EmbeddingTable) -> None:
    pytest.importorskip("keras", reason=NEEDS)
    pytest.importorskip("torch", reason=NEEDS)
    names = run("Keras")
    found = names["keras"].ops.convert_to_numpy(names["layer"](np.array([1])))[0]
    assert found.tolist() == table["queen"].tolist()


def test_sqlite_vec(table: EmbeddingTable) -> None:
    pytest.importorskip("sqlite_vec", reason=NEEDS)
    import sqlite3

    if not hasattr(sqlite3.connect(":memory:"), "enable_load_extension"):
        pytest.skip("this Python's sqlite3 loads no extensions")
    names = run("sqlite-vec")
    names["database"].close()
    assert [word for (word,) in names["nearest"]][:2] == ["king", "queen"]


def test_duckdb(table: EmbeddingTable) -> None:
    pytest.importorskip("duckdb", reason=NEEDS)
    pytest.importorskip("pyarrow", reason="needs pip install 'embedcli[arrow]'")
    assert [word for (word,) in run("DuckDB")["nearest"]][:2] == ["king", "queen"]


def corpus() -> None:
    Path("corpus.txt").write_text("the king and the queen\na dog and a cat\n" * 20)
    Path("pairs.txt").write_text("king\tqueen\t9\nking\tdog\t2\ndog\tcat\t8\n")
    shutil.rmtree("embeddings")


def test_dvc(table: EmbeddingTable) -> None:
    if shutil.which("dvc") is None:
        pytest.skip("needs dvc")
    corpus()
    Path("dvc.yaml").write_text(BLOCKS["DVC"][0][1])
    subprocess.run(["dvc", "init", "--no-scm", "--quiet"], check=True)
    subprocess.run(["dvc", "repro", "--quiet"], check=True)
    assert json.loads(Path("metrics.json").read_bytes())[0]["used"] == 3
    Path("pairs.txt").write_text("broken\n")
    assert subprocess.run(["dvc", "repro", "--quiet"], check=False).returncode != 0


def test_snakemake(table: EmbeddingTable) -> None:
    if shutil.which("snakemake") is None:
        pytest.skip("needs snakemake")
    corpus()
    Path("Snakefile").write_text(BLOCKS["Snakemake"][0][1])
    subprocess.run(["snakemake", "--cores", "1", "--quiet", "all"], check=True)
    assert json.loads(Path("metrics.json").read_bytes())[0]["used"] == 3


def test_what_pipelines_run_says_what_they_need(table: EmbeddingTable) -> None:
    """The commands of the pipelines, without their tools: exit codes, and metrics on stdout."""
    corpus()
    commands = re.findall(r"cmd: (.*)", BLOCKS["DVC"][0][1])
    for command in commands:
        done = subprocess.run(
            ["sh", "-euc", command.replace("embed ", f"'{sys.executable}' -m embedcli ", 1)],
            check=True,
            capture_output=True,
        )
        assert b"error" not in done.stderr
    assert json.loads(Path("metrics.json").read_bytes())[0]["used"] == 3
    failed = subprocess.run(
        [sys.executable, "-m", "embedcli", "info", "--model", "no"], check=False
    )
    assert failed.returncode == 1


def test_the_cells_of_the_notebook_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads((DOCS / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    pictures = 0
    for cell in cells:
        if cell["cell_type"] == "code":
            *lines, last = cell["source"].split("\n")
            exec("\n".join(lines), names)
            shown = eval(last, names)
            for method in ("_repr_svg_", "_repr_html_"):
                if hasattr(shown, method):
                    pictures += getattr(shown, method)().count("<svg")
    assert pictures >= 2


def test_the_notebook_runs_in_jupyter(tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason=NEEDS)
    pytest.importorskip("ipykernel", reason=NEEDS)
    nbformat = importlib.import_module("nbformat")
    notebook = nbformat.read(DOCS / "tour.ipynb", 4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=120, resources=resources).execute()
    kinds = {
        kind
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    }
    assert {"image/svg+xml", "text/html"} <= kinds


def test_scikit_learn(table: EmbeddingTable) -> None:
    sklearn = pytest.importorskip("sklearn", reason=NEEDS)
    names = run("scikit-learn")
    assert names["pipeline"].predict(["the king", "the dog"]).tolist() == ["people", "animals"]
    from embedcli.sklearn import Vectorizer

    texts = ["The King and a queen", "unknown", "", "the\ncat"]
    Path("texts.txt").write_text("The King and a queen\nunknown\n\nthe cat\n")
    made = Vectorizer("embeddings")
    expected = np.stack(list(embedcli.vectors("texts.txt").lines))
    np.testing.assert_array_equal(made.fit_transform(texts), expected)
    assert made.get_feature_names_out().tolist() == [f"embed{n}" for n in range(8)]
    # Parameters: get, set, clone.
    assert set(made.get_params()) == {"model", "sif"}
    copy = sklearn.base.clone(made.set_params(sif=0.01))
    assert copy.sif == 0.01
    assert not hasattr(copy, "vectors_")
    # What is pickled is arrays and plain data, and needs the model no more.
    shutil.rmtree("embeddings")
    for model in (made, Vectorizer(table).fit()):
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.transform(texts), model.transform(texts))
        state = again.__getstate__()
        plain = (type(None), str, bytes, float, int, dict, np.ndarray)
        assert all(isinstance(value, plain) for value in state.values())
    with pytest.raises(sklearn.exceptions.NotFittedError):
        Vectorizer().transform(texts)
