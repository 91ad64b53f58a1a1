"""What is learnt: the tasks, by name."""

from __future__ import annotations

from embedcli.tasks.cbow import CBOW
from embedcli.tasks.classify import Classify
from embedcli.tasks.glove import GloVe
from embedcli.tasks.regress import Regress
from embedcli.tasks.skipgram import SkipGram
from embedcli.tasks.svd import SVD
from embedcli.tasks.task import Task

TASKS: dict[str, type[Task]] = {
    "skipgram": SkipGram,
    "cbow": CBOW,
    "glove": GloVe,
    "svd": SVD,
    "classify": Classify,
    "regress": Regress,
}
