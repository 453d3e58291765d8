"""Links of the pages: which lead nowhere, and which lead outside of the one list that may.

A link inside the repository is a path from the page, perhaps with an anchor; a heading's anchor is
made as code hosts make it. Addresses of the web stand in docs/links.md alone, each once.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = Path("docs") / "links.md"
FOLDERS = (".", "benchmarks")
_FENCE = re.compile(r"^( *)```.*?^\1```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(
    r"\]\(<?([^)<>\s]+)>?(?: \"[^\"]*\")?\)|^\[[^]]+\]: (\S+)|\b(?:src|href)=\"([^\"]+)\"", re.M
)
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_WEB = re.compile(r"https?://[^\s)>\"]+")


@dataclass(frozen=True, slots=True)
class Broken:
    """A link that does not hold.

    Attributes:
        page: the page it is on, from the root.
        target: where it leads.
        why: in words.
    """

    page: Path
    target: str
    why: str

    def __str__(self) -> str:
        return f"{self.page}: {self.target}: {self.why}"


def list_pages(root: Path = ROOT) -> list[Path]:
    """All Markdown pages that people read, as paths from the root."""
    files = {file for folder in FOLDERS for file in (root / folder).glob("*.md")}
    files |= set((root / "docs").rglob("*.md"))
    return sorted(file.relative_to(root) for file in files)


def find_broken(root: Path = ROOT) -> list[Broken]:
    """Every link of every page that leads nowhere, or outside where it may not."""
    broken = []
    for page in list_pages(root):
        for target in links_of((root / page).read_text(encoding="utf-8")):
            why = _check_web(page) if _WEB.match(target) else _check(root, page, target)
            broken += [Broken(page, target, why)] if why else []
    outside = root / OUTSIDE
    listed = _WEB.findall(outside.read_text(encoding="utf-8")) if outside.is_file() else []
    twice = [address for address, times in Counter(listed).items() if times > 1]
    return broken + [Broken(OUTSIDE, address, "it stands there twice") for address in twice]


def links_of(text: str) -> list[str]:
    """Where the links and pictures of a page lead; code holds none.

    >>> links_of("[a](b.md#c), `[no](code.md)` and ![picture](d.png)")
    ['b.md#c', 'd.png']
    """
    prose = _CODE.sub("", _FENCE.sub("", text))
    return ["".join(found) for found in _LINK.findall(prose)]


@cache
def anchors_of(file: Path) -> frozenset[str]:
    """The anchors of a page's headings; one that comes again gets a number."""
    seen: Counter[str] = Counter()
    anchors = set()
    for heading in _HEADING.findall(_FENCE.sub("", file.read_text(encoding="utf-8"))):
        anchor = anchor_of(heading)
        anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return frozenset(anchors)


def anchor_of(heading: str) -> str:
    """The anchor of a heading.

    >>> anchor_of("`[protocol]`: what a label *is*")
    'protocol-what-a-label-is'
    """
    words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")


def _check_web(page: Path) -> str:
    return "" if page == OUTSIDE else f"addresses of the web stand in {OUTSIDE} alone; link to that"


def _check(root: Path, page: Path, target: str) -> str:
    path, _, anchor = target.partition("#")
    file = (root / page.parent / path).resolve() if path else root / page
    if not file.is_relative_to(root.resolve()):
        return "it leads out of the repository"
    if not file.exists():
        return "there is no such file"
    if anchor and file.suffix == ".md" and anchor not in anchors_of(file):
        return "there is no such heading"
    return ""


def main() -> int:
    """Print every link that does not hold; exit code 1 where there is one."""
    broken = find_broken()
    for one in broken:
        print(one, file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
