"""Why a text was given a label or number: the contribution of each of its words.

An output of the network (a logit, or a number) is split into what it is for a text whose words are
all zeros, and a contribution of every word: gradient times input (Shrikumar et al. 2017, "Learning
important features through propagating activation differences", §2). Without a hidden layer the
network is linear in the rows of the words it pools, and this is exact:

    logit = bias + Σ contributions

So it is for fastText's models, which have no bias; but where their labels are the leaves of a tree
(hierarchical softmax), the logarithm of the probability is explained, and is not linear.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embedcli import metrics
from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import Tensor
from embedcli.fasttext import FastTextPredictor, Pooled, TextParts
from embedcli.prediction import Predictor, TextModel, probabilities
from embedcli.tasks.supervised import NGRAMS
from embedcli.text.encode import token_lines
from embedcli.text.texts import Texts
from embedcli.text.word_ngrams import ngram_texts
from embedcli.views import notebook


@notebook.shown
@dataclass(frozen=True)
class Contribution:
    """What a word of a text, or a word n-gram, adds to an output."""

    text: str
    kind: Literal["word", "ngram"]
    value: float


@dataclass(frozen=True)
class Attribution:
    """A predicted label or number, and what it is made of.

    `output` is the sum of `base`, of the contributions, and of `rest`, which is 0 but for rounding
    where `exact`; `scale` says what it is.
    """

    label: str | None  # None: a number
    probability: float | None
    scale: Literal["number", "logit", "log probability"]
    output: float
    base: float  # the output for words that are all zeros: the bias, where there is no hidden layer
    rest: float
    exact: bool
    contributions: tuple[Contribution, ...]  # words in the order of the text, then n-grams

    def _repr_html_(self) -> str:
        from embedcli.views import attribution, blocks

        return blocks.html_of(attribution.blocks_of([self]))


def explain_lines(
    predictor: TextModel,
    places: Sequence[str | Path],
    k: int = 1,
    threshold: float = 0.0,
) -> Iterator[tuple[Attribution, ...]]:
    """Yield what the predictions of each line are made of; the arguments are those of `predict`."""
    if isinstance(predictor, FastTextPredictor):
        for parts in predictor.read_parts(places):
            yield () if parts is None else _explain_parts(predictor, parts, k, threshold)
        return
    assert isinstance(predictor, Predictor)
    settings = predictor.settings
    if predictor.by_name:
        settings = replace(settings, label_column=None)
    read = token_lines(places, settings, predictor.coverage, by_name=predictor.by_name)
    line: list[str] = []
    for tokens, ended in read:
        line += tokens
        if ended:
            yield explain_line(predictor, line, k, threshold) if line else ()
            line = []
    if line:
        yield explain_line(predictor, line, k, threshold)


@np.errstate(all="ignore")  # of a model whose numbers are not finite
def explain_line(
    predictor: Predictor, tokens: Sequence[str], k: int = 1, threshold: float = 0.0
) -> tuple[Attribution, ...]:
    """Return what the predictions of one text are made of, the most probable label first."""
    model, task = predictor.model, predictor.task
    # 1. Look up the words that are read. Each is a row of a table of its own.
    found = model.table.lookup(tokens, predictor.oov, respell=False, otherwise="skip")
    predictor.coverage.add(found.known + found.unknown, found.unknown, found.composed)
    places = np.arange(len(found))
    read = predictor.network.read(Texts(places, np.array([0, len(places)]))).ids  # (N,)
    words = [found.tokens[place] for place in read.tolist()]
    rows = (
        found.vectors[read] if len(read) else np.zeros((1, model.table.dim), np.float32)
    )  # (N, D)
    network = predictor.network
    if network.ngrams is not None:
        ids = np.where(found.ids < 0, len(model.table), found.ids)[read]  # (N,)
        network = replace(network, ngrams=network.ngrams.of_words(ids))
    # 2. Apply the network to them, and to rows of zeros.
    texts = Texts(np.arange(len(read)), np.array([0, len(read)]))
    tables = {"table": Tensor(rows, requires_grad=True)}
    if network.ngrams is not None:
        tables[NGRAMS] = Tensor(model.head[NGRAMS], requires_grad=True)
    inputs = network.inputs(texts, len(rows))
    outputs = network.apply({**predictor.parameters, **tables}, inputs).data  # (1, C)
    zeros = {name: Tensor(np.zeros_like(each.data)) for name, each in tables.items()}
    base = network.apply({**predictor.parameters, **zeros}, inputs).data  # (1, C)
    scale = task.in_units(np.ones_like(base), predictor.parameters) - task.in_units(
        np.zeros_like(base), predictor.parameters
    )  # (1, C)
    in_units = task.in_units(outputs, predictor.parameters)[0]  # (C,)
    base = task.in_units(base, predictor.parameters)[0]  # (C,)
    # 3. Choose the outputs that are explained.
    chosen, shares = list(range(len(in_units))), None
    if task.label_kind == "class":
        shares = probabilities(outputs, model.settings.multi_label is True)[0]  # (C,)
        best = metrics.top_k(outputs, k)[0].tolist()
        chosen = [each for each in best if shares[each] >= threshold]
    # 4. Go back from each to the rows, along a tape of its own.
    made = []
    for each in chosen:
        mask = np.zeros_like(outputs)  # (1, C)
        mask[0, each] = scale[0, each]
        taped = network.apply({**predictor.parameters, **tables}, inputs)  # (1, C)
        (taped * Tensor(mask)).sum().backward()
        values = _gradient_times_input(tables["table"])  # (N,)
        contributions = [
            Contribution(word, "word", value)
            for word, value in zip(words, values.tolist(), strict=False)
        ]
        if network.ngrams is not None:
            names = ngram_texts(words, network.ngrams.longest)
            of_rows = _gradient_times_input(tables[NGRAMS])  # (G,)
            found_rows = network.ngrams.row_of[network.ngrams.of_texts(texts).ids]  # (n,)
            times = np.bincount(found_rows[found_rows >= 0], minlength=len(of_rows))  # (G,)
            contributions += [
                Contribution(name, "ngram", float(of_rows[row] / times[row]) if row >= 0 else 0.0)
                for name, row in zip(names, found_rows.tolist(), strict=True)
            ]
        output, start = float(in_units[each]), float(base[each])
        made.append(
            Attribution(
                label=model.labels[each] if shares is not None else None,
                probability=None if shares is None else float(shares[each]),
                scale="number" if shares is None else "logit",
                output=output,
                base=start,
                rest=output - start - sum(each.value for each in contributions),
                exact=not model.settings.hidden,
                contributions=tuple(contributions),
            )
        )
    return tuple(made)


@np.errstate(all="ignore")
def _explain_parts(
    predictor: FastTextPredictor, of: TextParts, k: int, threshold: float
) -> tuple[Attribution, ...]:
    """Return what a fastText model's predictions of one text are made of."""
    outputs = predictor.outputs(of.texts)[0]  # (C,)
    of_zeros = predictor.outputs(Pooled(np.zeros_like(of.texts.vectors)))[0]  # (C,)
    best, shares = predictor.best(of.texts, k)  # (1, k)
    made = []
    for label, share in zip(best[0].tolist(), shares[0].tolist(), strict=True):
        if share < threshold:
            continue
        values = (of.rows @ predictor.slope(label, of.texts)).astype(np.float64)  # (n,)
        words = zip(of.tokens, values.tolist(), strict=False)
        ngrams = zip(of.ngrams, values[len(of.tokens) :].tolist(), strict=True)
        output, base = float(outputs[label]), float(of_zeros[label])
        made.append(
            Attribution(
                label=predictor.labels[label],
                probability=share,
                scale="log probability" if predictor.is_tree else "logit",
                output=output,
                base=base,
                rest=output - base - float(values.sum()),
                exact=not predictor.is_tree,
                contributions=(
                    *(Contribution(text, "word", value) for text, value in words),
                    *(Contribution(text, "ngram", value) for text, value in ngrams),
                ),
            )
        )
    return tuple(made)


def _gradient_times_input(rows: Tensor) -> NDArray[np.float64]:
    """Return the sum over D of gradient times value of each row, (N,), and forget the gradient."""
    gradient, rows.grad = rows.grad, None
    values = np.zeros(len(rows.data))  # (N,)
    if isinstance(gradient, RowGrad):
        parts = np.einsum("nd,nd->n", gradient.rows, rows.data[gradient.ids], dtype=np.float64)
        np.add.at(values, gradient.ids, parts)
    elif gradient is not None:
        values = np.einsum("nd,nd->n", gradient, rows.data, dtype=np.float64)
    return values
