"""What comes from elsewhere is what was meant: weights and packages are known by their hashes."""

from __future__ import annotations

import re
from pathlib import Path

from sdsearch.keys import file_sha256

ROOT = Path(__file__).resolve().parents[2]


def test_every_hash_of_weights_in_the_code_is_whole():
    files = [*(ROOT / "sdsearch").rglob("*.py"), *(ROOT / "eval").rglob("*.py")]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    hashes = re.findall(r"^\w*SHA256 = \"(.*)\"$", code, re.MULTILINE)
    assert len(hashes) == 4
    assert [one for one in hashes if not re.fullmatch(r"[0-9a-f]{64}", one)] == []


def test_all_weights_of_this_repository_are_listed_with_their_hashes():
    home = ROOT / "assets"
    listed = dict(
        reversed(line.split("  "))
        for line in (home / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    )
    weights = [*home.rglob("*.safetensors"), *home.rglob("*.bin"), *home.rglob("*.pth")]
    assert listed == {file.relative_to(home).as_posix(): file_sha256(file) for file in weights}
