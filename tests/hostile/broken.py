"""Broken files by number: each of a kind that is read somewhere, and one thing wrong with it."""

from __future__ import annotations

import json
import os
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from pathlib import Path

DEEP = "[" * 2_000 + "]" * 2_000
DIGITS = "9" * 400
EVIL: tuple[str, ...] = (
    *("null", "true", "false", "-1", "0", "1001", "-1001", "1.5", "1000000000", "NaN", "Infinity"),
    *("1e999", DIGITS, f"-{DIGITS}", '""', '"a"', '"\\ud800"', '"\\u0000"', '"\\u202e"'),
    *("[]", "{}", "[1]", "[[1]]", '["a", 1]', '{"a": 1}', "[null]", DEEP),
    *("[" + "1," * 5_000 + "1]", '"' + "x" * 50_000 + '"', '"../../x"', '"/dev/zero"', "[-1, -1]"),
)
"""JSON that stands where something else belongs."""
_HOLE = "\ue000"


def break_file(file: Path, rng: random.Random) -> str:
    """Put something wrong into a file, or something else into its place; says what."""
    if rng.random() < 0.2:
        return _replace(file, rng)
    data = file.read_bytes()
    if file.suffix in (".json", ".jsonl"):
        broken, what = _break_json(data.decode(), rng)
    elif file.suffix == ".safetensors":
        broken, what = _break_tensors(data, rng)
    elif file.suffix == ".toml":
        broken, what = _break_toml(data.decode(), rng)
    else:
        broken, what = _break_bytes(data, rng), "bytes"
    file.unlink()  # it may be a link to the sound one
    file.write_bytes(broken)
    return what


def _replace(file: Path, rng: random.Random) -> str:
    kind = rng.choice(["nothing", "folder", "pipe", "device", "empty", "text", "array", "deep"])
    file.unlink()
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind != "nothing":
        texts = {"empty": "", "text": "no such thing", "array": "[1]", "deep": DEEP}
        file.write_text(texts[kind])
    return kind


def _break_json(text: str, rng: random.Random) -> tuple[bytes, str]:
    lines = [text]
    if "\n{" in text.strip():
        lines = text.removesuffix("\n").split("\n")
    at, evil = rng.randrange(len(lines)), rng.choice(EVIL)
    data = json.loads(lines[at])
    place = _put_hole(data, rng)
    lines[at] = json.dumps(data).replace(json.dumps(_HOLE), evil)
    return ("\n".join(lines) + "\n").encode(), f"{evil[:20]} at {place}"


def _put_hole(data: Any, rng: random.Random) -> str:
    """Mark one value at any depth; the path to it."""
    place = []
    while isinstance(data, dict | list) and data:
        at = rng.choice(sorted(data) if isinstance(data, dict) else range(len(data)))
        place.append(str(at))
        below = data[at]
        if not isinstance(below, dict | list) or not below or rng.random() < 0.4:
            data[at] = _HOLE
            break
        data = below
    return ".".join(place)


def _break_tensors(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    length = int.from_bytes(data[:8], "little")
    header, tensors = json.loads(data[8 : 8 + length]), data[8 + length :]
    if rng.random() < 0.3:
        wrong = rng.choice([0, 1, length - 1, 1 << 40])
        return struct.pack("<Q", wrong) + data[8:], f"a header of {wrong} bytes"
    evil = rng.choice(EVIL)
    place = _put_hole(header, rng)
    said = json.dumps(header).replace(json.dumps(_HOLE), evil).encode()
    return struct.pack("<Q", len(said)) + said + tensors, f"{evil[:20]} at {place}"


def _break_toml(text: str, rng: random.Random) -> tuple[bytes, str]:
    lines = text.splitlines()
    at = rng.choice([n for n, line in enumerate(lines) if "=" in line])
    evil = rng.choice([*EVIL, "nan", "inf", "[" * 2_000, "1979-05-27"])
    lines[at] = f"{lines[at].partition('=')[0]}= {evil}"
    return ("\n".join(lines) + "\n").encode(), lines[at][:40]


def _break_bytes(data: bytes, rng: random.Random) -> bytes:
    broken = bytearray(data)
    for _ in range(rng.randrange(1, 9)):
        broken[rng.randrange(min(len(data), 200))] = rng.randrange(256)
    return bytes(broken[: rng.randrange(1, len(data) + 1)])
