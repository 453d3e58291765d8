"""Give a pipeline folder the files and names that loaders of before transformers 5 look for.

    python scripts/older_loaders.py FOLDER

`transformers` 5 writes one `tokenizer.json` and names a text encoder's tensors without the module
that holds them; earlier releases read `vocab.json` and `merges.txt`, and leave an encoder random
whose tensors do not begin with `text_model.`. Today's releases read both forms alike.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from safetensors.torch import load, save

PREFIX = "text_model."


def add_older_names(folder: Path) -> None:
    """Write the vocabulary and merges beside `tokenizer.json`, and prefix the encoder's names."""
    model = json.loads((folder / "tokenizer" / "tokenizer.json").read_text("utf-8"))["model"]
    vocabulary = json.dumps(model["vocab"], ensure_ascii=False)
    (folder / "tokenizer" / "vocab.json").write_text(vocabulary, "utf-8")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    lines = "\n".join(["#version: 0.2", *merges]) + "\n"
    (folder / "tokenizer" / "merges.txt").write_text(lines, "utf-8")
    weights = folder / "text_encoder" / "model.safetensors"
    tensors = {
        name if name.startswith(PREFIX) else PREFIX + name: tensor
        for name, tensor in load(weights.read_bytes()).items()
    }
    weights.write_bytes(save(tensors, {"format": "pt"}))


if __name__ == "__main__":
    add_older_names(Path(sys.argv[1]))
