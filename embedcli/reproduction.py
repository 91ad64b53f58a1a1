"""A model trained again from its own settings, and compared byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from embedcli import __version__
from embedcli.errors import ConfigError, CorpusError
from embedcli.model import Model, verify_model
from embedcli.storage import files
from embedcli.storage.bundle import Bundle, open_bundle
from embedcli.text.corpus import fingerprint_of
from embedcli.text.sources import STDIN, find_sources
from embedcli.training import run
from embedcli.training.environment import environment
from embedcli.views import notebook

# Files that tell how a run went, or with which settings of no effect on the result.
NOT_COMPARED = ("config.yaml",)


@notebook.shown
class Difference(NamedTuple):
    """Something that was not the same when the model was trained; None where it is not known."""

    what: str
    then: str | None
    now: str | None


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """Whether training again gave the same bytes, and what differs from then."""

    model: str
    equal: bool
    digest: str  # SHA-256 of table.npy
    again: str | None  # of the table trained now; None if the text is another
    files: Mapping[str, bool]  # whether each file is the same
    differences: Sequence[Difference]  # version, text, processor, libraries

    def _repr_html_(self) -> str:
        from embedcli.views import blocks, records

        return blocks.html_of(records.reproduction(self))


def reproduce(
    folder: Path,
    sources: Sequence[str | Path] | None,
    sample: Callable[[str], Path],
    report: run.Report,
) -> Reproduction:
    """Train a model again in a folder beside it and compare; see `api.reproduce`."""
    model = verify_model(folder)
    bundle = _require_reproducible(folder, model)
    if sources is None:
        sources = [sample(model.settings.task)]
        if _fingerprint(sources) != model.corpus:
            raise CorpusError(
                f"{folder}: was not trained on the text of the package; expected its text",
                f"embed reproduce {folder} CORPUS",
            )
    now = {"embed": __version__, "text": _fingerprint(sources), **environment()}
    then = {"embed": bundle.embed, "text": model.corpus, **model.environment}
    differences = [
        Difference(name, then.get(name), now.get(name))
        for name in dict.fromkeys((*then, *now))
        if then.get(name) != now.get(name)
    ]
    again: str | None = None
    same: dict[str, bool] = {}
    if then["text"] == now["text"]:
        settings = replace(model.settings, checkpoint_every="off")
        with files.working_folder(folder) as work:
            again = run.start(sources, work / "model", settings, report, lambda: False).digest
            found = open_bundle(work / "model", "model").files
            names = sorted((bundle.files.keys() | found.keys()) - set(NOT_COMPARED))
            same = {name: bundle.files.get(name) == found.get(name) for name in names}
    return Reproduction(
        model=str(folder),
        equal=again is not None and all(same.values()),
        digest=model.digest,
        again=again,
        files=same,
        differences=differences,
    )


def _require_reproducible(folder: Path, model: Model) -> Bundle:
    """Return the bundle of a model; raises ConfigError where the model alone is not enough."""
    why = ""
    if model.bundle is None or model.start.get("from") == "file":
        why = "its vectors came from a file, and were not trained here"
    elif model.settings.update is not None:
        why = f"it continues another model, {model.settings.update}, whose bytes it does not know"
    elif model.settings.vectors is not None:
        why = f"its rows began with {model.settings.vectors}, whose bytes it does not know"
    if why or model.bundle is None:
        raise ConfigError(f"{folder}: cannot be reproduced: {why}")
    return model.bundle


def _fingerprint(places: Sequence[str | Path]) -> str:
    """Return the fingerprint of files, as `Corpus` makes it; raises CorpusError."""
    digests: list[tuple[int, str]] = []
    for source in find_sources(places):
        path: Any = Path(source.path)
        if source.path == STDIN or not path.is_file():
            raise CorpusError(
                f"{source.path}: cannot be read twice; expected files, to compare them first"
            )
        digests.append((path.stat().st_size, files.sha256(path)))
    return fingerprint_of(digests)
