"""GloVe: predict how often two words stand near each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedcli.autodiff.tensor import Array
from embedcli.config import TrainSettings
from embedcli.cooccurrences import totals_of
from embedcli.counting import passes
from embedcli.messages import Message
from embedcli.nn.factorization import (
    Pairs,
    glove_gradients,
    glove_loss,
    glove_scores,
    glove_weights,
)
from embedcli.nn.initializers import initial_table
from embedcli.nn.losses import Total
from embedcli.tasks.counts import Counts, CountTask
from embedcli.tasks.task import Arrays, Example, Gradients, Loss, Shapes, candidates
from embedcli.tasks.words import Streams
from embedcli.text.encode import EncodedCorpus
from embedcli.tiling import TiledCells

SWEEPS = 5  # over the pairs, to fit the biases
DROP_PAGES_EVERY = 64  # batches
PARAMETERS = ("table", "output", "bias", "output_bias")


class GloVe(CountTask):
    """The task: let w·c + b + b' be the logarithm of how often word and context word co-occur.

    Pennington, Socher & Manning 2014, "GloVe: global vectors for word representation". The sum of
    the two tables is saved where the settings say so (§4.2), and the table of the words beside it.
    The biases start from those that predict the counts best without vectors. Otherwise all vectors
    first turn the same way, as what they have in common is what the biases lack.
    """

    tables = PARAMETERS
    answer_from = ("task.glove",)
    loss_formula = Message("task.loss_of_counts")
    update_refusal = (
        "glove learns from the counts of a whole text, and a model does not keep those of its own"
    )

    def _start(self, corpus: Counts, valid: EncodedCorpus | None, weights: Arrays | None) -> Arrays:
        settings = self.settings
        occurrences = np.asarray(corpus.vocabulary.counts)  # (V,)
        self._cells = TiledCells(
            corpus.parts, occurrences, settings.batch_size, settings.seed, corpus.folder
        )
        self.batches = self._cells.batches
        self.most_rows = dict.fromkeys(PARAMETERS, self._cells.most_rows)
        self._streams = Streams()
        self._ids = corpus.ids
        self._read = 0  # batches, by this process
        self._epoch, self._order = -1, np.zeros(0, np.int64)  # of the batches, in an epoch
        # Each batch stands for as many tokens of the text as its share of the pairs.
        self._tokens = corpus.tokens / max(corpus.cells, 1)
        if weights is not None:
            weights = {**weights, "table": weights.get("input", weights["table"])}
            return {name: weights[name] for name in PARAMETERS}
        words = len(corpus.vocabulary)
        table, output = (initial_table(settings, words, stream=stream) for stream in (0, 1))
        biases = _fitted_biases(corpus, settings)[:, None].astype(np.float32)  # (V, 1)
        return {"table": table, "output": output, "bias": biases, "output_bias": biases.copy()}

    def batch(self, epoch: int, index: int) -> Pairs:
        """Make a batch; each epoch takes them in another order."""
        if epoch != self._epoch:
            rng = self._streams.at(self.settings.seed, epoch, 0)
            self._epoch, self._order = epoch, rng.permutation(self.batches)
        self._read += 1
        if self._read % DROP_PAGES_EVERY == 0:
            self._cells.drop_pages()
        number, of = int(self._order[index]), self.settings
        return self._cells.pairs(number, of.x_max, of.alpha)

    def words(self, batch: Pairs) -> int:
        """Count the tokens that a batch stands for."""
        return round(len(batch.logs) * self._tokens)

    def loss(self, batch: Pairs) -> Total:
        """Put the loss on the tape: the plain version of `gradients`."""
        return Total(glove_loss([*self.parameters.values()], batch), len(batch.logs))

    def gradients(self, batch: Pairs, out: Gradients) -> Loss:
        """Compute the sum of a batch's losses and its gradients, by the fused kernel."""
        ids = 2 * (batch.words, batch.contexts)
        gradients = [out.rows(*each) for each in zip(PARAMETERS, ids, strict=True)]
        arrays = [tensor.data for tensor in self.parameters.values()]
        total = glove_gradients(arrays, batch, gradients)
        return Loss(total, total, len(batch.logs))

    @classmethod
    def finished(cls, settings: TrainSettings, parameters: Arrays) -> Arrays:
        """Return the arrays of a model: the sum of both tables, and the words' own beside it."""
        if not settings.sum_tables:
            return parameters
        table = parameters["table"]
        return {**parameters, "table": table + parameters["output"], "input": table}

    @classmethod
    def head_shapes(
        cls, settings: TrainSettings, words: int, labels: Sequence[str], head: Arrays
    ) -> Shapes:
        """Return the shapes of the output table, the biases, and the words' own table."""
        shapes: Shapes = {"output": (words, settings.dim), "bias": (words, 1)}
        shapes["output_bias"] = (words, 1)
        if "input" in head:
            shapes["input"] = (words, settings.dim)
        return shapes

    def examples(self, batch: Pairs, words: int) -> tuple[Array, list[Example]]:
        """Ask of each word how often the words near it stand there."""
        scores = glove_scores([*self.parameters.values()], batch).data  # (n,)
        ids, contexts = batch.words[batch.first], batch.contexts[batch.second]  # (n,)
        text = np.asarray(self._ids[:words])
        asked = []
        for id_ in dict.fromkeys(text.tolist()):
            place = int(np.flatnonzero(text == id_)[0])
            near = np.flatnonzero(ids == id_)  # (m,) pairs
            score, log, weight = (
                each[near].astype(np.float64) for each in (scores, batch.logs, batch.weights)
            )
            counted = candidates(
                "count",
                id=contexts[near],
                target=log,
                weight=weight,
                score=score,
                prediction=np.exp(score),
                target_in_units=np.exp(log),
                loss=weight / 2 * (score - log) ** 2,
            )
            asked.append(Example(place, [place], counted))
        return np.arange(len(text)), asked


def _fitted_biases(counts: Counts, settings: TrainSettings) -> Array:
    """Return the biases (V,) that predict log counts best without vectors, nearly.

    They start from those that make each pair as frequent as by chance; each sweep moves them half
    way to the weighted mean of what the other bias leaves.
    """
    size = len(counts.vocabulary)
    totals = np.maximum(totals_of(counts.parts, size), 1)  # (V,)
    biases: Array = np.log(totals) - np.log(totals.sum()) / 2  # (V,)
    for _ in range(SWEEPS):
        errors, weights = np.zeros(size), np.zeros(size)  # (V,)
        for rows, columns, found in passes(counts.parts):
            logs = np.log(found)  # (n,)
            each = glove_weights(logs, settings.x_max, settings.alpha)  # (n,)
            left = logs - biases[rows] - biases[columns]
            np.add.at(errors, rows, each * left)  # in their order, wherever a part ends
            np.add.at(weights, rows, each)
        biases += errors / np.maximum(weights, np.finfo(float).tiny) / 2
    return biases
