import json

import pytest

from embedcli.errors import describe_malformed


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("earlier"), "the entry 'earlier' is missing"),
        (TypeError("'int' object is not subscriptable"), "an entry is of another type"),
        (AttributeError("'list' object has no attribute 'items'"), "an entry is of another type"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (UnicodeDecodeError("utf-8", b"a\xff", 1, 2, "invalid start byte"), "byte 1 is not UTF-8"),
        (json.JSONDecodeError("Expecting value", "[\n?", 2), "not JSON at line 2: Expecting value"),
        (ValueError("7 words"), "7 words"),
    ],
)
def test_what_is_wrong_is_said_in_words(error, said):
    assert describe_malformed(error).startswith(said)
