"""Write the bundled sample texts from the sentences in `tools/sample/`.

    python tools/make_sample.py [FOLDER]

A sentence holds slots and choices. `{land}` draws a row of the table `land`, `{land.capital}` is
another cell of that row, `{land2}` a different row, `{Land}` the same word with a capital letter;
`(early|late)` is one or the other. A paragraph takes a sentence 1, a sentence 2 and every other
time a sentence 3 of its chapter, and all of them share the rows drawn, so that a paragraph speaks
of one king, one Monday, one Paris. The texts are the same bytes on every machine.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

SOURCES = Path(__file__).parent / "sample"
TARGET = Path(__file__).parent.parent / "embedcli" / "data"
SEED = 20

CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
SLOT = re.compile(r"\{(\w+?)(\d*)(?:\.(\w+))?\}")
ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])(?!one\b|uni|use|eu)")
PRONOUNS = {"he", "his", "him", "himself"}
# How often a sentence may come back to the letter: in the tales, and in the short reviews.
OFTEN, OFTEN_REVIEWED = 6, 30
TRIES = 300


class Draw:
    """Random draws from `Random.random` alone, whose numbers Python promises to keep."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed).random

    def below(self, n: int) -> int:
        """Draw a number from 0 to n - 1."""
        return int(self.random() * n)

    def shuffle(self, items: list[str]) -> None:
        """Shuffle in place."""
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]


@dataclass
class Chapter:
    """Sentences by their place in a paragraph, each place dealt out like a pack of cards."""

    name: str
    paragraphs: int
    places: dict[str, list[str]] = field(default_factory=dict)
    decks: dict[str, list[str]] = field(default_factory=dict)

    def deal(self, place: str, draw: Draw) -> str:
        """Deal the next sentence of a place, shuffling anew when all are out."""
        if not self.decks.get(place):
            self.decks[place] = list(self.places[place])
            draw.shuffle(self.decks[place])
        return self.decks[place].pop()


Row = dict[str, str]


@dataclass
class Grammar:
    """Tables of words and chapters of sentences, as one file of `tools/sample/` gives them."""

    tables: dict[str, list[Row]]
    chapters: list[Chapter]
    often: int
    said: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(cls, path: Path, often: int) -> Grammar:
        """Read the tables and chapters of a file."""
        tables: dict[str, list[Row]] = {}
        chapters: list[Chapter] = []
        columns: list[str] = []
        rows: list[Row] = []
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("table "):
                name, columns = line.split()[1], line.split()[3:]
                rows = tables[name] = []
            elif line.startswith("chapter "):
                _, name, paragraphs = line.split()
                chapters.append(Chapter(name, int(paragraphs)))
            elif re.match(r"[123]\. ", line):
                chapters[-1].places.setdefault(line[0], []).append(line[3:])
            elif line.strip():
                cells = [cell.strip() for cell in line.split("|")]
                rows.append(dict(zip(columns, cells, strict=True)))
        return cls(tables, chapters, often)

    def paragraph(self, chapter: Chapter, draw: Draw) -> str:
        """Make a paragraph of two or three sentences about the same rows."""
        bound: dict[str, Row] = {}
        sentences = []
        for place in sorted(chapter.places) if draw.below(2) else "12":
            if sentence := self.sentence(chapter, place, bound, draw):
                sentences.append(sentence)
            elif place < "3":
                raise SystemExit(f"chapter {chapter.name}: nothing new to say as sentence {place}")
        self.said.update(sentences)
        return " ".join(sentences)

    def sentence(
        self, chapter: Chapter, place: str, bound: dict[str, Row], draw: Draw
    ) -> str | None:
        """Deal a sentence that fits what came before and is not yet worn out."""
        for _ in range(TRIES):
            text = choose(chapter.deal(place, draw), draw)
            if self.refers(text) <= bound.keys():
                tried = dict(bound)
                sentence = self.fill(text, tried, draw)
                if self.said[sentence] < self.often:
                    bound.update(tried)
                    return sentence
        return None

    def refers(self, text: str) -> set[str]:
        """Whom a sentence calls he or she without having named them itself."""
        slots = [(name.lower(), n, (cell or "").lower()) for name, n, cell in SLOT.findall(text)]
        people = {name for name, rows in self.tables.items() if "he" in list(rows[0])[1:]}
        called = {name + n for name, n, cell in slots if name in people and cell in PRONOUNS}
        named = {name + n for name, n, cell in slots if cell not in PRONOUNS}
        return called - named

    def fill(self, text: str, bound: dict[str, Row], draw: Draw) -> str:
        """Fill the slots from the rows bound so far, drawing and binding those still open."""

        def cell(slot: re.Match[str]) -> str:
            name, number, column = slot[1].lower(), slot[2], (slot[3] or "").lower()
            row = self.row(name, number, bound, draw)
            word = row[column] if column else next(iter(row.values()))
            return capital(word) if (slot[3] or slot[1])[0].isupper() else word

        return ARTICLE.sub(r"\1n ", SLOT.sub(cell, text))

    def row(self, name: str, number: str, bound: dict[str, Row], draw: Draw) -> Row:
        """Find a slot's row, or draw one that no other slot of the paragraph has."""
        if name + number not in bound:
            taken = [row for key, row in bound.items() if key.rstrip("0123456789") == name]
            firsts = {next(iter(row.values())) for row in taken}
            free = [row for row in self.tables[name] if next(iter(row.values())) not in firsts]
            bound[name + number] = free[draw.below(len(free))]
        return bound[name + number]


def choose(text: str, draw: Draw) -> str:
    """Take one of each `(this|that)`, the innermost first."""
    while choice := CHOICE.search(text):
        options = choice[1].split("|")
        text = text[: choice.start()] + options[draw.below(len(options))] + text[choice.end() :]
    return re.sub(r" +", " ", text)


def capital(text: str) -> str:
    """Begin with a capital letter."""
    return text[:1].upper() + text[1:]


def paragraphs(source: str, often: int, draw: Draw) -> list[tuple[str, str]]:
    """Return (chapter, paragraph) for every chapter of a source, no paragraph twice."""
    grammar = Grammar.read(SOURCES / source, often)
    made: dict[str, str] = {}
    for chapter in grammar.chapters:
        wanted = len(made) + chapter.paragraphs
        while len(made) < wanted:
            made.setdefault(capital(grammar.paragraph(chapter, draw)), chapter.name)
    return [(name, unicodedata.normalize("NFC", text)) for text, name in made.items()]


def main(folder: Path) -> None:
    """Write the sample corpus, and the labelled reviews."""
    draw = Draw(SEED)
    tales = [paragraphs(name, OFTEN, draw) for name in ("english.txt", "hindi.txt")]
    lines = [text for tale in tales for _, text in tale]
    draw.shuffle(lines)
    opening = (SOURCES / "opening.txt").read_text(encoding="utf-8").splitlines()
    write(folder / "sample.txt", opening + lines)

    reviews = [
        f"__label__{label} {text}"
        for label, text in paragraphs("reviews.txt", OFTEN_REVIEWED, draw)
    ]
    draw.shuffle(reviews)
    write(folder / "reviews.txt", reviews)


def write(path: Path, lines: list[str]) -> None:
    """Write lines with a bare newline on every system."""
    path.write_bytes("".join(line + "\n" for line in lines).encode("utf-8"))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
