"""The targets: each makes, of random draws, one case that is almost right."""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import hashlib
import io
import json
import lzma
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np

from embedcli import api
from embedcli.config import TextSettings, TrainSettings, schema, to_yaml
from embedcli.formats import FORMATS
from embedcli.table import EmbeddingTable
from embedcli.text.encode import encode
from embedcli.text.vocabulary import Vocabulary
from embedcli.training.run import Stopped
from tests.formats import test_fasttext_bin as fasttext
from tests.fuzz.cases import Case
from tests.fuzz.mutations import (
    PIECES,
    as_json,
    lying_npy,
    odd_value,
    spoil,
    spoil_json,
    spoil_json_lines,
    spoil_npy,
)
from tests.packing import PACKERS

WORDS = ["the", "naïve", "हिन्दी", "東京", "can't", "x1", "king", "queen"]
SCRIPTS = (
    "The naïve king can't see 42 queens.\nthe Queen of 3.14 rivers, e-mail me@x.org!\n\n"
    "हिन्दी में नमस्ते दुनिया। தமிழ் மொழி\n東京に行きました。中文分词 ภาษาไทย\n"
    "Ωραία ΜΈΡΑ σας ﬁne Straße İstanbul\r\n👩‍👩‍👧 e\u0301 مرحبا بالعالم שלום\n"
)
LABELLED = "__label__good __label__new a warm film\n__label__bad dull and slow\n\n" * 2
NUMBERED = "__label__1.5 __label__-2 a warm film\n__label__3 __label__4e1 dull\n" * 2
MORE = "__label__good a new word\n__label__fresh and another\n"
CSV = 'text,label\n"a warm, ""lovely"" film",good\n"two\nlines",bad\nplain,good\n'
TSV = "text\tlabel\nनमस्ते दुनिया\t1.5\nplain 'words\t-2\n"
JSONL = (
    '{"text": "a warm film", "label": ["good", "new"]}\n{"text": "\\ud83d\\ude00", "label": 1}\n'
)
PAIRS = "# pairs\nword1\tword2\tscore\nking\tqueen\t8.5\nthe\tnaïve\t1\nking\t東京\t2.25\n"
QUESTIONS = ": capital\nking queen the naïve\nthe king x1 queen\n: gram1\nking king queen queen\n"
PHRASES = "new york\t12\t34.5\nहिन्दी में\t3\t1e3\n\nnew_york times\n"
SPACE = "lr: 0.1 to 1 log\nepochs: 1 to 4\nword_ngrams: none, 2\noptimizer: sgd, adam\n"
ENCODINGS = (
    "utf-8", "latin-1", "utf-16", "utf-16-le", "gb18030", "shift_jis", "cp1252", "utf-8-sig",
    "utf-7", "big5", "koi8-r", "utf-32", "iso2022_jp", "hz", "mac-roman", "idna", "punycode",
    "rot13", "unicode_escape", "raw_unicode_escape", "x" * 50, "base64", "",
)  # fmt: skip
SQUEEZE: dict[str, Callable[[bytes], bytes]] = {
    ".gz": functools.partial(gzip.compress, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    **{suffix: pack for suffix, pack in PACKERS.items() if suffix == ".zst"},
}
FOLDERS = ("model", "static-embedding", "model2vec")
TASKS = ("skipgram", "cbow", "classify", "regress", "glove", "svd")
Make = Callable[[Random], Case]


@functools.cache
def models() -> Mapping[str, Mapping[str, bytes]]:
    """Train a small model for each task, and one with n-grams and phrases; their files by name."""
    found = {}
    with TemporaryDirectory() as name, mock.patch.dict(os.environ, EMBED_CACHE=f"{name}/kept"):
        corpus = Path(name) / "corpus.txt"
        for task in TASKS:
            text = {"classify": LABELLED, "regress": NUMBERED}.get(task, SCRIPTS)
            corpus.write_text(text, encoding="utf-8")
            api.train(corpus, Path(name) / task, task=task, **_small(task))
            found[task] = _files(Path(name) / task)
        corpus.write_text(LABELLED, encoding="utf-8")
        more = {"word_ngrams": 2, "buckets": 30, "phrases": True, "phrase_min_count": 1}
        api.train(corpus, Path(name) / "ngrams", task="classify", **_small("classify") | more)
        found["ngrams"] = _files(Path(name) / "ngrams")
    return found


@functools.cache
def checkpoint() -> Mapping[str, bytes]:
    """Stop a training at its first step; the corpus and the checkpoint it leaves."""
    with TemporaryDirectory() as name, mock.patch.dict(os.environ, EMBED_CACHE=f"{name}/kept"):
        corpus = Path(name) / "corpus.txt"
        corpus.write_text(SCRIPTS, encoding="utf-8")
        with suppress(Stopped):
            api.train(
                corpus, Path(name) / "model", stop=lambda: True, **_small("cbow") | {"epochs": 9}
            )
        kept = _files(Path(name) / "model.checkpoint/state")
        return {"corpus.txt": corpus.read_bytes()} | {
            f"model.checkpoint/state/{each}": data for each, data in kept.items()
        }


@functools.cache
def stopped_runs() -> Sequence[Mapping[str, bytes]]:
    """Stop trainings of every sort after some steps; the files each needs to go on."""
    found = []
    more = {"dim": 3, "workers": 1, "cache": False, "min_count": 1, "epochs": 4}
    for settings, steps in STOPPED:
        own = {} if "update" in settings else more
        with (
            TemporaryDirectory() as name,
            mock.patch.dict(os.environ, EMBED_CACHE=f"{name}/kept"),
            contextlib.chdir(name),
        ):
            Path("corpus.txt").write_text(LABELLED * 4, encoding="utf-8")
            Path("v.txt").write_text("2 3\na 1 2 3\nwarm 3 2 1\n", encoding="utf-8")
            if "update" in settings:
                api.train("corpus.txt", "old", task="classify", **more)
            with suppress(Stopped):
                api.train("corpus.txt", "m", stop=_after(steps), **{**own, **settings})
            kept = _files(Path("m.checkpoint/state"))
        found.append(
            {"corpus.txt": LABELLED.encode() * 4}
            | {f"m.checkpoint/state/{each}": data for each, data in kept.items()}
        )
    return found


def _after(steps: int) -> Callable[[], bool]:
    asked = iter([False] * (steps - 1))
    return lambda: next(asked, True)


STOPPED: list[tuple[dict[str, Any], int]] = [
    ({"task": "cbow", "optimizer": "adam"}, 1),
    ({"task": "skipgram", "vectors": "v.txt", "freeze": "found"}, 2),
    ({"task": "glove", "batch_size": 9, "group": 1}, 2),
    (
        {
            "task": "classify",
            "valid_share": 0.4,
            "patience": 2,
            "batch_size": 2,
            "multi_label": True,
        },
        5,
    ),
    ({"task": "classify", "hidden": 2, "optimizer": "sgd", "momentum": 0.9, "group": 2}, 1),
    ({"update": "old", "epochs": 3}, 1),
    (
        {
            "task": "classify",
            "word_ngrams": 2,
            "buckets": 30,
            "phrases": True,
            "phrase_min_count": 1,
        },
        2,
    ),
]


@functools.cache
def kept_entries() -> Mapping[str, bytes]:
    """Read two texts in two ways; what the cache then holds, by its paths below the cache."""
    found = {}
    with TemporaryDirectory() as name, mock.patch.dict(os.environ, EMBED_CACHE=f"{name}/kept"):
        for number, text in enumerate((LABELLED, SCRIPTS)):
            corpus = Path(name) / f"{number}.txt"
            corpus.write_text(text, encoding="utf-8")
            for labels in ("none", "class") if text == LABELLED else ("none",):
                work = Path(name) / f"{number}-{labels}"
                work.mkdir()
                encode([corpus], TextSettings(workers=1), folder=work, labels=labels)
        kept = Path(name) / "kept"
        for path in sorted(kept.glob("*/*")):
            found[str(path.relative_to(kept))] = path.read_bytes()
    return found


def _small(task: str) -> dict[str, Any]:
    more = {"cbow": {"epochs": 1, "optimizer": "adam"}, "svd": {}}.get(task, {"epochs": 1})
    return {"dim": 3, "workers": 1, "min_count": 1, "cache": False, "seed": 1, **more}


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@functools.cache
def vector_files() -> Mapping[str, Mapping[str, bytes]]:
    """Write a small table in every format; its files, by format. The first is the one to open."""
    rows = np.random.default_rng(1).normal(size=(len(WORDS), 3)).astype(np.float32)
    table = EmbeddingTable(Vocabulary(WORDS, np.arange(8, 0, -1)), rows)
    plain = EmbeddingTable(Vocabulary(WORDS), rows)
    names = {"npy": "a.npy", "safetensors": "a.safetensors", "projector": "vectors.tsv"}
    found: dict[str, Mapping[str, bytes]] = {}
    with TemporaryDirectory() as name:
        for each, made in [(each, table) for each in FORMATS] + [("projector", plain)]:
            if each in FOLDERS or each == "fasttext-bin":
                continue
            if each == "parquet" and not find_spec("pyarrow"):
                continue
            folder = Path(name) / f"{each}{len(found)}"
            folder.mkdir()
            FORMATS[each].write(folder / names.get(each, "file"), made)
            files = _files(folder)
            first = names.get(each, "file")
            found[folder.name] = {first: files.pop(first), **files}
    matrix = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    found["fasttext-bin"] = {"file": fasttext.model(matrix)}
    found["fasttext-bin old"] = {"file": fasttext.old_model(matrix)}
    found["fasttext-bin pruned"] = {
        "file": fasttext.model(matrix[:8], pruned=[(7, 0), (2, 1), (5, 2)])
    }
    found["fasttext-bin quantized"] = {"file": _quantized()}
    found["fasttext-bin supervised"] = {
        "file": fasttext.model(matrix, version=11, model=3, labels=["__label__x"])
    }
    return found


def _quantized() -> bytes:
    """Return a fastText model of product-quantized rows and norms."""
    codes = bytes(range(10))
    data = struct.pack("<2i", 793712314, 12) + fasttext.args(maxn=0) + fasttext.dictionary() + b"\1"
    data += struct.pack("<?2qi", True, 5, 3, len(codes)) + codes
    data += struct.pack("<4i", 3, 2, 2, 1) + np.ones(768, "<f4").tobytes()
    return data + codes[:5] + struct.pack("<4i", 1, 1, 1, 1) + np.ones(256, "<f4").tobytes()


def text(random: Random) -> Case:
    """Text in some encoding, perhaps compressed, perhaps spoilt before or after."""
    data = random.choice((SCRIPTS, LABELLED, NUMBERED, "")).encode()
    encoding = random.choice(ENCODINGS)
    if random.random() < 0.5:
        with suppress(LookupError, UnicodeError, TypeError, AttributeError, ValueError):
            data = data.decode().encode(encoding, "replace")
    if random.random() < 0.8:
        data = spoil(random, data)
    options: dict[str, str | int | bool | None] = {
        "encoding": encoding if random.random() < 0.5 else "utf-8",
        "errors": random.choice(("strict", "replace", "skip")),
        "tokenizer": random.choice(("word", "whitespace", "char")),
        "fold_case": random.random() < 0.5,
        "normalize": random.random() < 0.5,
        "min_count": random.choice((1, 2, "auto")),
        "max_vocab": random.choice((None, None, 1, 5)),
        "labels": random.choice(("none", "none", "class", "number")),
        "label_prefix": random.choice(("__label__", "__label__", "", "a", " ")),
    }
    data, ending = _squeezed(random, data)
    return Case({f"corpus.txt{ending}": data}, reader="corpus", options=options)


def _squeezed(random: Random, data: bytes) -> tuple[bytes, str]:
    if random.random() < 0.75:
        return data, ""
    ending = random.choice([*SQUEEZE])
    data = SQUEEZE[ending](data) * random.choice((1, 1, 2))
    return (spoil(random, data) if random.random() < 0.7 else data), ending


def records(random: Random) -> Case:
    """Text in columns."""
    kind, said = random.choice((("csv", CSV), ("tsv", TSV), ("jsonl", JSONL)))
    data = said.encode()
    if kind == "jsonl" and random.random() < 0.5:
        data = spoil_json_lines(random, data)
    else:
        data = spoil(random, data, [LABELLED.encode()])
    data, ending = _squeezed(random, data)
    options: dict[str, str | int | bool | None] = {
        "errors": random.choice(("strict", "replace", "skip")),
        "labels": random.choice(("none", "class", "number")),
        "text_column": random.choice((None, None, "label", "\x1b")),
        "delimiter": random.choice((None, None, None, ";", "tab", " ", "é")),
        "header": random.random() < 0.8,
    }
    return Case({f"corpus.{kind}{ending}": data}, reader="corpus", options=options)


@functools.cache
def columnar_files() -> Mapping[str, bytes]:
    """Write the same records as Parquet and Arrow in several ways; by name."""
    import pyarrow
    from pyarrow import feather, parquet

    table = pyarrow.table(
        {"text": ["a warm film", "दो\nlines", None, "plain"] * 9, "label": ["1", "x", "2", "1"] * 9}
    )
    made: dict[str, io.BytesIO] = {name: io.BytesIO() for name in ("snappy", "zstd", "lz4", "none")}
    parquet.write_table(table, made["snappy"], row_group_size=10)
    parquet.write_table(table, made["zstd"], compression="zstd", use_dictionary=False)
    feather.write_feather(table, made["lz4"], compression="lz4", chunksize=10)
    encoded = table.set_column(0, "text", table["text"].dictionary_encode())
    with pyarrow.ipc.new_stream(made["none"], encoded.schema) as writer:
        writer.write_table(encoded)
    return {name: out.getvalue() for name, out in made.items()}


def columns(random: Random) -> Case:
    """Parquet and Arrow files."""
    data = spoil(random, random.choice([*columnar_files().values()]))
    data, ending = _squeezed(random, data)
    name = random.choice(("corpus", "corpus.parquet", "corpus.arrow"))
    options: dict[str, str | int | bool | None] = {
        "labels": random.choice(("none", "class", "number")),
        "text_column": random.choice((None, None, None, "label")),
        "input_format": random.choice(("auto", "auto", "parquet", "arrow")),
    }
    return Case({f"{name}{ending}": data}, reader="corpus", options=options)


def settings(random: Random) -> Case:
    """A settings file."""
    lines = to_yaml(TrainSettings()).splitlines()
    if random.random() < 0.5:
        random.shuffle(lines)
    kept = lines[: random.choice((2, 5, 20, 80))]
    for place, line in enumerate(kept):
        if random.random() < 0.1:
            name = random.choice([*schema(TrainSettings)])
            kept[place] = f"{name}: {json.dumps(odd_value(random))}"
        elif random.random() < 0.05:
            kept[place] = line.replace("_", "-")
    data = "\n".join(kept).encode("utf-8", "replace")
    return Case({"config.yaml": spoil(random, data)}, reader="settings")


def vectors(random: Random) -> Case:
    """A file of vectors in one of the formats, with what lies beside it."""
    kind = random.choice([*vector_files()])
    files = dict(vector_files()[kind])
    first = next(iter(files))
    chosen = random.choice([first, *files])
    data = files[chosen]
    if kind.startswith("npy") and chosen == first and random.random() < 0.6:
        data = random.choice((spoil_npy, lying_npy))(random, data)
    elif kind.startswith("safetensors") and chosen == first and random.random() < 0.6:
        length = int.from_bytes(data[:8], "little")
        header = as_json(spoil_json(random, json.loads(data[8 : 8 + length])))
        data = struct.pack("<Q", len(header)) + header + data[8 + length :]
    else:
        data = spoil(random, data)
    if chosen == first:
        data, _ = _squeezed(random, data)
    files[chosen] = data
    if len(files) > 1 and random.random() < 0.05:
        del files[random.choice([*files][1:])]
    options: dict[str, str | int | bool | None] = {
        "errors": random.choice(("strict", "replace", "skip")),
        "encoding": random.choice(ENCODINGS) if random.random() < 0.1 else "utf-8",
    }
    return Case(files, reader="vectors", options=options)


def model(random: Random) -> Case:
    """A model folder in which one or two files were changed."""
    return Case(_spoilt_model(random), reader="model")


@functools.cache
def saved_counts() -> Mapping[str, bytes]:
    """Count a small text; the files of the folder."""
    with TemporaryDirectory() as name, mock.patch.dict(os.environ, EMBED_CACHE=f"{name}/kept"):
        corpus = Path(name) / "corpus.txt"
        corpus.write_text(SCRIPTS, encoding="utf-8")
        api.count(corpus, Path(name) / "counts", workers=1, cache=False)
        return _files(Path(name) / "counts")


def counting(random: Random) -> Case:
    """Spoilt text to count, or a question to a folder of counts that was changed."""
    argv = ["count", *random.choice(([], ["--word", "king"], ["--pair", "king", "the"]))]
    argv += ["--format", random.choice(("table", "json", "tsv"))]
    if random.random() < 0.3:
        case = random.choice((text, records))(random)
        argv += [*case.files, "--out", "new", "--workers", "1", "--quiet"]
        return Case(case.files, tuple(argv))
    spoilt = _spoilt(random, saved_counts())
    return Case({f"counts/{name}": data for name, data in spoilt.items()}, (*argv, "counts"))


def _spoilt_model(random: Random) -> dict[str, bytes]:
    files = _spoilt(random, models()[random.choice([*models()])])
    return {f"model/{name}": data for name, data in files.items()}


def _spoilt(random: Random, bundle: Mapping[str, bytes]) -> dict[str, bytes]:
    """Change one or two files of a folder."""
    files = dict(bundle)
    for _ in range(random.choice((1, 1, 2))):
        name = random.choice([*files])
        files[name] = _spoilt_file(random, name, files)
    if random.random() < 0.8:
        files["manifest.json"] = _with_sizes(files)
    if random.random() < 0.05:
        files.pop(random.choice([*files]))
    return files


def _spoilt_file(random: Random, name: str, files: Mapping[str, bytes]) -> bytes:
    data = files[name]
    how = random.random()
    if how < 0.05:
        links = ("/dev/zero", "/dev/null", "/etc/hostname", ".", "..", name, "table.npy", "../x")
        return b"->" + random.choice(links).encode()
    if how < 0.1:
        return random.choice([*files.values()])
    with suppress(Exception):  # a file in the place of another has no such parts
        if how < 0.7 and name.endswith(".npy"):
            return spoil_npy(random, data)
        if how < 0.7 and name.endswith(".json"):
            return as_json(spoil_json(random, json.loads(data)))
        if how < 0.7 and name.endswith(".jsonl"):
            return spoil_json_lines(random, data)
    return spoil(random, data, [*files.values()])


def _with_digests(files: Mapping[str, bytes]) -> bytes:
    """Return a manifest whose digests are those of the files, whatever else it says."""
    with suppress(Exception):  # whatever is wrong with the manifest stays wrong
        body = json.loads(_with_sizes(files))
        body.pop("sha256", None)
        for name, entry in body["files"].items():
            entry["sha256"] = hashlib.sha256(files[name]).hexdigest()
        text = json.dumps(body, ensure_ascii=False, sort_keys=True, indent=1)
        body["sha256"] = hashlib.sha256(text.encode()).hexdigest()
        return (json.dumps(body, ensure_ascii=False, indent=1) + "\n").encode()
    return files.get("manifest.json", b"")


def _with_sizes(files: Mapping[str, bytes]) -> bytes:
    """Return a manifest that says the sizes that the files have, whatever else it says."""
    with suppress(Exception):  # whatever is wrong with the manifest stays wrong
        manifest = json.loads(files["manifest.json"])
        for name, entry in manifest["files"].items():
            entry["bytes"] = len(files[name])
        with suppress(Exception):
            manifest["shape"] = np.load(io.BytesIO(files["table.npy"])).shape
        return as_json(manifest)
    return files.get("manifest.json", b"")


def kept_run(random: Random) -> Case:
    """A checkpoint."""
    files = dict(checkpoint())
    folder = "model.checkpoint/state"
    kept = {path.name: files[str(path)] for path in map(Path, files) if path.parent.name == "state"}
    name = random.choice([*kept])
    kept[name] = _spoilt_file(random, name, kept)
    if name != "manifest.json" and random.random() < 0.8:
        kept["manifest.json"] = _with_digests(kept)
    return Case(
        files | {f"{folder}/{name}": data for name, data in kept.items()}, reader="checkpoint"
    )


def kept_ids(random: Random) -> Case:
    """A cache of ids that was changed, and the text that one of its entries is of."""
    kept = dict(kept_entries())
    names = sorted({path.partition("/")[0] for path in kept})
    labels = random.choice(("none", "class"))
    forged = False
    for _ in range(random.choice((1, 1, 2))):
        path, other = random.choice([*kept]), random.choice([*kept])
        how = random.random()
        if how < 0.1:
            kept[path], kept[other] = kept[other], kept[path]
        elif how < 0.2:
            one, two = random.sample(names, 2)
            kept |= {p.replace(one, two): d for p, d in kept.items() if p.startswith(one)}
        elif how < 0.25:
            del kept[path]
        elif how < 0.3:
            links = ("/dev/zero", "/dev/null", "/etc/hostname", ".", "..", f"../{other}", "x")
            kept[path] = b"->" + random.choice(links).encode()
        else:
            kept[path] = spoil(random, kept[path], [*kept.values()])
    if random.random() < 0.4:
        forged = True
        for name in names:
            _seal(random, kept, name)
    files = {f"../cache/{path}": data for path, data in kept.items()}
    text = LABELLED if labels == "class" or random.random() < 0.5 else SCRIPTS
    return Case(
        {**files, "corpus.txt": text.encode()},
        reader="kept ids",
        options={"labels": labels, "forged": forged},
    )


def _seal(random: Random, kept: dict[str, bytes], entry: str) -> None:
    """Make the digests of an entry of the cache those of its files."""
    files = {path.partition("/")[2]: data for path, data in kept.items() if f"{entry}/" in path}
    manifest = f"{entry}/manifest.json"
    kept[manifest] = _with_digests(files)
    if random.random() < 0.2:
        with suppress(Exception):  # it may be no JSON any more
            kept[manifest] = as_json(spoil_json(random, json.loads(kept[manifest])))


def judgements(random: Random) -> Case:
    """A file to evaluate on, a vocabulary, a list of phrases, or what a search goes through."""
    name, said = random.choice(
        (
            ("pairs", PAIRS),
            ("questions", QUESTIONS),
            ("vocab.txt", "\n".join(WORDS)),
            ("phrases", PHRASES),
            ("space", SPACE),
        )
    )
    data = spoil(random, said.encode(), [SCRIPTS.encode()])
    return Case({name: data}, reader=name.removesuffix(".txt").replace("vocab", "vocabulary"))


WORD_LISTS = ["king", "queen", "the", "हिन्दी", "naive", "\x1b[31m", "", "-", "a b", "\udcff", "<b>"]
VALUES = [
    "0", "1", "2", "3", "-1", "1.5", "1e400", "nan", "99999999999999999999", "1" * 500, "x",
    "", "none", "auto", "true", "json", "tsv", "csv", "table", "text", "html", "svg", "npy",
    "tokens", "ids", "cosine", "skip", "zero", "replace", "count", "0:3", ":", "-2:", "a:b",
    "model", "vectors.txt", "corpus.txt", "labels.txt", "numbers.txt", "pairs", "questions",
    "config.yaml", "out", "out.txt.gz", "new/out.npy", "missing", "skipgram", "cbow",
    "classify", "regress", "adam", "sgd", "word", "char", "utf-16", "a=1", "30s", "1000",
    "off", "/dev/null", "%s", "{}", "*.txt", "[", "~", "balanced", "good=2,bad=1", "flatten",
    "max", "similarity", "analogy", "glove", "projector", "safetensors", *WORD_LISTS,
]  # fmt: skip
SMALL = ["--dim", "3", "--epochs", "1", "--workers", "1"]
# What can rightly take long, or touch what lies outside the folder of a case.
LEFT_OUT = {"--trials", "--epochs", "--workers", "--help", "--dim", "--group", "--max-expansion"}


def arguments(random: Random) -> Case:
    """A command line of real flags and odd values, over good files."""
    argv = [*random.choice(ASKED)]
    argv += [] if argv[0] in ("convert", "train") else ["--model", "model"]
    if random.random() < 0.5:
        argv = [random.choice([*_flags()])]
        if argv == ["train"]:
            argv += [*SMALL, *random.choice(([], ["--task", "classify"], ["--task", "regress"]))]
            argv.append(random.choice(("corpus.txt", "labels.txt", "numbers.txt")))
        if argv == ["tune"]:
            argv += ["labels.txt", "--task", "classify", "--trials", "2", *SMALL]
        argv += random.choices(VALUES, k=random.choice((0, 1, 1, 2, 3, 5)))
    command = argv[0]
    for _ in range(random.choice((0, 1, 1, 2, 3, 5))):
        flag, fitting = random.choice(_flags()[command])
        argv.append(flag)
        if fitting:
            argv.append(random.choice(fitting if random.random() < 0.7 else VALUES))
    if random.random() < 0.05:
        argv.insert(random.randrange(len(argv)), random.choice(("--help", "--version", "--x", "-")))
    return Case(
        {
            **{
                f"model/{name}": data for name, data in models()[random.choice([*models()])].items()
            },
            **_good_files(),
        },
        argv=tuple(argv),
        stdin=random.choice((b"", b"king\nqueen\n", b"\xff\xfe\x00", b"king queen the\n" * 3)),
        terminal=random.random() < 0.3,
    )


@functools.cache
def _good_files() -> Mapping[str, bytes]:
    return {
        "corpus.txt": SCRIPTS.encode(),
        "labels.txt": LABELLED.encode(),
        "numbers.txt": NUMBERED.encode(),
        "pairs": PAIRS.encode(),
        "questions": QUESTIONS.encode(),
        "config.yaml": b"window: 2\n",
        "vectors.txt": vector_files()["word2vec4"]["file"]
        if "word2vec4" in vector_files()
        else b"2 1\na 0.5\nb 1\n",
    }


@functools.cache
def _flags() -> Mapping[str, list[tuple[str, list[str]]]]:
    """List the flags of every command with values that they may take; a switch has none."""
    from embedcli.cli import app, flags

    found: dict[str, list[tuple[str, list[str]]]] = {}
    for name in app.COMMANDS:
        command = app.Commands().get_command(None, name)
        found[name] = [
            (flag, [] if param.is_flag else _fitting(param.metavar or flags.metavar_of(param)))
            for param in command.params
            if param.param_type_name == "option"
            for flag in (*param.opts, *param.secondary_opts)
            if flag not in LEFT_OUT
        ]
    return found


FITTING = {
    "N": ["0", "1", "2", "7", "99", "1000000000", "999999999999999999"],
    "X": ["0", "0.5", "1", "1e-9", "1e9", "1e300"],
    "TEXT": ["king", "the queen", "good", "utf-8", "text", "\x1b[31m"],
    "WORD": ["king", "queen", "हिन्दी", "\x1b[31m", "zzz"],
    "LABEL": ["good", "new", "1.5", "2", "\x1b[31m"],
    "PATH": ["model", "vectors.txt", "out", "new/out.npy", "corpus.txt", "missing"],
    "A:B": ["0:2", ":", "-2:", "5:1", "0:99999999999999999999"],
    "NAME|FILE": ["config.yaml", "cbow", "skipgram", "missing", "model"],
}


def _fitting(metavar: str | None) -> list[str]:
    """Return values for a flag whose value is called so, if it has a name."""
    metavar = metavar or "TEXT"
    if metavar in FITTING:
        return FITTING[metavar]
    return [value for word in metavar.split("|") for value in FITTING.get(word, [word])]


ASKED = [
    ["info"], ["info", "--verify"], ["info", "--format", "json"],
    ["lookup", "king", "--oov", "zero"], ["lookup", "--id", "0", "--format", "json"],
    ["lookup", "--text", "the king", "--oov", "skip"],
    ["lookup", "king", "--format", "npy", "--oov", "skip"], ["show-table"],
    ["show-table", "--format", "json"], ["show-table", "--format", "tsv"],
    ["show-table", "--format", "csv"], ["show-table", "--sort", "norm"],
    ["show-table", "--sort", "count"], ["show-table", "--sort", "token"],
    ["neighbors", "king", "the", "film", "--oov", "skip"],
    ["neighbors", "a", "--metric", "euclidean", "--format", "json"],
    ["analogy", "king", "queen", "the", "--oov", "skip"],
    ["analogy", "a", "warm", "film", "--method", "3cosmul", "--format", "tsv"],
    ["similarity", "a", "film", "--oov", "skip"],
    ["odd", "a", "warm", "film", "--format", "json"], ["predict", "labels.txt"],
    ["predict", "labels.txt", "-k", "9", "--format", "json"],
    ["predict", "labels.txt", "--format", "tsv"], ["vectors", "the king", "a film"],
    ["vectors", "the king", "--sif", "0.1", "--format", "json"],
    ["vectors", "a film", "--format", "npy"], ["evaluate", "pairs"],
    ["evaluate", "questions", "--format", "json"],
    ["evaluate", "labels.txt", "--task", "classify"],
    ["evaluate", "numbers.txt", "--task", "regress", "--format", "json"],
    ["map", "--format", "html"], ["map", "--format", "svg", "--words", "3"],
    ["map", "--format", "json", "--layout", "tsne"], ["map", "--format", "tsv"],
    ["explain", "the king can't see"], ["explain", "a warm film", "--format", "json"],
    ["explain", "a warm film", "--label", "good", "--format", "html"],
    ["explain", "a film", "--label", "1", "--label", "2", "--format", "svg"],
    ["explain", "--word", "king"], ["explain", "--word", "film", "--format", "html"],
    ["convert", "model", "out.txt"], ["convert", "model", "out", "--to", "projector"],
    ["convert", "model", "out.safetensors"], ["convert", "model", "new"],
    ["train", "corpus.txt", "--vectors", "model", "--out", "new", *SMALL],
]  # fmt: skip


def questions_to_a_model(random: Random) -> Case:
    """A command on a model folder that was changed, or on hostile words in a good one."""
    files = _spoilt_model(random) if random.random() < 0.8 else _hostile_words(random)
    asked = random.choice(ASKED)
    named = [] if asked[0] in ("convert", "train") else ["--model", "model"]
    return Case({**_good_files(), **files}, argv=(*asked, *named), terminal=random.random() < 0.3)


def _hostile_words(random: Random) -> dict[str, bytes]:
    """Return a good model whose words, labels and log are made of what does harm elsewhere."""
    files = dict(models()[random.choice(TASKS)])
    words = files["vocab.txt"].decode().split("\n")[:-1]
    for place in range(len(words)):
        piece = random.choice(PIECES).decode("utf-8", "ignore").replace("\n", "")
        words[place] = f"{piece}{words[place]}{random.choice(('', piece))}"
    files["vocab.txt"] = ("\n".join([*dict.fromkeys(words)]) + "\n").encode()
    files["manifest.json"] = _with_sizes(files)
    return {f"model/{name}": data for name, data in files.items()}


def questions_to_vectors(random: Random) -> Case:
    """A command on a spoilt file of vectors."""
    case = vectors(random)
    asked = random.choice([each for each in ASKED if "model" not in each])
    name = next(iter(case.files))
    flag = "--vectors" if asked[0] == "train" else "--model"
    if random.random() < 0.3:
        asked, flag = (
            ["convert", name, "out" + random.choice((".txt", ".npy", ".tsv", ".bin", ""))],
            "",
        )
    return Case(
        {**_good_files(), **case.files},
        argv=(*asked, *([flag, name] if flag else [])),
        terminal=random.random() < 0.3,
    )


def training(random: Random) -> Case:
    """A training on spoilt text, or by a spoilt settings file; or one that goes on."""
    how = random.random()
    argv = ["train", *SMALL, "--out", "model", "--quiet"]
    if how < 0.15:
        return Case(dict(kept_run(random).files), ("train", "--resume", "--out", "model"))
    if how < 0.35:
        files = {**settings(random).files, "corpus.txt": LABELLED.encode()}
        return Case(files, (*argv, "corpus.txt", "--config", "config.yaml"))
    case = random.choice((text, records))(random)
    argv += [*case.files, "--task", random.choice(TASKS)]
    for name in ("encoding", "errors", "tokenizer", "min_count", "max_vocab", "text_column"):
        value = case.options.get(name)
        if value is not None:
            argv += [f"--{name.replace('_', '-')}", str(value)]
    argv += random.choice(([], ["--valid-share", "0.4"], ["--pool", "flatten", "--length", "3"]))
    argv += random.choice(([], ["--no-cache"], ["--lr", "1e18"], ["--batch-size", "1"]))
    return Case(case.files, tuple(argv))


def resuming(random: Random) -> Case:
    """A run to go on with whose checkpoint was changed; its digests may fit."""
    files = dict(random.choice(stopped_runs()))
    folder = "m.checkpoint/state"
    kept = {path.name: files[str(path)] for path in map(Path, files) if path.parent.name == "state"}
    if random.random() < 0.2:
        name = random.choice([*kept])
        kept[name] = spoil(random, kept[name])
    else:
        _spoil_checkpoint(random, kept)
    text = random.choice(([], ["corpus.txt"], ["corpus.txt"], ["corpus.txt"]))
    files = {path: data for path, data in files.items() if not path.startswith(folder)}
    files |= {f"{folder}/{name}": data for name, data in kept.items()}
    return Case(files, ("train", *text, "--resume", "--out", "m", "--no-cache", "--quiet"))


# What may rightly make a run take long, or more processes, as on a command line.
COSTLY = ("epochs", "workers", "length", "hidden", "tile", "tile_negatives", "window", "batch_size")


def _spoil_checkpoint(random: Random, kept: dict[str, bytes]) -> None:
    """Change the state or the arrays of a checkpoint, and make its digests fit."""
    said = json.loads(kept["state.json"])
    for _ in range(random.choice((1, 1, 2))):
        if random.random() < 0.6:
            part = random.choice(_parts(said))
            changed = spoil_json(random, part)
            if isinstance(changed, dict):
                costly = {name: part[name] for name in COSTLY if name in part}
                part.clear()
                part.update({**changed, **costly})
        else:
            name = random.choice([name for name in kept if name.endswith(".npy")])
            with suppress(Exception):  # it may be spoilt already, and no array any more
                kept[name] = spoil_npy(random, kept[name])
            if random.random() < 0.2:
                other = random.choice(("x", "best.table", "slots.table.x", "found"))
                kept[f"{other}.npy"] = kept.pop(name)
    kept["state.json"] = as_json(said)
    manifest = json.loads(kept["manifest.json"])
    manifest["files"] = {name: {} for name in kept if name != "manifest.json"}
    kept["manifest.json"] = _with_digests(kept | {"manifest.json": as_json(manifest)})


def _parts(said: dict[str, Any]) -> list[dict[str, Any]]:
    """List the state of a checkpoint, and the parts of it."""
    return [each for each in (said, *said.values()) if isinstance(each, dict)]


def updating(random: Random) -> Case:
    """A training that goes on from a changed model, whose digests may fit."""
    task = random.choice(TASKS)
    files = dict(models()[task])
    for _ in range(random.choice((1, 1, 2))):
        name = random.choice([*files])
        files[name] = _spoilt_file(random, name, files)
    if random.random() < 0.9:
        files["manifest.json"] = _with_digests(files)
    text = {"classify": LABELLED + MORE, "regress": NUMBERED}.get(task, SCRIPTS + MORE)
    argv = ["train", "corpus.txt", "--update", "model", "--out", random.choice(("model", "new"))]
    argv += ["--epochs", "1", "--workers", "1", "--batch-size", "16", "--quiet"]
    argv += random.choice(([], [], ["--optimizer", "adam"], ["--vectors", "vectors.txt"]))
    return Case(
        {
            **{f"model/{name}": data for name, data in files.items()},
            "corpus.txt": text.encode(),
            "vectors.txt": b"2 3\na 1 2 3\nnew 3 2 1\n",
        },
        tuple(argv),
    )


def tokenizing(random: Random) -> Case:
    """The tokens of spoilt text, from a file or standard input."""
    case = random.choice((text, records))(random)
    [(name, data)] = case.files.items()
    from_stdin = random.random() < 0.5
    argv = ["tokenize", *([] if from_stdin else [name])]
    argv += ["--format", random.choice(("ids", "tokens", "json"))]
    for option in ("encoding", "errors", "tokenizer", "min_count", "max_vocab"):
        value = case.options.get(option)
        if value is not None and random.random() < 0.7:
            argv += [f"--{option.replace('_', '-')}", str(value)]
    argv += random.choice(([], ["--save-vocab", "out.txt"], ["--save-ids", "out.npy"]))
    files: dict[str, bytes] = {} if from_stdin else dict(case.files)
    if random.random() < 0.3:
        files["vocab.txt"] = spoil(random, "\n".join(WORDS).encode())
        argv += ["--vocab", "vocab.txt", "--oov", random.choice(("skip", "unknown", "error"))]
    return Case(files, tuple(argv), data if from_stdin else b"", random.random() < 0.3)


def asking(random: Random) -> Case:
    """Questions on standard input, or a spoilt file to evaluate on."""
    files = {f"model/{name}": data for name, data in models()["skipgram"].items()}
    if random.random() < 0.5:
        case = judgements(random)
        argv = ["evaluate", next(iter(case.files)), "--model", "model"]
        argv += random.choice(
            ([], ["--task", "similarity"], ["--task", "analogy"], ["--no-fold-case"])
        )
        return Case({**files, **case.files}, tuple(argv), terminal=random.random() < 0.3)
    command = random.choice(("neighbors", "analogy", "similarity", "odd", "lookup", "vectors"))
    argv = [command, "--model", "model", "--format", random.choice(("table", "json", "tsv"))]
    if command not in ("vectors",):
        argv += ["--oov", "skip"]
    stdin = spoil(random, b"king queen the\nking the\nthe\n\nking\n")
    return Case(files, tuple(argv), stdin, random.random() < 0.3)


# How many of a hundred thousand inputs each target gets: those of a reader alone are cheap.
TARGETS: dict[str, tuple[Make, int]] = {
    "text": (text, 7_000),
    "records": (records, 6_000),
    **({"columns": (columns, 6_000)} if find_spec("pyarrow") else {}),
    "settings": (settings, 20_000),
    "vectors": (vectors, 33_000),
    "model": (model, 3_000),
    "checkpoint": (kept_run, 4_000),
    "kept ids": (kept_ids, 2_000),
    "judgements": (judgements, 25_000),
    "arguments": (arguments, 500),
    "counting": (counting, 400),
    "questions to a model": (questions_to_a_model, 600),
    "questions to vectors": (questions_to_vectors, 300),
    "training": (training, 150),
    "resuming": (resuming, 300),
    "updating": (updating, 300),
    "tokenizing": (tokenizing, 250),
    "asking": (asking, 200),
}
