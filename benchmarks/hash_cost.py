"""What it costs a full-size label to hash what it reads and writes, by rate and by count.

    python -m benchmarks.hash_cost > benchmarks/hash_cost.txt

The rate of SHA-256 is measured on one thread of this machine, in CPU seconds; the bytes are those
of SD v1.5-inpainting, and of a label's own files; the seconds are those of `full_size_gpu.json`: a
label of few samples on a fast GPU, in which hashing weighs more than in a usual one.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

from sdsearch.space import search_space
from sdsearch.unet import SD14_INPAINT, UNPRUNED, count_params

OTHER_PARAMS = 83_653_863 + 123_060_480
"""Parameters of the autoencoder and of the text encoder of SD v1.5."""
SAMPLES, FEATURES, ROWS = 256, 2048, 40
"""Of a label: samples, numbers in the features of one, and other numbers in its rows."""
CHUNK, TIMES = 1 << 26, 5


def measure_rate() -> float:
    """Bytes that one thread hashes in a second of its own time: the best of some tries."""
    data, best = bytes(CHUNK), float("inf")
    for _ in range(TIMES):
        start = time.thread_time()
        hashlib.sha256(data).digest()
        best = min(best, time.thread_time() - start)
    return CHUNK / best


def main() -> None:
    """Print the rate, the bytes and the shares."""
    rate = measure_rate()
    label = json.loads(Path(__file__).with_name("full_size_gpu.json").read_text())["label"]
    seconds, preparation = label["seconds"], label["preparation"]
    small = search_space("sd14", SD14_INPAINT).members["bk-small"]
    rows = 3 * SAMPLES * (4 * FEATURES + 8 * ROWS)
    weights = 2 * count_params(small, SD14_INPAINT)
    teacher = 2 * (count_params(UNPRUNED, SD14_INPAINT) + OTHER_PARAMS)
    print(f"SHA-256 on one thread: {rate / 1e9:.2f} GB a second of CPU time")
    print(
        f"a full-size label on a GPU: {seconds:.1f} s, after {preparation:.1f} s of preparation\n"
    )
    for name, size, whole in (
        ("rows of a label, hashed when written and twice when read", rows, seconds),
        (
            "the same, and kept weights of bk-small in float16, when written",
            rows + weights,
            seconds,
        ),
        ("the teacher in float16, once a process, of its preparation", teacher, preparation),
    ):
        spent = size / rate
        print(f"{size / 1e9:8.3f} GB {spent:7.2f} s {spent / whole:7.2%}  {name}")


if __name__ == "__main__":
    sys.exit(main())
