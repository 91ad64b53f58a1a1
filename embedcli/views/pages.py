"""What the HTML pages share: their files, data in a script element, and their security policy."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from embedcli.views.terminal import json_text

_FOLDER = Path(__file__).parent


def read(name: str) -> str:
    """Return a template, style or script of this folder."""
    return (_FOLDER / name).read_text("utf-8")


def script_data(data: Any) -> str:
    """Return data as JSON that cannot end the script element that holds it."""
    return json_text(data).replace("<", "\\u003c")


def digest(text: str) -> str:
    """Return the source of a policy that allows a style or script by its digest."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def policy(allowed: str) -> str:
    """Return a content security policy that allows nothing but some sources, and no request."""
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
