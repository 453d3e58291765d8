from __future__ import annotations

import numpy as np
import pytest

from sdsearch.errors import InputError
from sdsearch.labels.protocol import Protocol
from sdsearch_eval.data.metadata import read_prompts
from sdsearch_eval.data.sample import choose_prompts
from sdsearch_eval.data.samples import load_samples


def write(folder, name, text, encoding="utf-8"):
    file = folder / name
    file.write_bytes(text.encode(encoding))
    return file


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("a.txt", "a red house\n\n  two   trees \r\nnull\n", "utf-8"),
        ("a.txt", "\ufeffa red house\ntwo trees", "utf-8"),
        ("a.txt", "a red house\ntwo trees", "utf-16"),
        ("a.jsonl", '{"prompt": "a red house"}\n\n{"prompt": "two trees", "id": 3}\n', "utf-8"),
        ("a.jsonl", '{"text": "a red house"}\n{"text": ["two trees", "more"]}\n', "utf-8"),
        ("A.JSONL", '{"Caption": "a red house"}\n{"Caption": "two trees"}\n', "utf-8"),
    ],
)
def test_prompts_are_read_in_order_whatever_wrote_them(tmp_path, name, text, encoding):
    assert read_prompts(write(tmp_path, name, text, encoding)) == ("a red house", "two trees")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "\n\n", "no line with one"),
        ("a.jsonl", '{"prompt": "x"}\n{"prompt": null}\n', "line 2 must have a prompt"),
        ("a.jsonl", '{"prompt": 3}\n', "line 1 must have words"),
        ("a.jsonl", '["x"]\n', "line 1 must be one JSON object"),
        ("a.jsonl", '{"id": 3}\n', "with the prompts"),
        ("a.txt", "fine\nbell\x07\n", "line 2 must hold plain text"),
    ],
)
def test_a_file_that_holds_no_prompts_is_refused_with_its_line(tmp_path, name, text, words):
    with pytest.raises(InputError, match=words):
        read_prompts(write(tmp_path, name, text))


def test_prompts_that_are_not_there_or_too_few_are_named(tmp_path):
    with pytest.raises(InputError, match="no file here"):
        read_prompts(tmp_path / "none.txt")
    file = write(tmp_path, "a.txt", "one\ntwo\n")
    protocol = Protocol(task="text-to-image", samples=6, variations=2, prompts=str(file))
    with pytest.raises(InputError, match=r"has 2 prompts, and 3 are needed"):
        choose_prompts(protocol)


def test_each_prompt_is_painted_in_its_variations_under_names_of_their_own(tmp_path):
    file = write(tmp_path, "a.txt", "one\none\n")
    protocol = Protocol(task="text-to-image", samples=4, variations=2, prompts=str(file))
    samples = load_samples(protocol)
    assert [sample.caption for sample in samples] == ["one"] * 4
    assert len({sample.name for sample in samples}) == 4
    assert all((sample.mask == 255).all() for sample in samples)


def test_captions_of_scenes_are_prompts_beside_their_pictures():
    words = load_samples(Protocol(task="text-to-image", samples=2))
    holes = load_samples(Protocol(samples=2))
    assert [one.caption for one in words] == [one.caption for one in holes]
    assert all(
        np.array_equal(one.image, other.image) for one, other in zip(words, holes, strict=True)
    )
