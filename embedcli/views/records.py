"""Views of records: what the commands and notebooks show of them, as blocks, and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from embedcli.views.blocks import Block, Cell, Line, Numbers, Pairs, Row, Table, Vector
from embedcli.views.terminal import numbers, spelled, tsv_line

if TYPE_CHECKING:
    from embedcli.description import Description
    from embedcli.ensemble import StableNeighbors
    from embedcli.evaluation import Analogies, Classification
    from embedcli.prediction import Label
    from embedcli.reproduction import Reproduction
    from embedcli.table import EmbeddingTable, Neighbor
    from embedcli.table import Row as TableRow

Answer = Any  # Neighbors, StableNeighbors, Analogy, Comparison or OddOneOut
COMPUTED = ("accuracy", "semantic", "syntactic", "total")  # properties of what was measured
IF_ANY = ("composed", "composed_words", "too_long_words")  # shown only where there are some
LARGEST_MATRIX = 8  # labels of a confusion matrix that is shown; JSON has any
ROWS_IN_HTML = 10
MARGIN = 2  # before the lines about a file


_FEW_LABELS = 10  # of a fastText model, which may have thousands


def to_json(value: Any, digits: int | None = None) -> Any:
    """Return a record as values of JSON: its fields, and the totals it computes from them.

    Fields of `IF_ANY` are left out where there are none. Numbers have all their digits,
    or so many.
    """
    if hasattr(value, "tolist"):
        return numbers(value) if value.dtype == "float32" else value.tolist()
    if isinstance(value, float):
        return value if digits is None else float(f"{value:.{digits}g}")
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        names = [name for name in names if name not in IF_ANY or getattr(value, name)]
        names += [name for name in COMPUTED if hasattr(value, name) and name not in names]
        return {name: to_json(getattr(value, name), digits) for name in names}
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(key): to_json(each, digits) for key, each in value.items()}
    return [to_json(each, digits) for each in value] if isinstance(value, tuple | list) else value


# Rows of a table


def row(of: TableRow, precision: int = 4) -> Iterator[Block]:
    """Show a word and its whole vector."""
    place = "not in the vocabulary" if of.index is None else f"index {of.index}"
    if of.composed:
        place += "; composed from its spelling"
    count = "" if of.count is None else f", count {of.count}"
    yield Line([Cell(of.token, "heading"), Cell(f"({place}{count})", "muted")])
    yield Numbers(of.vector, precision)


def rows(found: Iterable[TableRow], precision: int = 4) -> Table:
    """Show rows of a table, as much of each vector as fits."""
    cells: list[Row] = [
        [
            str(each.index),
            each.token,
            "" if each.count is None else str(each.count),
            Vector(each.vector, precision),
        ]
        for each in found
    ]
    return Table(["index", "token", "count", "vector"], cells, right=(True, False, True, False))


def table(of: EmbeddingTable) -> Iterator[Block]:
    """Show the size of a table and its first rows."""
    yield Line([f"{len(of):,} words × {of.dim} numbers"])
    yield rows(of.sorted("id")[:ROWS_IN_HTML])


# Answers to questions


def answer(of: Answer) -> Block:
    """Show the words that answer a question with their scores, or the score of two words."""
    tokens, found = _parts(of)
    if found is None:
        return Line([*tokens, Cell(f"{of.score:.6g}", "heading")])
    if hasattr(of, "models"):
        return _stable(of)
    cells = [[f"{score: .4f}", word] for word, score in found]
    title, right = "  ".join(tokens), (True, False)
    return Table(["score", "word"], cells, right=right, title=title, layout="list")


def _stable(of: StableNeighbors) -> Table:
    """Show neighbours in several models: mean, range, in how many they are among the k nearest."""
    cells = [
        [f"{mean: .4f}", f"{low: .4f} to {high: .4f}", f"{among}/{of.models}", word]
        for word, mean, low, high, among in of.neighbors
    ]
    title = f"{of.token}  (mean and range; in how many of {of.models} models among the {of.k})"
    return Table(["", "", "", ""], cells, (True, True, True, False), title=title, layout="list")


def answer_tsv(of: Answer) -> Iterator[str]:
    """Return the lines of TSV that answer a question."""
    tokens, found = _parts(of)
    if found is None:
        yield tsv_line([*tokens, f"{of.score:.6g}"])
    else:
        for word, *scores in found:
            numbers = (f"{score:.6g}" for score in scores)
            models = [of.models] if hasattr(of, "models") else []
            yield tsv_line([*tokens, word, *numbers, *models])


def _parts(of: Answer) -> tuple[Sequence[str], Sequence[Neighbor] | None]:
    """Return the words of a question, and what answers it; None for a comparison."""
    tokens = getattr(of, "tokens", None) or (of.token,)
    return tokens, getattr(of, "neighbors", getattr(of, "fits", None))


def prediction(line: Sequence[Label | float]) -> Line:
    """Show what is predicted for a line of text."""
    return Line([" ".join(prediction_cells(each)) for each in line])


def prediction_cells(each: Label | float) -> list[str]:
    """Return the texts of a predicted number, or of a label and its probability."""
    return [f"{each:.6g}"] if isinstance(each, float) else [each.name, f"{each.probability:.4f}"]


def prediction_record(each: Label | float) -> Any:
    """Return JSON of a predicted number or label."""
    if isinstance(each, float):
        return each
    return {"label": each.name, "probability": float(f"{each.probability:.6g}")}


def text_vector(line: int, row: Any, precision: int) -> Iterator[Block]:
    """Show the vector of a line of text."""
    yield Line([Cell(f"line {line}", "heading")])
    yield Numbers(row, precision)


# A model


def reproduction(of: Reproduction) -> Iterator[Block]:
    """Show whether training again gave the same bytes, and what differs from then."""
    if of.again is None:
        yield Line([Cell("another text", "wrong"), "the model was not trained again"])
    elif of.equal:
        yield Line([Cell("the same bytes", "right"), f"{len(of.files)} files"])
    else:
        others = [name for name, same in of.files.items() if not same]
        yield Line([Cell("other bytes", "wrong"), ", ".join(others)])
    rows = [("table.npy", of.digest)]
    if of.again not in (None, of.digest):
        rows.append(("now", str(of.again)))
    yield Pairs(rows)
    if of.differences:
        cells: list[Row] = [
            [each.what, each.then or "not known", each.now or "not known"]
            for each in of.differences
        ]
        yield Table(["differs", "then", "now"], cells, right=(False, False, False))


def description(of: Description, verified: bool = False) -> Iterator[Pairs]:
    """Show what a model is, then its files: their long names would break the digest above."""
    from embedcli.storage.files import readable

    yield Pairs(list(_description_rows(of, verified)))
    yield Pairs([(name, readable(size)) for name, size in of.files.items()])


def _description_rows(of: Description, verified: bool) -> Iterator[tuple[str, str]]:
    low, mean, high = of.norms
    yield "path", str(of.path)
    yield "format", of.format
    yield "shape", f"{of.words:,} × {of.dim} {of.rows}"
    yield "norms", f"{low:.4f} to {high:.4f}, mean {mean:.4f}"
    if of.fasttext is not None:
        yield "fastText", f"{of.fasttext['model']}, loss {of.fasttext['loss']}"
        yield "n-grams", _fasttext_ngrams(of.fasttext)
        if of.labels:
            more = " …" if len(of.labels) > _FEW_LABELS else ""
            yield "labels", f"{len(of.labels):,}: {', '.join(of.labels[:_FEW_LABELS])}{more}"
    if of.settings is not None and of.untrained == of.words:
        yield "task", "none: no word was trained, the vectors came from a file"
    elif of.settings is not None:
        yield "task", of.settings.task
        if of.untrained is not None:
            yield "untrained", f"{of.untrained:,} of {of.words:,} words"
        if of.ngrams is not None:
            yield "n-grams", f"{of.ngrams:,} × {of.dim} float32, beside the words"
        if of.labels:
            yield "labels", ", ".join(of.labels)
        if of.log:
            yield f"epoch {of.log[-1]['epoch']}", measured(of.log[-1])
        yield "settings", _settings_in_words(of.settings)
    if of.digest is not None:
        yield "sha256", of.digest
        yield "digests", "as written" if verified else "not checked (--verify does)"
    if of.version is not None:
        yield "written by", f"embed {of.version}"


def _fasttext_ngrams(of: Mapping[str, Any]) -> str:
    """Return which n-grams a model of fastText's has, and how many rows they have."""
    found = []
    if of["max_n"] and of["bucket"]:
        found.append(f"{of['min_n']} to {of['max_n']} characters")
    if of["word_ngrams"] > 1 and of["bucket"]:
        found.append("2 words" if of["word_ngrams"] == 2 else f"2 to {of['word_ngrams']} words")
    if not found:
        return "none"
    kept = "" if of["ngrams_kept"] is None else f", of which {of['ngrams_kept']:,} are kept"
    return f"{' and '.join(found)}, {of['bucket']:,} buckets{kept}"


def _settings_in_words(settings: Any) -> str:
    """List the settings that have an effect and are not the defaults of the task."""
    from embedcli.config import schema

    changed = {
        name: getattr(settings, name)
        for name, spec in schema(type(settings)).items()
        if name != "task"
        and settings.has_effect(name)
        and getattr(settings, name) != spec.default_of(settings.task)
    }
    return ", ".join(f"{name} {spelled(value)}" for name, value in changed.items()) or "defaults"


def curves(log: Sequence[Mapping[str, Any]]) -> Table:
    """Show the first and last value of what was measured in every epoch, and all as bars."""
    from embedcli.views.charts import sparkline

    rows: list[Row] = []
    for name, points in measured_series(log).items():
        values = [value for _, value in points]
        rows.append([name, f"{values[0]:.4f}", sparkline(values), f"{values[-1]:.4f}"])
    header = ["", f"epoch {log[0]['epoch']}", "", f"epoch {log[-1]['epoch']}"]
    return Table(header, rows, right=(False, True, False, True))


def measured_series(log: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Return what was measured by name: epochs and values; of the loss, also within epochs."""
    series: dict[str, list[tuple[float, float]]] = {}
    for entry in log:
        for name, value in entry.items():
            if isinstance(value, float):
                values = entry.get("curve") or [value] if name == "loss" else [value]
                start, size = entry["epoch"] - 1, len(values)
                points = [(start + (i + 1) / size, each) for i, each in enumerate(values)]
                series.setdefault(name, []).extend(points)
    return series


def measured(record: Mapping[str, Any]) -> str:
    """Return what was measured at an epoch's end.

    >>> measured({"epoch": 2, "loss": 0.5, "accuracy": 0.75})
    'loss 0.5000  accuracy 0.7500'
    """
    found = {name: value for name, value in record.items() if isinstance(value, float)}
    return "  ".join(f"{name} {value:.4f}" for name, value in found.items())


# What was measured


def evaluation(found: Any) -> Iterator[Block]:
    """Show what was measured by one file."""
    if hasattr(found, "sections"):
        yield _analogies(found)
    elif hasattr(found, "confusion"):
        yield from _classification(found)
    else:
        record = to_json(found)
        yield Pairs(
            [(name.replace("_", " "), _number(value)) for name, value in record.items()], MARGIN
        )


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"


def _analogies(found: Analogies) -> Table:
    cells = [
        [each.name, *map(_number, (each.accuracy, each.right, each.used, each.skipped))]
        for each in [*found.sections, found.semantic, found.syntactic, found.total]
    ]
    header = ["section", "accuracy", "right", "answered", "skipped"]
    return Table(header, cells, right=(False, *[True] * 4), margin=MARGIN)


def _classification(found: Classification) -> Iterator[Block]:
    pairs = [
        ("texts", _number(found.texts)),
        ("words not known", _number(found.unknown_words)),
        ("accuracy", _number(found.accuracy)),
        ("micro F1", _number(found.micro_f1)),
        ("macro F1", _number(found.macro_f1)),
        ("baseline", f"{found.baseline:.4f} (always {found.baseline_label})"),
    ]
    for k, precision in found.precision_at.items():
        pairs.append((f"P@{k}, R@{k}", f"{precision:.4f}, {found.recall_at[k]:.4f}"))
    yield Pairs(pairs, MARGIN)
    scores = found.labels
    columns = zip(
        found.names, scores.precision, scores.recall, scores.f1, scores.support, strict=True
    )
    cells = [[name, *(f"{x:.4f}" for x in (p, r, f)), str(n)] for name, p, r, f, n in columns]
    header = ["label", "precision", "recall", "F1", "texts"]
    yield Table(header, cells, right=(False, *[True] * 4), margin=MARGIN)
    if found.confusion is not None and len(found.names) <= LARGEST_MATRIX:
        matrix: list[Row] = [
            [name, *(_confused(count, row == column) for column, count in enumerate(counts))]
            for row, (name, counts) in enumerate(zip(found.names, found.confusion, strict=True))
        ]
        yield Line([" " * MARGIN + "row: the truth; column: what was said"])
        header, right = ["", *found.names], (False, *[True] * len(found.names))
        yield Table(header, matrix, right=right, margin=MARGIN)


def _confused(count: int, right: bool) -> Cell:
    return Cell(str(count), ("right" if right else "wrong") if count else "muted")
