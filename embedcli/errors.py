"""The exceptions of `embed`.

    EmbedError                 anything a user can mend; the command line prints it and exits 1
    ├── ConfigError            a setting: unknown, of the wrong type, out of range
    ├── CorpusError            the text: missing, not decodable, empty, without labels
    ├── VocabularyError        a word: unknown, repeated, not allowed
    ├── FormatError            a vector file: broken, of another format, lying about its size
    ├── StoreError             a model folder: missing, not a model, damaged, locked, no room
    └── TrainingError          the training: a loss that is not a number
        └── WorkerError        a process of it died; the run can go on from its checkpoint

Everything else that is raised is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

# What Python raises where the content of a file is not of the expected form.
MALFORMED_DATA_ERRORS = (
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    RecursionError,
)
LONGEST = 1000  # characters of a message: what a file holds may be of any length


class EmbedError(Exception):
    """Something the user can mend.

    `message` reads `path:line: what was found; what was expected`; `hint` is the command or
    value that would work.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        self.message = brief(message)
        self.hint = None if hint is None else brief(hint)
        super().__init__(self.message)


def brief(text: str) -> str:
    """Cut the middle out of a text that is too long for a message.

    >>> len(brief("a" * 100_000))
    1000
    """
    return text if len(text) <= LONGEST else f"{text[:600]} … {text[603 - LONGEST :]}"


def describe_malformed(error: Exception) -> str:
    """Return a description of one of `MALFORMED_DATA_ERRORS` for people.

    >>> describe_malformed(KeyError("shape"))
    "the entry 'shape' is missing"
    """
    from json import JSONDecodeError

    if isinstance(error, KeyError):
        return f"the entry {error} is missing"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, JSONDecodeError):
        return f"not JSON at line {error.lineno}: {error.msg}"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not {error.encoding.upper()}"
    if isinstance(error, TypeError | AttributeError | IndexError):
        return "an entry is of another type than expected"
    return str(error)


class ConfigError(EmbedError):
    """A setting that is unknown, of the wrong type or out of range."""


class CorpusError(EmbedError):
    """Text that is missing, cannot be decoded, or holds nothing to learn from."""


class VocabularyError(EmbedError):
    """A word that is unknown, repeated or not allowed."""


class FormatError(EmbedError):
    """A vector file that is broken or of another format."""


class StoreError(EmbedError):
    """A model folder that is missing, damaged, locked or has no room."""


class TrainingError(EmbedError):
    """Training that cannot go on."""


class WorkerError(TrainingError):
    """A process of the training that died or failed."""
