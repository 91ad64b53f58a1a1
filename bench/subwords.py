"""Skip-gram with character n-grams: `embed` and fastText at minn 3, maxn 6, in turn.

    python bench/subwords.py CORPUS --similarity wordsim353.txt simlex999.txt men.txt \
        --analogies questions-words.txt --peer-python PEERS/bin/python --json result.json

The corpus is tokenised once, and both read the same tokens split by blanks. Words a second are
those of training alone; memory is that of the process and its children. Pairs with an unknown word
need words that the text has and the models do not: each contestant is trained a second time with a
higher min_count (--unknown-min-count), and the pairs with a word below it are compared.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import contestants
import machine
import measure

LENGTHS = {"min_n": 3, "max_n": 6}
NAMES = ("embed", "fasttext")


def main(argv: Sequence[str] | None = None) -> None:
    """Train and measure each contestant, and print its figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--min-count", type=int, default=5)
    parser.add_argument("--unknown-min-count", type=int, default=500, help="0: no second training")
    parser.add_argument("--contestants", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--similarity", nargs="*", type=Path, default=[], help="word pair files")
    parser.add_argument("--analogies", type=Path, help="file of questions")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with fasttext")
    parser.add_argument("--scratch", type=Path, help="folder for tokens and vectors")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--setting", nargs="*", default=[], help="NAME=VALUE, for embed alone")
    args = parser.parse_args(argv)
    from compare import tokenized

    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        tokens, words = tokenized(args.corpus, Path(scratch) / "tokens.txt")
        for name in args.contestants:
            results[name] = _known(name, tokens, words, args)
            if args.unknown_min_count:
                results[name] |= _unknown(name, tokens, args)
            print(name, json.dumps(results[name]), flush=True)
    if len(results) == len(NAMES):
        speeds = [results[name]["words_per_second"] for name in NAMES]
        print(f"embed ÷ fasttext, words/s: {speeds[0] / speeds[1]:.1f}")
    if args.json:
        report = {"machine": machine.describe(), "words": words, "results": results}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


def _known(name: str, tokens: Path, words: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train and measure a contestant: speed, memory, and what it knows of words of the text."""
    from embedcli import evaluation

    run, told, table = _trained(name, tokens, args.min_count, args)
    found: dict[str, Any] = {
        "words_per_second": round(words * args.epochs / told["train_seconds"]),
        "peak_mb": round(run.peak_pss / 1e6),
    }
    known = _first_words(table, told["words"])
    for file in args.similarity:
        pairs = evaluation.read_pairs(file)
        found[file.stem] = round(evaluation.similarity(known, pairs).spearman, 3)
    if args.analogies:
        answers = evaluation.analogies(known, evaluation.read_questions(args.analogies))
        found |= {
            each.name: round(each.accuracy, 3) for each in (answers.semantic, answers.syntactic)
        }
    return found


def _unknown(name: str, tokens: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Train with a higher min_count; measure the pairs with a word that is unknown then."""
    from embedcli import evaluation

    _, told, table = _trained(name, tokens, args.unknown_min_count, args)
    found: dict[str, Any] = {}
    for file in args.similarity:
        pairs = evaluation.read_pairs(file)
        ids = table.vocabulary.ids_of([word for each in pairs for word in each[:2]], unknown=-1)
        rare = (ids.reshape(-1, 2) >= told["words"]).any(axis=1)
        some = [pair for pair, is_rare in zip(pairs, rare, strict=True) if is_rare]
        if some:
            measured = evaluation.similarity(table, some)
            found[f"{file.stem}, unknown"] = round(measured.spearman, 3)
            found[f"{file.stem}, pairs"] = measured.used
    return found


def _trained(name: str, tokens: Path, min_count: int, args: argparse.Namespace) -> Any:
    """Train a contestant in a process of its own; return the run, what it told, and its table."""
    from embedcli import evaluation, formats

    asked = [pair for file in args.similarity for pair in evaluation.read_pairs(file)]
    extra = sorted({word.lower() for pair in asked for word in pair[:2]})
    settings = {
        "dim": args.dim, "epochs": args.epochs, "workers": args.workers, "min_count": min_count,
        "extra": extra, "embed": dict(each.split("=", 1) for each in args.setting),
    }  # fmt: skip
    out = tokens.with_name(f"{name}.bin")
    told = tokens.with_name("settings.json")
    told.write_text(json.dumps(settings))
    python = sys.executable if name == "embed" else args.peer_python
    run = measure.run([python, __file__, "--train", name, str(tokens), str(out), str(told)])
    return run, json.loads(run.stdout.splitlines()[-1]), formats.open_table(out)


def _first_words(table: Any, count: int) -> Any:
    """Return the words that were in the text often enough, without those that were composed."""
    from embedcli.table import EmbeddingTable
    from embedcli.text.vocabulary import Vocabulary

    return EmbeddingTable(
        Vocabulary(table.vocabulary.tokens(slice(0, count))), table.vectors[:count]
    )


def train(name: str, tokens: Path, out: Path, s: dict[str, Any]) -> None:
    """Train in this process, save the vectors of all words, and tell what it took."""
    {"embed": _embed, "fasttext": _fasttext}[name](tokens, out, s)


def _embed(tokens: Path, out: Path, s: dict[str, Any]) -> None:
    import embedcli
    from embedcli.config import TrainSettings, schema

    specs = schema(TrainSettings)
    chosen = {key: specs[key].parse(value) for key, value in s["embed"].items()}
    marks = [time.perf_counter()]
    trained = embedcli.train(
        tokens,
        out.with_suffix(""),
        report=lambda _: marks.append(time.perf_counter()),
        config="subword",
        tokenizer="whitespace",
        normalize=False,
        fold_case=False,
        cache=False,
        checkpoint_every="off",
        **{name: s[name] for name in ("dim", "epochs", "workers", "min_count")},
        **{**LENGTHS, "subsample": 1e-4, **chosen},
    )
    table = trained.table
    words = list(table.vocabulary)
    unknown = [word for word in s["extra"] if table.vocabulary.get(word) is None]
    found = table.lookup(unknown, otherwise="zero")
    vectors = [*table.vectors, *found.vectors]
    contestants.write_word2vec_binary(out, words + unknown, vectors, s["dim"])
    print(json.dumps({"train_seconds": marks[-1] - marks[1], "words": len(words)}))


def _fasttext(tokens: Path, out: Path, s: dict[str, Any]) -> None:
    import fasttext

    common: dict[str, Any] = {
        "model": "skipgram", "dim": s["dim"], "ws": 5, "neg": 5, "minCount": s["min_count"],
        "t": 1e-4, "minn": LENGTHS["min_n"], "maxn": LENGTHS["max_n"], "thread": s["workers"],
        "verbose": 0,
    }  # fmt: skip
    start = time.perf_counter()
    model = fasttext.train_unsupervised(str(tokens), epoch=s["epochs"], **common)
    done = time.perf_counter()
    # epoch=0 builds the vocabulary and trains nothing; see contestants.py.
    fasttext.train_unsupervised(str(tokens), epoch=0, **common)
    vocabulary_seconds = time.perf_counter() - done
    words = model.get_words()
    known = set(words)
    every = words + [word for word in s["extra"] if word not in known]
    vectors = (model.get_word_vector(word) for word in every)
    contestants.write_word2vec_binary(out, every, vectors, s["dim"])
    seconds = done - start - vocabulary_seconds
    print(json.dumps({"train_seconds": seconds, "words": len(words)}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        name, tokens, out, told = sys.argv[2:]
        train(name, Path(tokens), Path(out), json.loads(Path(told).read_text()))
    else:
        main()
