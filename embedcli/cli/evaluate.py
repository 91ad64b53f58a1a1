"""Scores of a table or a model: `evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.config import COLUMNS, TextSettings
from embedcli.views import blocks, records, terminal


@examples(
    "embed evaluate wordsim353.tsv simlex999.txt",
    "embed evaluate questions-words.txt --model vectors.txt",
    "embed evaluate --task classify test.txt -k 5 --format json",
    "embed evaluate --task classify test.txt --out confusion.svg",
)
@flags.with_settings(TextSettings, only=COLUMNS)
def evaluate(
    ctx: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Files of pairs, analogies or labelled texts."),
    ],
    model: flags.Model = flags.EMBEDDINGS,
    task: Annotated[
        Literal["similarity", "analogy", "classify", "regress"] | None,
        typer.Option(help="What FILE holds; none: pairs or analogies, by its lines."),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Also print precision and recall at this rank.")] = 1,
    fold_case: Annotated[bool, typer.Option(help="Ignore case (pairs and analogies).")] = True,
    oov: flags.OovOfText = None,
    output: Annotated[Literal["table", "json"], flags.FORMAT] = "table",
    out: Annotated[Path | None, flags.picture("the confusion matrix of a classification")] = None,
    quiet: flags.Quiet = False,
) -> None:
    """Evaluate a table on word pairs or analogies, or a model on labelled text.

    Pairs: two words and a number per line, as in WordSim-353, SimLex-999 and MEN. Analogies: four
    words per line, `: NAME` before a section, as in word2vec's questions-words.txt; or two words
    with a tab between, as in the Bigger Analogy Test Set, every pair combined with every other. The
    pages of their authors have these files. JSON: a list of scores, by file.
    """
    from embedcli import api
    from embedcli.text.vocabulary import Coverage

    if out is not None and (task != "classify" or len(files) != 1):
        raise typer.BadParameter("goes with --task classify and one file", param_hint="--out")
    coverage = Coverage()

    def measured() -> Iterator[tuple[str, Any]]:
        ks = sorted({1, k})
        for name in files:
            found = api.evaluate(
                name, model, task=task, ks=ks, fold_case=fold_case, oov=oov, **flags.given(ctx)
            )
            words = found.known_words + found.unknown_words
            coverage.add(words, found.unknown_words, found.composed_words)
            coverage.too_long += getattr(found, "too_long_words", 0)  # of labelled text
            yield name, found

    if out is not None:
        from embedcli.views import charts

        ((name, found),) = measured()
        if found.confusion is None:
            raise typer.BadParameter(
                "texts with several labels have no confusion matrix", param_hint="--out"
            )
        flags.write_file(out, charts.confusion(found, name))
    elif output == "json":
        terminal.write_json({"file": name, **records.to_json(found)} for name, found in measured())
    else:
        for name, found in measured():
            blocks.show([blocks.Line([name]), *records.evaluation(found)])
    terminal.say_found(coverage, quiet=quiet)
