"""Measure the word tokenizer against gold segmentation: word F1, a language at a time.

    python bench/segmentation.py FOLDER [--segmenter NAME]

FOLDER holds a folder a language, made from the Universal Dependencies treebanks: `*.raw.txt` (a
sentence a line) and `*.gold.txt` (its tokens with blanks between; ▁ is a blank inside a token).
A word counts as found when a token covers just its characters; only gold tokens that hold a letter
or a digit count. A language with gold tokens alone is measured by how many of them stay whole.
"""

import argparse
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import regex

from embedcli.config import TextSettings
from embedcli.text.tokenizer import Tokenizer

HAS_WORD = regex.compile(r"[\p{L}\p{N}]")


@dataclass
class Score:
    """Words in the gold tokens, in ours, and in both."""

    gold: int = 0
    ours: int = 0
    both: int = 0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.both / (self.gold + self.ours)


def spans(text: str, tokens: list[str]) -> set[tuple[int, int]]:
    """Where in a text each token stands, one after the other."""
    found = set()
    end = 0
    for token in tokens:
        start = text.find(token, end)
        if start >= 0:
            end = start + len(token)
            found.add((start, end))
    return found


def spelt_alike(line: str) -> str:
    """Spell a line as the tokenizer spells tokens, so that they are found in it."""
    line = unicodedata.normalize("NFC", line).replace("\u00ad", "")
    line = line.replace("’", "'").replace("‘", "'")
    return unicodedata.normalize("NFC", line.lower().replace("i̇", "i"))


def score(raw: Path, gold: Path, tokenizer: Tokenizer) -> Score:
    """Compare a file of sentences with its gold tokens."""
    total = Score()
    sentences = raw.read_text(encoding="utf-8").split("\n")
    for sentence, wanted in zip(
        sentences, gold.read_text(encoding="utf-8").split("\n"), strict=True
    ):
        text = spelt_alike(sentence)
        words = [spelt_alike(word).replace("▁", " ") for word in wanted.split(" ")]
        theirs = {place for place in spans(text, words) if HAS_WORD.search(text[slice(*place)])}
        ours = spans(text, tokenizer.tokenize(sentence))
        total.gold += len(theirs)
        total.ours += len(ours)
        total.both += len(theirs & ours)
    return total


def whole(gold: Path, tokenizer: Tokenizer) -> float:
    """Share of the gold tokens that hold a letter or digit and come out as one token."""
    words = [word for word in gold.read_text(encoding="utf-8").split() if HAS_WORD.search(word)]
    return sum(tokenizer.tokenize(word) == [spelt_alike(word)] for word in words) / len(words)


def main() -> None:
    """Print a line a language."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--segmenter")
    arguments = parser.parse_args()
    tokenizer = Tokenizer(TextSettings(segmenter=arguments.segmenter))
    for folder in sorted(path for path in arguments.folder.iterdir() if path.is_dir()):
        for gold in sorted(folder.glob("*.gold.txt")):
            raw = gold.with_name(gold.name.replace(".gold.", ".raw."))
            if raw.exists():
                found = score(raw, gold, tokenizer)
                print(f"{folder.name:20} word F1 {found.f1:.4f}   {found.gold:,} words")
            else:
                print(f"{folder.name:20} whole   {whole(gold, tokenizer):.4f}")


if __name__ == "__main__":
    main()
