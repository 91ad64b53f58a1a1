"""Ask a table: `neighbors`, `analogy`, `similarity`, `odd`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.views import terminal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedcli.table import EmbeddingTable, Neighbors
    from embedcli.text.vocabulary import Oov

QUESTIONS_AT_ONCE = 256  # answered by one product each time
LEAST_TO_COMPARE = 2  # words of a question, but for the neighbours of one
FORMATS = ("table", "json", "tsv")
METRICS = ("cosine", "dot", "euclidean")

Metric = Annotated[
    Literal["cosine", "dot", "euclidean"],
    flags.one_of("--metric", *METRICS, help="How two vectors are compared."),
]
Output = Annotated[str, flags.one_of("--format", *FORMATS, help="How to print.")]
K = Annotated[int, flags.number("-k", help="How many to find.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="WORD",
        help="Words; none: from standard input, a question a line, or at a prompt.",
    ),
]


class Asked(NamedTuple):
    """Questions of n words each: as spelt in the vocabulary, and their ids or -1, (Q, n)."""

    words: list[list[str]]
    ids: NDArray[np.int64]


class Answer(NamedTuple):
    """A question's words, and the words that answer it with their scores, the best first."""

    question: list[str]
    found: list[tuple[str, float]]


@examples(
    "embed neighbors king",
    "embed neighbors king queen -k 3 --format json",
    "embed neighbors king --metric euclidean --exclude queen",
)
def neighbors(
    words: Words = None,
    model: flags.Model = flags.EMBEDDINGS,
    k: K = 10,
    metric: Metric = "cosine",
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="Leave this word out; repeatable.")
    ] = None,
    oov: flags.Oov = "error",
    output: Output = "table",
    quiet: flags.Quiet = False,
) -> None:
    """Find the words nearest to a word.

    The score is the cosine, the dot product, or the distance with a minus. A word of zeros (--oov
    zero) has no neighbours. JSON: a list of {"token", "neighbors": [{"token", "score"}]}. TSV: the
    word, a neighbour, its score.
    """
    from embedcli import api

    table = api.load(model)
    policy: Oov = "error" if oov == "error" else "skip"
    banned = api.find(table, exclude or [], oov=policy, spelt_as=model).ids.tolist()

    def answers() -> Iterator[Answer]:
        for asked in _asked(table, words, 1, model, oov, quiet):
            ids = asked.ids[:, 0]  # (Q,)
            left_out = [[each, *banned] for each in ids.tolist()]
            found = table.nearest(api.vectors_of(table, ids), k, metric, left_out)
            yield from _answers(table, asked, found)

    _write(answers(), output, lambda a: {"token": a.question[0], "neighbors": _scored(a)})


@examples(
    "embed analogy man king woman",
    "printf 'man king woman\nman father woman\n' | embed analogy --format tsv -k 1",
    "embed analogy man king woman --method 3cosmul",
)
def analogy(
    words: Words = None,
    model: flags.Model = flags.EMBEDDINGS,
    k: K = 10,
    method: Annotated[
        Literal["3cosadd", "3cosmul"],
        flags.one_of("--method", "3cosadd", "3cosmul", help="How the words are weighed."),
    ] = "3cosadd",
    oov: flags.Oov = "error",
    output: Output = "table",
    quiet: flags.Quiet = False,
) -> None:
    """Find D, so that A is to B as C is to D.

    Looked for is B - A + C, of unit vectors; where one is unknown (--oov zero) there is no answer.
    JSON: a list of {"tokens": [A, B, C], "neighbors": [{"token", "score"}]}. TSV: A, B, C, an
    answer, its score.
    """
    import numpy as np

    from embedcli import api

    table = api.load(model)
    signs = np.array([-1, 1, 1], np.float32)  # (N,)

    def answers() -> Iterator[Answer]:
        for asked in _asked(table, words, 3, model, oov, quiet):
            ids = np.maximum(asked.ids, 0)  # (Q, 3)
            yield from _answers(table, asked, table.analogies(ids, signs, k, method))

    _write(answers(), output, lambda a: {"tokens": a.question, "neighbors": _scored(a)})


@examples(
    "embed similarity king queen",
    "printf 'king queen\nking river\n' | embed similarity --format tsv",
)
def similarity(
    words: Words = None,
    model: flags.Model = flags.EMBEDDINGS,
    metric: Metric = "cosine",
    oov: flags.Oov = "error",
    output: Output = "table",
    quiet: flags.Quiet = False,
) -> None:
    """Compare words, two by two.

    JSON: a list of {"tokens": [A, B], "score"}. TSV: A, B, their score.
    """
    from embedcli import api
    from embedcli.table import compare

    table = api.load(model)

    def scores() -> Iterator[tuple[list[str], float]]:
        for asked in _asked(table, words, 2, model, oov, quiet):
            one, two = (api.vectors_of(table, ids) for ids in asked.ids.T)  # (Q, D)
            yield from zip(asked.words, compare(one, two, metric).tolist(), strict=True)

    if output == "json":
        terminal.write_json({"tokens": pair, "score": _rounded(score)} for pair, score in scores())
    else:
        line = terminal.tsv_line if output == "tsv" else _spaced
        for pair, score in scores():
            sys.stdout.write(terminal.raw(line([*pair, f"{score:.6g}"])))


@examples("embed odd king queen prince river", "embed odd --format json apple pear bread cat")
def odd(
    words: Words = None,
    model: flags.Model = flags.EMBEDDINGS,
    oov: flags.Oov = "error",
    output: Output = "table",
    quiet: flags.Quiet = False,
) -> None:
    """Find the word that does not go with the others.

    Words are ordered by their cosine with the mean of all, the odd one first. JSON: a list of
    {"tokens", "odd", "fits": [{"token", "score"}]}. TSV: the words, then a word and its score.
    """
    from embedcli import api
    from embedcli.table import odd_first

    table = api.load(model)

    def answers() -> Iterator[Answer]:
        for asked in _asked(table, words, None, model, oov, quiet):
            for question, ids in zip(asked.words, asked.ids, strict=True):
                fits = odd_first(api.vectors_of(table, ids))
                yield Answer(question, [(question[place], score) for place, score in fits])

    _write(
        answers(),
        output,
        lambda a: {"tokens": a.question, "odd": a.found[0][0], "fits": _scored(a)},
    )


def _asked(
    table: EmbeddingTable,
    given: list[str] | None,
    size: int | None,
    model: Path,
    oov: Oov,
    quiet: bool,
) -> Iterator[Asked]:
    """Go through the questions, of `size` words each, in blocks; says at the end what was found.

    At a prompt an unknown word is said at once, and is no reason to end.
    """
    import numpy as np

    from embedcli import api
    from embedcli.text.vocabulary import Coverage

    at_prompt = not given and sys.stdin.isatty()
    coverage, several = Coverage(), not given
    for questions in _questions(given, size, at_prompt):
        flat = [word for question in questions for word in question]
        policy: Oov = "error" if oov == "error" and not at_prompt else "zero"
        found = api.find(table, flat, oov=policy, spelt_as=model)
        coverage.add(len(flat), found.missed)
        several |= len(questions) > 1
        if found.missed and at_prompt:
            terminal.note(_unknown(table, found.words, found.ids))
        each = len(questions[0])
        ids = found.ids.reshape(-1, each)  # (Q, n)
        kept = np.ones(len(ids), bool) if oov == "zero" else (ids >= 0).all(axis=1)  # (Q,)
        places = np.flatnonzero(kept).tolist()
        words = [list(found.words[place * each : (place + 1) * each]) for place in places]
        if words:
            yield Asked(words, ids[kept])
    if (coverage.unknown or several) and not at_prompt:
        terminal.say_found(coverage, quiet=quiet)


def _unknown(table: EmbeddingTable, words: Sequence[str], ids: NDArray[np.int64]) -> str:
    first = next(word for word, each in zip(words, ids, strict=True) if each < 0)
    error = table.vocabulary.unknown(first)
    return f"{error.message}; {error.hint}" if error.hint else error.message


def _questions(
    given: list[str] | None, size: int | None, at_prompt: bool
) -> Iterator[list[list[str]]]:
    """Go through the questions in blocks: those given, of a prompt, or of standard input."""
    if given:
        each = size or max(len(given), LEAST_TO_COMPARE)
        if len(given) % each:
            found = "1 word" if len(given) == 1 else f"{len(given)} words"
            raise typer.BadParameter(f"found {found}; expected {each} for each question")
        yield [given[i : i + each] for i in range(0, len(given), each)]
        return
    if at_prompt:
        for question in _prompted(size):
            yield [question]
        return
    questions = (_split(line, size) for line in terminal.lines_of_stdin() if line.strip())
    block = QUESTIONS_AT_ONCE if size else 1
    while several := list(islice(questions, block)):
        yield several


def _prompted(size: int | None) -> Iterator[list[str]]:
    """Ask for questions until the input ends, with the lines before at hand (arrow keys)."""
    prompt = {1: "word> ", 2: "A B> ", 3: "A B C> ", None: "words> "}[size]
    while (line := _line_at_prompt(prompt)) is not None:
        try:
            if line.strip():
                yield _split(line, size)
        except typer.BadParameter as error:
            terminal.note(error.message)


def _line_at_prompt(prompt: str) -> str | None:
    """Read a line, or None at the end; the prompt is no result, so no file gets it."""
    if not sys.stdout.isatty():
        print(prompt, end="", file=sys.stderr, flush=True)
        return sys.stdin.readline() or None
    import readline  # noqa: F401 - gives `input` its history

    try:
        return input(prompt)
    except EOFError:
        print(file=sys.stderr)
        return None


def _split(line: str, size: int | None) -> list[str]:
    if size == 1:
        return [line.strip()]
    words = line.split("\t") if "\t" in line else line.split()
    words = [word.strip() for word in words]
    if len(words) < LEAST_TO_COMPARE or size not in (None, len(words)):
        expected = f"{size} words" if size else "two words or more"
        raise typer.BadParameter(f"found {line.strip()!r}; expected {expected} a line")
    return words


def _answers(table: EmbeddingTable, asked: Asked, found: Neighbors) -> Iterator[Answer]:
    for question, asked_ids, ids, scores in zip(*asked, found.ids, found.scores, strict=True):
        there = (ids >= 0) & bool((asked_ids >= 0).all())  # (k,)
        words = table.vocabulary.tokens(ids[there])
        yield Answer(question, list(zip(words, scores[there].tolist(), strict=True)))


def _write(
    answers: Iterable[Answer], output: str, record: Callable[[Answer], dict[str, Any]]
) -> None:
    if output == "json":
        terminal.write_json(record(answer) for answer in answers)
        return
    for answer in answers:
        if output == "tsv":
            for word, score in answer.found:
                line = terminal.tsv_line([*answer.question, word, f"{score:.6g}"])
                sys.stdout.write(terminal.raw(line))
        else:
            sys.stdout.write(_spaced(answer.question))
            rows = [[f"{score: .4f}", word] for word, score in answer.found]
            sys.stdout.writelines(f"  {_spaced(row)}" for row in rows)


def _scored(answer: Answer) -> list[dict[str, Any]]:
    return [{"token": word, "score": _rounded(score)} for word, score in answer.found]


def _rounded(score: float) -> float:
    return float(f"{score:.6g}")


def _spaced(words: Sequence[str]) -> str:
    return terminal.visible("  ".join(words)) + "\n"
