"""Views of a search for settings: lines of progress, tables, JSON, TSV and the curve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from statistics import fmean
from typing import TYPE_CHECKING, Any

from embedcli.views import charts
from embedcli.views.blocks import Block, Line, Pairs, Row, Table
from embedcli.views.records import to_json
from embedcli.views.terminal import spelled, tsv_line

if TYPE_CHECKING:
    from embedcli.tuning import Trial, Tuned

SHOWN = 10  # trials of a table


def line(trial: Trial, best: Trial | None, left: str) -> str:
    """Return what became of a trial, the best so far, and what is left of the search."""
    if trial.score is not None:
        found = f"{trial.score:.4f}"
    else:
        found = "stopped" if trial.stopped else "failed"
    so_far = "" if best is None else f"  best {best.score:.4f} (trial {best.number})"
    return f"trial {trial.number:3}  {found:7}{so_far}  {left} left  {_in_words(trial.settings)}"


def blocks_of(of: Tuned) -> Iterator[Block]:
    """Show the best settings, then the best trials."""
    stopped = sum(trial.stopped for trial in of.trials)
    yield Pairs(
        [
            ("trials", f"{len(of.trials):,}, of which {stopped:,} were stopped on the way"),
            (of.metric, f"{of.score:.4f}, the mean over {of.seeds} seed{'s' * (of.seeds > 1)}"),
            ("best", _in_words(of.best)),
            ("saved", f"{of.folder / 'best.yaml'}, trials.jsonl, curve.svg"),
        ]
    )
    yield Line([])
    done = [trial for trial in of.trials if trial.score is not None]
    done.sort(key=lambda trial: -(trial.score or 0.0))
    rows: list[Row] = [
        [str(each.number), f"{each.score:.4f}", f"{each.seconds:.1f}", _in_words(each.settings)]
        for each in done[:SHOWN]
    ]
    header = ["trial", of.metric, "seconds", "settings"]
    yield Table(header, rows, right=(True, True, True, False))


def record_of(of: Tuned) -> dict[str, Any]:
    """Return a search as JSON has it."""
    trials = [to_json(trial) for trial in of.trials]
    return {
        "best": dict(of.best),
        "metric": of.metric,
        "score": of.score,
        "seeds": of.seeds,
        "trials": trials,
    }


def tsv(of: Tuned) -> Iterator[str]:
    """Yield a line of names, then one for each trial."""
    names = list(dict.fromkeys(name for trial in of.trials for name in trial.settings))
    yield tsv_line(["trial", "seed", of.metric, "seconds", "elapsed", "stopped", *names])
    for each in of.trials:
        score = "" if each.score is None else f"{each.score:.6g}"
        facts = [each.number, each.seed, score, each.seconds, each.elapsed, int(each.stopped)]
        values = [spelled(each.settings[name]) if name in each.settings else "" for name in names]
        yield tsv_line([*map(str, facts), *values])


def curve(of: Tuned) -> str:
    """Return the scores of the trials, and the best so far, as SVG.

    Where lengths of vectors were tried, they are by length, with the means of each.
    """
    by_dim = all(set(trial.settings) == {"dim"} for trial in of.trials)
    points = [
        (int(trial.settings["dim"]) if by_dim else trial.number, trial.score)
        for trial in of.trials
        if trial.score is not None
    ]
    if not by_dim:
        best = accumulate((score for _, score in points), max)
        line = [(at, score) for (at, _), score in zip(points, best, strict=True)]
        return charts.search(points, line, of.metric, "trial")
    of_dim: dict[int, list[float]] = {}
    for dim, score in sorted(points):
        of_dim.setdefault(dim, []).append(score)
    line = [(dim, fmean(scores)) for dim, scores in of_dim.items()]
    return charts.search(points, line, of.metric, "dim")


def _in_words(settings: Mapping[str, Any]) -> str:
    said = ", ".join(f"{name} {spelled(value)}" for name, value in settings.items())
    return said or "the preset"
