"""What training does, laid open: one step of learning on a text, and what became of a word."""

from embedcli.explanation.step import Change, Composed, PartOf, Step, Token, explain_step
from embedcli.explanation.word import Neighbor, Word, explain_word
from embedcli.tasks.task import Candidate, Example

__all__ = [
    "Candidate",
    "Change",
    "Composed",
    "Example",
    "Neighbor",
    "PartOf",
    "Step",
    "Token",
    "Word",
    "explain_step",
    "explain_word",
]
