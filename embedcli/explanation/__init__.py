"""What training does, laid open: a step of learning on a text, a word, and why two are similar."""

from embedcli.explanation.pair import Context, Pair, explain_pair
from embedcli.explanation.step import Change, Composed, PartOf, Step, Token, explain_step
from embedcli.explanation.word import Neighbor, SimilarWord, Word, explain_word
from embedcli.tasks.task import Candidate, Example

__all__ = [
    "Candidate",
    "Change",
    "Composed",
    "Context",
    "Example",
    "Neighbor",
    "Pair",
    "PartOf",
    "SimilarWord",
    "Step",
    "Token",
    "Word",
    "explain_pair",
    "explain_step",
    "explain_word",
]
