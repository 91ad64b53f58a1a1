"""A transformer for scikit-learn: texts to vectors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from embedcli import api
from embedcli.config import TextSettings
from embedcli.table import EmbeddingTable
from embedcli.text.iterables import write_texts
from embedcli.text.vocabulary import Vocabulary


class Vectorizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turns each text into the mean of the vectors of its words, as `embed vectors` does.

    `model` is a model folder, a file of vectors, or a table; `sif` weights each word by
    `sif / (sif + share)`, as in `embedcli.vectors`.

    After `fit` the estimator needs the model no more: `vectors_` (V, D) float32, `words_` (the
    vocabulary as UTF-8 lines), `counts_` and `settings_` (how text is cut) are all it holds, and
    all that is pickled. Words outside the vocabulary are left out.
    """

    def __init__(
        self, model: str | Path | EmbeddingTable = "embeddings", *, sif: float | None = None
    ) -> None:
        self.model = model
        self.sif = sif

    def fit(self, texts: Any = None, y: Any = None) -> Vectorizer:
        """Read the table; raises StoreError or FormatError."""
        del texts, y
        table = self.model if isinstance(self.model, EmbeddingTable) else api.load(self.model)
        settings, again = table.text_settings()
        self.words_ = table.vocabulary.to_bytes()
        self.vectors_ = np.array(table.vectors, np.float32)
        counts = table.vocabulary.counts
        self.counts_ = None if counts is None else np.array(counts, np.int64)
        self.settings_ = None if again else asdict(TextSettings(**_text_settings(settings)))
        return self

    def transform(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Return the vectors of texts, (B, D); one without a known word is all zeros."""
        check_is_fitted(self)
        settings = self.settings_
        table = EmbeddingTable(
            Vocabulary.of_lines(self.words_, self.counts_),
            self.vectors_,
            None if settings is None else lambda: TextSettings(**settings),
        )
        with TemporaryDirectory(prefix="embed-") as folder:
            place, _ = write_texts(texts, Path(folder))
            rows = list(api.vectors(place, table, sif=self.sif, oov="skip").lines)
        return np.array(rows, np.float32).reshape(len(rows), table.dim)

    def get_feature_names_out(self, names: Any = None) -> NDArray[np.object_]:
        """Return the names of the D columns."""
        del names
        check_is_fitted(self)
        return np.array([f"embed{place}" for place in range(self.vectors_.shape[1])], object)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: a table that was given as the model is in `vectors_` already."""
        state = dict(super().__getstate__())
        if isinstance(self.model, EmbeddingTable):
            state["model"] = None
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


def _text_settings(settings: TextSettings) -> dict[str, Any]:
    """Return those of a model's settings that say how text is cut."""
    return {name: getattr(settings, name) for name in TextSettings.__dataclass_fields__}
