"""Train `embed` or a peer on a file of blank-separated tokens; save its vectors (word2vec binary).

Run by compare.py in the interpreter that has the contestant installed: nothing is imported but
that. Prints one JSON line: {"version", "vocabulary_seconds", "train_seconds", ...}.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import struct
import time
from pathlib import Path
from typing import Any


def run_embed(tokens: Path, out: Path, s: dict[str, Any]) -> dict[str, Any]:
    """`embed` through its Python door, with the task's preset but for what all share."""
    import tempfile

    import embedcli

    marks = [time.perf_counter()]
    shared = ("task", "dim", "window", "negatives", "min_count", "subsample", "workers", "epochs")
    chosen = {name: s[name] for name in (*shared, "seed")}
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        trained = embedcli.train(
            tokens,
            Path(folder) / "model",
            report=lambda _: marks.append(time.perf_counter()),
            tokenizer="whitespace",
            normalize=False,
            fold_case=False,
            cache=False,
            checkpoint_every="off",
            **chosen,
            **s.get("embed", {}),
        )
        embedcli.convert(trained.folder, out, to="word2vec-binary")
    return {
        "version": embedcli.__version__,
        "vocabulary_seconds": marks[1] - marks[0],
        "train_seconds": marks[-1] - marks[1],
        "digest": trained.digest,
    }


def run_gensim(tokens: Path, out: Path, s: dict[str, Any]) -> dict[str, Any]:
    """gensim's Word2Vec over `corpus_file`, its fastest way in."""
    import gensim

    model = gensim.models.Word2Vec(
        vector_size=s["dim"],
        window=s["window"],
        negative=s["negatives"],
        min_count=s["min_count"],
        sample=s["subsample"],
        sg=int(s["task"] == "skipgram"),
        workers=s["workers"],
        epochs=s["epochs"],
        seed=s["seed"] + 1,
    )
    start = time.perf_counter()
    model.build_vocab(corpus_file=str(tokens))
    built = time.perf_counter()
    model.train(
        corpus_file=str(tokens),
        total_words=model.corpus_total_words,
        total_examples=model.corpus_count,
        epochs=s["epochs"],
    )
    done = time.perf_counter()
    model.wv.save_word2vec_format(str(out), binary=True)
    return {
        "version": gensim.__version__,
        "vocabulary_seconds": built - start,
        "train_seconds": done - built,
    }


def run_fasttext(tokens: Path, out: Path, s: dict[str, Any]) -> dict[str, Any]:
    """fastText's skipgram or cbow without subwords.

    The module trains in one call; reading the text once more, which it does to build its
    vocabulary, is timed on its own and taken off. That comes second: 0.9.3 fills only
    `thread` tenths of the first table (densematrix.cc, uniform), and what memory a process
    has used before shows up in the rest as "Encountered NaN".
    """
    import fasttext

    common: dict[str, Any] = {
        "model": s["task"],
        "dim": s["dim"],
        "ws": s["window"],
        "neg": s["negatives"],
        "minCount": s["min_count"],
        "t": s["subsample"],
        "maxn": 0,
        "minn": 0,
        "thread": s["workers"],
        "verbose": 0,
    }
    start = time.perf_counter()
    model = fasttext.train_unsupervised(str(tokens), epoch=s["epochs"], **common)
    done = time.perf_counter()
    # epoch=0 builds the vocabulary and trains nothing.
    fasttext.train_unsupervised(str(tokens), epoch=0, **common)
    vocabulary_seconds = time.perf_counter() - done
    words = model.get_words()
    write_word2vec_binary(out, words, (model.get_word_vector(word) for word in words), s["dim"])
    return {
        "version": importlib.metadata.version("fasttext"),
        "vocabulary_seconds": vocabulary_seconds,
        "train_seconds": done - start - vocabulary_seconds,
    }


def write_word2vec_binary(path: Path, words: list[str], vectors: Any, dim: int) -> None:
    """Write vectors the way word2vec.c does with -binary 1."""
    with path.open("wb") as file:
        file.write(f"{len(words)} {dim}\n".encode())
        for word, vector in zip(words, vectors, strict=True):
            file.write(word.encode() + b" " + struct.pack(f"<{dim}f", *vector) + b"\n")


CONTESTANTS = {"embed": run_embed, "gensim": run_gensim, "fasttext": run_fasttext}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contestant", choices=CONTESTANTS)
    parser.add_argument("tokens", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("settings", type=json.loads, help="JSON: task, dim, window, ...")
    args = parser.parse_args()
    print(json.dumps(CONTESTANTS[args.contestant](args.tokens, args.out, args.settings)))


if __name__ == "__main__":
    main()
