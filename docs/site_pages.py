"""A hook of MkDocs: pages of the site that lie outside docs/, links to them, and anchors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import regex
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "README.hi.md": "index.hi.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
LINK = re.compile(r"\]\((?:\.\./)?(docs/)?([^)#\s]+)")


def on_config(config: Any) -> Any:
    """Name the anchors of headings as GitHub does, with the vowel signs of Devanagari."""
    config.mdx_configs["toc"]["slugify"] = _slug
    return config


def _slug(heading: str, separator: str) -> str:
    return regex.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", separator)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages; in them, links to docs/ begin at the root of the site."""
    for name, page in PAGES.items():
        text = LINK.sub(_target, (ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links from docs/ to the pages that were added."""
    return LINK.sub(_target, markdown)


def _target(link: re.Match[str]) -> str:
    docs, target = link.groups()
    if docs or target in PAGES:
        return f"]({PAGES.get(target, target)}"
    return link[0]
