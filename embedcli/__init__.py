"""Train, inspect and explain word embeddings.

All public names can be imported from here. They are imported from the modules that define them
when they are first used, so that `import embedcli` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedcli.api import Cache as Cache
    from embedcli.api import analogy as analogy
    from embedcli.api import cache as cache
    from embedcli.api import clear_cache as clear_cache
    from embedcli.api import compare as compare
    from embedcli.api import convert as convert
    from embedcli.api import count as count
    from embedcli.api import describe as describe
    from embedcli.api import evaluate as evaluate
    from embedcli.api import explain as explain
    from embedcli.api import explain_pair as explain_pair
    from embedcli.api import explain_predictions as explain_predictions
    from embedcli.api import explain_word as explain_word
    from embedcli.api import from_gensim as from_gensim
    from embedcli.api import index as index
    from embedcli.api import load as load
    from embedcli.api import load_ensemble as load_ensemble
    from embedcli.api import lookup as lookup
    from embedcli.api import map_pair as map_pair
    from embedcli.api import map_words as map_words
    from embedcli.api import neighbors as neighbors
    from embedcli.api import neighbors_of as neighbors_of
    from embedcli.api import odd as odd
    from embedcli.api import predict as predict
    from embedcli.api import reproduce as reproduce
    from embedcli.api import sample as sample
    from embedcli.api import similarity as similarity
    from embedcli.api import stable_neighbors as stable_neighbors
    from embedcli.api import tokenize as tokenize
    from embedcli.api import train as train
    from embedcli.api import train_replicas as train_replicas
    from embedcli.api import tune as tune
    from embedcli.api import vectors as vectors
    from embedcli.attribution import Attribution as Attribution
    from embedcli.attribution import Contribution as Contribution
    from embedcli.comparison import ComparedWord as ComparedWord
    from embedcli.comparison import TableComparison as TableComparison
    from embedcli.config import CountSettings as CountSettings
    from embedcli.config import TextSettings as TextSettings
    from embedcli.config import TrainSettings as TrainSettings
    from embedcli.cooccurrences import Contexts as Contexts
    from embedcli.cooccurrences import Cooccurrences as Cooccurrences
    from embedcli.cooccurrences import Pair as Pair
    from embedcli.cooccurrences import Partner as Partner
    from embedcli.description import Description as Description
    from embedcli.ensemble import Ensemble as Ensemble
    from embedcli.ensemble import StableNeighbor as StableNeighbor
    from embedcli.ensemble import StableNeighbors as StableNeighbors
    from embedcli.errors import ConfigError as ConfigError
    from embedcli.errors import CorpusError as CorpusError
    from embedcli.errors import EmbedError as EmbedError
    from embedcli.errors import FormatError as FormatError
    from embedcli.errors import StoreError as StoreError
    from embedcli.errors import TrainingError as TrainingError
    from embedcli.errors import VocabularyError as VocabularyError
    from embedcli.errors import WorkerError as WorkerError
    from embedcli.evaluation import Analogies as Analogies
    from embedcli.evaluation import Classification as Classification
    from embedcli.evaluation import Regression as Regression
    from embedcli.evaluation import Section as Section
    from embedcli.evaluation import Similarity as Similarity
    from embedcli.formats.base import Options as Options
    from embedcli.formats.base import Read as Read
    from embedcli.indexing import Indexed as Indexed
    from embedcli.mapping import Arrangement as Arrangement
    from embedcli.mapping import Attribute as Attribute
    from embedcli.mapping import Map as Map
    from embedcli.mapping import MapPair as MapPair
    from embedcli.prediction import Label as Label
    from embedcli.prediction import Results as Results
    from embedcli.reproduction import Difference as Difference
    from embedcli.reproduction import Reproduction as Reproduction
    from embedcli.table import Analogy as Analogy
    from embedcli.table import Answers as Answers
    from embedcli.table import Comparison as Comparison
    from embedcli.table import EmbeddingTable as EmbeddingTable
    from embedcli.table import Found as Found
    from embedcli.table import Nearest as Nearest
    from embedcli.table import Neighbor as Neighbor
    from embedcli.table import Neighbors as Neighbors
    from embedcli.table import OddOneOut as OddOneOut
    from embedcli.table import Row as Row
    from embedcli.text.tokenized import Line as Line
    from embedcli.text.tokenized import Tokenized as Tokenized
    from embedcli.text.vocabulary import Coverage as Coverage
    from embedcli.text.vocabulary import Vocabulary as Vocabulary
    from embedcli.training.loop import Step as Step
    from embedcli.training.run import Counting as Counting
    from embedcli.training.run import Prepared as Prepared
    from embedcli.training.run import Reading as Reading
    from embedcli.training.run import Replica as Replica
    from embedcli.training.run import Stopped as Stopped
    from embedcli.training.run import Trained as Trained
    from embedcli.tuning import Trial as Trial
    from embedcli.tuning import Tuned as Tuned

__version__ = "0.2.0"

_NAMES = {
    "api": "analogy cache clear_cache compare convert count describe evaluate explain "
    "explain_pair explain_predictions explain_word from_gensim index load load_ensemble lookup "
    "map_pair map_words neighbors neighbors_of odd predict reproduce sample similarity "
    "stable_neighbors tokenize train train_replicas tune vectors Cache",
    "attribution": "Attribution Contribution",
    "comparison": "ComparedWord TableComparison",
    "config": "CountSettings TextSettings TrainSettings",
    "cooccurrences": "Contexts Cooccurrences Pair Partner",
    "description": "Description",
    "ensemble": "Ensemble StableNeighbor StableNeighbors",
    "errors": "ConfigError CorpusError EmbedError FormatError StoreError TrainingError "
    "VocabularyError WorkerError",
    "evaluation": "Analogies Classification Regression Section Similarity",
    "formats.base": "Options Read",
    "indexing": "Indexed",
    "mapping": "Arrangement Attribute Map MapPair",
    "prediction": "Label Results",
    "reproduction": "Difference Reproduction",
    "table": "Analogy Answers Comparison EmbeddingTable Found Nearest Neighbor Neighbors "
    "OddOneOut Row",
    "text.tokenized": "Line Tokenized",
    "text.vocabulary": "Coverage Vocabulary",
    "training.loop": "Step",
    "training.run": "Counting Prepared Reading Replica Stopped Trained",
    "tuning": "Trial Tuned",
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'embedcli' has no attribute {name!r}")
    import importlib

    found = getattr(importlib.import_module(f"embedcli.{_MODULE_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
