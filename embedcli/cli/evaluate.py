"""Judge a table or a model: `evaluate`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.views import terminal

if TYPE_CHECKING:
    from embedcli.evaluation import Analogies, Classification, Section

MARGIN = 2  # before the lines about a file
LARGEST_MATRIX = 8  # labels of a confusion matrix that is shown; JSON has any


@examples(
    "embed evaluate wordsim353.tsv simlex999.txt",
    "embed evaluate questions-words.txt --model vectors.txt",
    "embed evaluate --task classify test.txt -k 5 --format json",
)
def evaluate(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="What to measure by.")],
    model: flags.Model = flags.EMBEDDINGS,
    task: Annotated[
        Literal["similarity", "analogy", "classify", "regress"] | None,
        flags.one_of(
            "--task",
            "similarity",
            "analogy",
            "classify",
            "regress",
            help="What FILE holds; without, pairs and questions are told apart by their lines.",
        ),
    ] = None,
    k: Annotated[int, flags.number("-k", help="Precision and recall at 1 and at this.")] = 1,
    fold_case: Annotated[
        bool, typer.Option(help="Compare words without case (pairs and questions).")
    ] = True,
    oov: flags.Oov = "skip",
    output: Annotated[
        str, flags.one_of("--format", "table", "json", help="How to print.")
    ] = "table",
    quiet: flags.Quiet = False,
) -> None:
    """Measure a table, or a model by labelled text.

    A table is measured by word pairs or analogies. Pairs: two words and a number a line;
    questions: four words a line, `: NAME` before a section. None come along: WordSim-353,
    SimLex-999 and MEN are such pairs, word2vec's questions-words.txt and the Bigger Analogy Test
    Set such questions; their authors' pages have them. JSON: a list of what was measured, by file.
    """
    from embedcli import api
    from embedcli.text.vocabulary import Coverage

    coverage = Coverage()

    def measured() -> Iterator[tuple[str, Any]]:
        ks = sorted({1, k})
        for name in files:
            found = api.evaluate(name, model, task=task, ks=ks, fold_case=fold_case, oov=oov)
            coverage.add(found.known_words + found.unknown_words, found.unknown_words)
            yield name, found

    if output == "json":
        terminal.write_json({"file": name, **_record(found)} for name, found in measured())
    else:
        for name, found in measured():
            sys.stdout.write(terminal.visible(name) + "\n")
            sys.stdout.writelines(" " * MARGIN + line for line in _lines(found))
    terminal.say_found(coverage, quiet=quiet)


def _record(found: Any) -> dict[str, Any]:
    """Make JSON's types of what was measured."""
    record = {field.name: _plain(getattr(found, field.name)) for field in dataclasses.fields(found)}
    if hasattr(found, "sections"):
        for name in ("semantic", "syntactic", "total"):
            record[name] = _section(getattr(found, name))
    return record


def _plain(value: Any) -> Any:
    if hasattr(value, "accuracy"):
        return _section(value)
    if dataclasses.is_dataclass(value):
        return _record(value)
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def _section(section: Section) -> dict[str, Any]:
    return {**dataclasses.asdict(section), "accuracy": section.accuracy}


def _lines(found: Any) -> Iterator[str]:
    if hasattr(found, "sections"):
        yield from _analogy_lines(found)
    elif hasattr(found, "confusion"):
        yield from _classification_lines(found)
    else:
        yield from terminal.pairs(
            [(name.replace("_", " "), _said(value)) for name, value in _record(found).items()]
        )


def _said(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"


def _analogy_lines(found: Analogies) -> Iterator[str]:
    totals = [found.semantic, found.syntactic, found.total]
    rows = [
        [
            section.name,
            _said(section.accuracy),
            *map(_said, (section.right, section.used)),
            _said(section.skipped),
        ]
        for section in [*found.sections, *totals]
    ]
    header = ["section", "accuracy", "right", "answered", "skipped"]
    yield from terminal.table_lines(header, rows, right=(False, *[True] * 4), margin=MARGIN)


def _classification_lines(found: Classification) -> Iterator[str]:
    told = [
        ("texts", _said(found.texts)),
        ("words not known", _said(found.unknown_words)),
        ("accuracy", _said(found.accuracy)),
        ("micro F1", _said(found.micro_f1)),
        ("macro F1", _said(found.macro_f1)),
        ("baseline", f"{found.baseline:.4f} (always {found.baseline_label})"),
    ]
    for k, precision in found.precision_at.items():
        told.append((f"P@{k}, R@{k}", f"{precision:.4f}, {found.recall_at[k]:.4f}"))
    yield from terminal.pairs(told)
    scores = found.labels
    columns = zip(
        found.names, scores.precision, scores.recall, scores.f1, scores.support, strict=True
    )
    rows = [[name, *(f"{x:.4f}" for x in (p, r, f)), str(n)] for name, p, r, f, n in columns]
    header = ["label", "precision", "recall", "F1", "texts"]
    yield from terminal.table_lines(header, rows, right=(False, *[True] * 4), margin=MARGIN)
    if found.confusion is not None and len(found.names) <= LARGEST_MATRIX:
        yield "row: the truth; column: what was said\n"
        header = ["", *found.names]
        rows = [
            [name, *map(str, row)] for name, row in zip(found.names, found.confusion, strict=True)
        ]
        yield from terminal.table_lines(
            header, rows, right=(False, *[True] * len(found.names)), margin=MARGIN
        )
