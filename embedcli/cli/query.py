"""Questions to a table: `neighbors`, `analogy`, `similarity`, `odd`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.errors import VocabularyError
from embedcli.views import blocks, records, terminal

if TYPE_CHECKING:
    from embedcli.table import Answers

QUESTIONS_AT_ONCE = 256  # answered by one product each time
LEAST_TO_COMPARE = 2  # words of a question, but for the neighbours of one
PROMPTS = {1: "word> ", 2: "A B> ", 3: "A B C> ", None: "words> "}

Metric = Annotated[
    Literal["cosine", "dot", "euclidean"], typer.Option("--metric", help="Score of two vectors.")
]
Output = Annotated[Literal["table", "json", "tsv"], flags.FORMAT]
K = Annotated[int, typer.Option("-k", help="Number of words to find.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="WORD",
        help="Words; none: from standard input, one question per line, or at a prompt.",
    ),
]
Approximate = Annotated[
    bool,
    typer.Option("--approximate", help="Search the index that `embed index` made, for cosines."),
]
# Answers some questions, each a list of words, about a table or several.
Ask = Callable[..., "Answers[Any]"]


@examples(
    "embed neighbors king",
    "embed neighbors king queen -k 3 --format json",
    "embed neighbors king --metric euclidean --exclude queen",
    "embed neighbors king --plus woman --minus man",
    "embed neighbors --vector phrase.npy",
    "embed neighbors king -m seed-1 -m seed-2 -m seed-3",
)
def neighbors(
    words: Words = None,
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="PATH",
            help="Model folder, file of vectors, or folder of models; repeatable, for how sure the "
            "neighbours are. [env var: EMBED_MODEL]",
        ),
    ] = None,
    k: K = 10,
    metric: Metric = "cosine",
    plus: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="Word whose vector is added; repeatable."),
    ] = None,
    minus: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="Word whose vector is subtracted; repeatable."),
    ] = None,
    vector: Annotated[
        Path | None, typer.Option(help="Find the words nearest to the vectors in a file instead.")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="Word to leave out of the results; repeatable."),
    ] = None,
    approximate: Approximate = False,
    oov: flags.Oov = None,
    output: Output = "table",
    quiet: flags.Quiet = False,
) -> None:
    """Find the words nearest to a word.

    The score is the cosine, the dot product, or the negative distance. A word of zeros (--oov
    zero) has no neighbours. With --plus and --minus vectors of length 1 are added and subtracted.
    --vector reads a .npy file, or lines of numbers. With several models the neighbours are those of
    the mean score, each with the range of its scores and in how many models it is among the -k
    nearest; a folder of models, as `embed train --replicas` makes, is all of them. JSON: a list of
    {"token", "neighbors": [{"token", "score"}]}. TSV: the word, a neighbour, its score; of several
    models the mean, lowest and highest score, in how many it is, and the number of models.
    """
    from embedcli import api

    places = models or [Path(os.environ.get("EMBED_MODEL") or flags.EMBEDDINGS)]
    several = len(places) > 1 or bool(api.models_in(places[0]))
    if vector is not None and (words or plus or minus or several):
        raise typer.BadParameter("goes with one model, and without words", param_hint="--vector")
    if approximate and several:
        raise typer.BadParameter("goes with one model", param_hint="--approximate")
    how: dict[str, Any] = {"k": k, "metric": metric, "exclude": exclude or ()}
    if approximate:
        how["approximate"] = True
    if vector is not None:
        found = api.neighbors_of(vector, places[0], **how)
        _print(found, output)
        return
    how |= {"plus": plus or (), "minus": minus or ()}

    def ask(questions: list[list[str]], tables: Any, oov: Any) -> Answers[Any]:
        words = [word for (word,) in questions if word]
        found: Answers[Any] = tables.neighbors(words, oov=oov, **how)
        return found

    if not words and (plus or minus):
        words = [""]  # one question, of what is added and subtracted alone
    opened = api.load_ensemble(places) if several else api.load(places[0])
    _answer(ask, words, 1, opened, oov, output, quiet)


@examples(
    "embed analogy man king woman",
    "printf 'man king woman\\nman father woman\\n' | embed analogy --format tsv -k 1",
    "embed analogy man king woman --method 3cosmul",
)
def analogy(
    words: Words = None,
    model: flags.Model = flags.EMBEDDINGS,
    k: K = 10,
    method: Annotated[
        Literal["3cosadd", "3cosmul"], typer.Option(help="How the three scores are combined.")
    ] = "3cosadd",
    approximate: Approximate = False,
    oov: flags.Oov = None,
    output: Output = "table",
    quiet: flags.Quiet = False,
) -> None:
    """Find D, so that A is to B as C is to D.

    Finds the words nearest to B - A + C, of unit vectors; a question with an unknown word (--oov
    zero) has no answer. JSON: a list of {"tokens": [A, B, C], "neighbors": [{"token", "score"}]}.
    TSV: A, B, C, an answer, its score.
    """
    from embedcli import api

    ask = partial(api.analogy, k=k, method=method, approximate=approximate)
    _answer(ask, words, 3, api.load(model), oov, output, quiet)


@examples(
    "embed similarity king queen",
    "printf 'king queen\\nking river\\n' | embed similarity --format tsv",
)
def similarity(
    words: Words = None,
    model: flags.Model = flags.EMBEDDINGS,
    metric: Metric = "cosine",
    oov: flags.Oov = None,
    output: Output = "table",
    quiet: flags.Quiet = False,
) -> None:
    """Print the similarity of pairs of words.

    JSON: a list of {"tokens": [A, B], "score"}. TSV: A, B, their score.
    """
    from embedcli import api

    _answer(partial(api.similarity, metric=metric), words, 2, api.load(model), oov, output, quiet)


@examples("embed odd king queen prince river", "embed odd --format json apple pear bread cat")
def odd(
    words: Words = None,
    model: flags.Model = flags.EMBEDDINGS,
    oov: flags.Oov = None,
    output: Output = "table",
    quiet: flags.Quiet = False,
) -> None:
    """Find the word that does not match the others.

    Words are ordered by their cosine with the mean of all, the odd one first. JSON: a list of
    {"tokens", "odd", "fits": [{"token", "score"}]}. TSV: the words, then a word and its score.
    """
    from embedcli import api

    _answer(api.odd, words, None, api.load(model), oov, output, quiet)


def _answer(
    ask: Ask,
    words: list[str] | None,
    size: int | None,
    table: Any,
    oov: str | None,
    output: str,
    quiet: bool,
) -> None:
    """Ask questions of `size` words each about one table or several, and print the answers.

    At a prompt an unknown word is reported at once, and the next question is awaited.
    """
    from embedcli.cli.progress import Progress
    from embedcli.text.vocabulary import Coverage

    at_prompt = not words and sys.stdin.isatty()
    coverage, asked = Coverage(), 0
    # A bar would be between the answers on a terminal.
    progress = Progress(quiet or at_prompt or sys.stdout.isatty())

    def answers() -> Iterator[Any]:
        nonlocal asked
        for questions in _questions(words, size, at_prompt):
            try:
                found = ask(questions, table, oov=None if at_prompt else oov)
            except VocabularyError as error:
                if not at_prompt:
                    raise
                terminal.note("; ".join(filter(None, (error.message, error.hint))))
                continue
            asked += len(questions)
            progress.say("answered", asked, 0, "questions")
            coverage.add(found.known + found.unknown, found.unknown, found.composed)
            yield from found

    with progress:
        _print(answers(), output)
    if (coverage.unknown or asked > 1 or not words) and not at_prompt:
        terminal.say_found(coverage, quiet=quiet)


def _print(answers: Iterable[Any], output: str) -> None:
    """Print answers as they come."""
    if output == "json":
        terminal.write_json(records.to_json(each, digits=6) for each in answers)
        return
    for answer in answers:
        if output == "tsv":
            sys.stdout.writelines(map(terminal.raw, records.answer_tsv(answer)))
        else:
            blocks.show([records.answer(answer)])


def _questions(
    given: list[str] | None, size: int | None, at_prompt: bool
) -> Iterator[list[list[str]]]:
    """Yield the questions in blocks: those given, those of a prompt, or of standard input."""
    if given:
        each = size or max(len(given), LEAST_TO_COMPARE)
        if len(given) % each:
            found = "1 word" if len(given) == 1 else f"{len(given)} words"
            raise typer.BadParameter(f"found {found}; expected {each} for each question")
        yield [given[i : i + each] for i in range(0, len(given), each)]
    elif at_prompt:
        while (line := _line_at_prompt(PROMPTS[size])) is not None:
            try:
                if line.strip():
                    yield [_split(line, size)]
            except typer.BadParameter as error:
                terminal.note(error.message)
    else:
        questions = (_split(line, size) for line in flags.lines_of_stdin() if line.strip())
        while block := list(islice(questions, QUESTIONS_AT_ONCE)):
            yield block


def _line_at_prompt(prompt: str) -> str | None:
    """Read a line, None at the end of input; the prompt goes to a terminal only, never to a file.

    The lines before can be edited and asked again (arrow keys).
    """
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
    """Split a line into the words of a question, by tabs or else by blanks."""
    if size == 1:
        return [line.strip()]
    words = line.split("\t") if "\t" in line else line.split()
    words = [word.strip() for word in words]
    if len(words) < LEAST_TO_COMPARE or size not in (None, len(words)):
        expected = f"{size} words" if size else "two words or more"
        raise typer.BadParameter(f"found {line.strip()!r}; expected {expected} a line")
    return words
