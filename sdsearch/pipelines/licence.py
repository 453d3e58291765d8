"""The licence of a pipeline: what its card states, what the hub calls that, and its text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sdsearch.files import LARGEST_JSON, read_bytes
from sdsearch.pipelines.folder import CARD, LICENCE_FILES, find_paper

_SD = "creativeml-openrail-m"
"""Of Stable Diffusion v1, which most teachers derive from."""
_SHIPPED = Path(__file__).resolve().parent / "licences"
_HUB = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear
c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0
cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl
ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1
lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa
unlicense zlib pddl lgpl-lr deepfloyd-if-license llama2 gemma unknown other
"""
HUB_LICENCES = frozenset(_HUB.split())
"""What may stand behind `license:` in a card on the hub; any other is `other`, with a name."""


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence as it is passed on.

    Attributes:
        name: of the letters, digits and `._+-` that the card states; else that of SD v1.
        is_stated: whether a card states it.
        text: in full; None where it did not come with the pipeline and sdsearch has none.
    """

    name: str
    is_stated: bool
    text: str | None

    @property
    def hub_id(self) -> str:
        """What the hub knows it by.

        >>> Licence("creativeml-openrail-m", True, None).hub_id
        'creativeml-openrail-m'
        >>> Licence("house-rules-1", True, None).hub_id
        'other'
        """
        return self.name if self.name in HUB_LICENCES else "other"


def read_licence(pipeline: str) -> Licence:
    """The licence of a pipeline on this machine, by its folder, hub id, or "tiny".

    Its text is that of a licence file beside its card, else one that comes with sdsearch.

    Raises:
        InputError: it is neither here nor written as a hub id, or a paper of it is unreadable.
    """
    if pipeline == "tiny":
        return Licence("mit", is_stated=True, text=_read(_SHIPPED / "sdsearch.txt"))
    card = find_paper(pipeline, CARD)
    stated = _stated(_read(card)) if card else None
    own = find_paper(pipeline, *LICENCE_FILES)
    shipped = _SHIPPED / f"{stated or _SD}.txt"
    # A name holds no slash; `sdsearch` alone is the name of a file that is no licence's.
    if own is None and shipped.is_file() and stated != "sdsearch":
        own = shipped
    return Licence(stated or _SD, stated is not None, _read(own) if own else None)


def _stated(card: str) -> str | None:
    """The licence that the front matter of a card states; several are all named."""
    block = re.match(r"\s*---[ \t]*\n(.*?)\n---", card, re.DOTALL)
    if block is None:
        return None
    names = _words(block[1], "license")
    named = _words(block[1], "license_name") if names == ["other"] else []
    return "-".join(named)[:80] or "-and-".join(names)[:80] or None


def _words(block: str, field: str) -> list[str]:
    """The words of a field at the top of YAML: one, or a list in brackets or of lines."""
    found = re.search(rf"^{field}:(.*(?:\n[ \t]*-.*)*)", block, re.MULTILINE)
    said = re.sub(r"\s#.*", "", found[1]) if found else ""
    return re.findall(r"[\w.+-]*\w[\w.+-]*", said, re.ASCII)


def _read(file: Path) -> str:
    return read_bytes(file, LARGEST_JSON).decode("utf-8-sig", "replace").replace("\r\n", "\n")
