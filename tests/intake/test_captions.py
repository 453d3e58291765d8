"""Captions as people bring them: what is understood, what is counted, what is refused."""

from __future__ import annotations

import json
import os
import sys
import time
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from sdsearch.errors import InputError
from sdsearch.labels.protocol import Protocol
from sdsearch.pipelines.folder import open_pipeline
from sdsearch_eval.data.captions import Captions, read_captions
from sdsearch_eval.data.samples import load_samples
from sdsearch_eval.jobs.workspace import tell_captions
from sdsearch_eval.models.components import Components, describe_cut, load_components

AB = ("a.jpg", "b.jpg")
NFC = unicodedata.normalize("NFC", "café.jpg")
NFD = unicodedata.normalize("NFD", "café.jpg")


def jsonl(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def row(name: str, text: object, column: str = "text") -> dict[str, object]:
    return {"file_name": name, column: text}


def read(folder: Path, files: dict[str, str | bytes], photos: tuple[str, ...]) -> Captions:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    for photo in photos:
        (folder / photo).parent.mkdir(parents=True, exist_ok=True)
        (folder / photo).touch()
    return read_captions(folder, photos)


A, B = row("a.jpg", "A"), row("b.jpg", "B")

UNDERSTOOD: dict[str, dict[str, str | bytes]] = {
    "rows by file_name and text": {"metadata.jsonl": jsonl(A, B)},
    "csv": {"metadata.csv": "file_name,text\na.jpg,A\nb.jpg,B\n"},
    "csv with CRLF": {"metadata.csv": "file_name,text\r\na.jpg,A\r\nb.jpg,B\r\n"},
    "csv with semicolons": {"metadata.csv": "file_name;text\na.jpg;A\nb.jpg;B\n"},
    "csv with tabs": {"metadata.csv": "file_name\ttext\na.jpg\tA\nb.jpg\tB\n"},
    "csv with empty columns": {"metadata.csv": "file_name,text,,\na.jpg,A,,\nb.jpg,B,,\n"},
    "csv with more columns": {"metadata.csv": "id,file_name,text\n1,a.jpg,A\n2,b.jpg,B\n"},
    "jsonl with CRLF": {"metadata.jsonl": jsonl(A, B).replace("\n", "\r\n")},
    "blank lines": {"metadata.jsonl": "\n" + jsonl(A) + "\n\n" + jsonl(B)},
    "no line end at the end": {"metadata.csv": "file_name,text\na.jpg,A\nb.jpg,B"},
    "UTF-8 with a mark": {"metadata.csv": "\ufefffile_name,text\na.jpg,A\nb.jpg,B\n"},
    "UTF-16": {"metadata.csv": "file_name,text\r\na.jpg,A\r\nb.jpg,B\r\n".encode("utf-16")},
    "big-endian UTF-16": {"metadata.jsonl": ("\ufeff" + jsonl(A, B)).encode("utf-16-be")},
    "UTF-32": {"metadata.csv": "file_name,text\na.jpg,A\nb.jpg,B\n".encode("utf-32")},
    "leading ./": {"metadata.jsonl": jsonl(row("./a.jpg", "A"), row(".//b.jpg", "B"))},
    "backslashes": {"metadata.jsonl": jsonl(row(".\\a.jpg", "A"), row("x\\..\\b.jpg", "B"))},
    "spaces around": {"metadata.csv": "file_name, text\na.jpg , A\n b.jpg,B \n"},
    "upper-case suffix": {"metadata.jsonl": jsonl(row("a.JPG", "A"), row("B.jpg", "B"))},
    "upper-case columns": {"metadata.csv": "File_Name,Text\na.jpg,A\nb.jpg,B\n"},
    "upper-case metadata": {"METADATA.CSV": "file_name,text\na.jpg,A\nb.jpg,B\n"},
    "a column prompt": {
        "metadata.jsonl": jsonl(row("a.jpg", "A", "prompt"), row("b.jpg", "B", "prompt"))
    },
    "a column caption": {"metadata.csv": "file_name,caption,width\na.jpg,A,9\nb.jpg,B,9\n"},
    "text before prompt": {"metadata.csv": "file_name,prompt,text\na.jpg,no,A\nb.jpg,no,B\n"},
    "a column image": {"metadata.csv": "image,prompt\na.jpg,A\nb.jpg,B\n"},
    "lists": {"metadata.jsonl": jsonl(row("a.jpg", ["A", "else"]), row("b.jpg", [None, "", "B"]))},
    "the same row twice": {"metadata.jsonl": jsonl(A, B, row("a.jpg", " A "))},
    "an empty row and a full one": {"metadata.jsonl": jsonl(row("a.jpg", None), A, B)},
    "text files": {"a.txt": "A\n", "b.txt": "B"},
    "text files by whole name": {"a.jpg.txt": "A", "b.jpg.txt": "B"},
    "kohya's suffix": {"a.caption": "A", "b.TXT": "B"},
    "a text file in UTF-16": {"a.txt": "A\r\n".encode("utf-16"), "b.txt": "\ufeffB\r\n"},
    "lines of a text file": {"a.txt": "\nA\nelse\n", "b.txt": "B\r\n\r\n"},
    "some in metadata, some beside": {"metadata.jsonl": jsonl(A), "b.txt": "B"},
    "the same in metadata and beside": {"metadata.jsonl": jsonl(A, B), "b.txt": "B\n"},
}


@pytest.mark.parametrize("case", UNDERSTOOD)
def test_what_is_clear_is_understood(case: str, tmp_path: Path) -> None:
    captions = read(tmp_path, UNDERSTOOD[case], AB)
    assert dict(captions.by_photo) == {"a.jpg": "A", "b.jpg": "B"}
    assert captions.bare == captions.unmatched == ()
    assert captions.summary.startswith("captions of 2 of 2 photos (from ")


NAMES = {
    "composed in the list, decomposed on disk": (NFD, NFC),
    "decomposed in the list, composed on disk": (NFC, NFD),
    "decomposed and in upper case": (NFC, NFD.upper()),
    "a sub-folder": ("sub/a.jpg", "sub/a.jpg"),
    "a sub-folder with a backslash": ("sub/a.jpg", "sub\\a.jpg"),
    "a sub-folder in another case": ("Sub/a.jpg", "./sub/A.JPG"),
    "a backslash that belongs to the name": ("x\\a.jpg", "x\\a.jpg"),
    "a space that belongs to the name": (" a.jpg", " a.jpg"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not allow")
@pytest.mark.parametrize("case", NAMES)
@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_row_finds_its_photo_by_name(case: str, suffix: str, tmp_path: Path) -> None:
    photo, said = NAMES[case]
    content = jsonl(row(said, "A")) if suffix == "jsonl" else f"file_name,text\n{said},A\n"
    captions = read(tmp_path, {f"metadata.{suffix}": content}, (photo,))
    assert dict(captions.by_photo) == {photo: "A"}


def test_an_absolute_path_finds_its_photo(tmp_path: Path) -> None:
    here = {"metadata.jsonl": jsonl(row(str(tmp_path / "a.jpg"), "A"))}
    assert read(tmp_path, here, AB).by_photo["a.jpg"] == "A"


def test_a_name_as_written_goes_before_one_in_another_case(tmp_path: Path) -> None:
    rows = {"metadata.jsonl": jsonl(row("a.jpg", "small"), row("A.jpg", "large"))}
    captions = read(tmp_path, rows, ("A.jpg", "a.jpg"))
    assert dict(captions.by_photo) == {"A.jpg": "large", "a.jpg": "small"}
    with pytest.raises(InputError, match=r"line 1 must name one photo.*'A\.jpg' or 'a\.jpg'"):
        read(tmp_path, {"metadata.jsonl": jsonl(row("A.JPG", "which"))}, ("A.jpg", "a.jpg"))


def test_metadata_of_a_sub_folder_names_photos_relative_to_it(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "metadata.jsonl": jsonl(row("a.jpg", "top")),
        "one/metadata.csv": "file_name,text\na.jpg,first\n../b.jpg,up\n",
        "two/deep/a.txt": "beside",
        "two/metadata.jsonl": jsonl(row("deep/b.jpg", "below")),
    }
    photos = (*AB, "one/a.jpg", "two/deep/a.jpg", "two/deep/b.jpg")
    said = ["top", "up", "first", "beside", "below"]
    captions = read(tmp_path, files, photos)
    assert list(captions.by_photo.values()) == said
    assert captions.files == (
        "metadata.jsonl",
        "one/metadata.csv",
        "two/metadata.jsonl",
        "two/deep/a.txt",
    )


def test_captions_keep_every_letter_and_single_spaces(tmp_path: Path) -> None:
    text = 'un  «café»\u2028\t日本 🌊, "5\'" \u0130 '
    for name, content in {
        "metadata.jsonl": json.dumps(row("a.jpg", text), ensure_ascii=False),
        "metadata.csv": 'file_name,text\na.jpg,"' + text.replace('"', '""') + '"',
    }.items():
        captions = read(tmp_path, {name: content}, AB)
        assert captions.by_photo["a.jpg"] == 'un «café» 日本 🌊, "5\'" \u0130'
        (tmp_path / name).unlink()


def test_a_folder_without_captions_has_empty_ones(tmp_path: Path) -> None:
    captions = read(tmp_path, {"notes.txt": "none of a photo"}, AB)
    assert captions == Captions({"a.jpg": "", "b.jpg": ""}, bare=AB)
    assert captions.summary == "no captions"
    assert read_captions(tmp_path, []) == Captions({})


COUNTED = {
    "a row without a photo": (
        {"metadata.jsonl": jsonl(A, row("c.jpg", "C"), B)},
        "captions of 2 of 2 photos (from 'metadata.jsonl', column text); "
        "1 listed, but no photo: 'c.jpg'",
    ),
    "a photo without a row": (
        {"metadata.csv": "file_name,prompt\na.jpg,A\n"},
        "captions of 1 of 2 photos (from 'metadata.csv', column prompt); "
        "1 without a caption: 'b.jpg'",
    ),
    "many rows without a photo": (
        {"metadata.jsonl": jsonl(A, *(row(f"{n}.jpg", "") for n in range(9)))},
        "captions of 1 of 2 photos (from 'metadata.jsonl', column text); "
        "1 without a caption: 'b.jpg'; "
        "9 listed, but no photo: '0.jpg', '1.jpg', '2.jpg' and 6 more",
    ),
    "text files for some": (
        {"a.txt": "A", "b.txt": " \n"},
        "captions of 1 of 2 photos (from 'a.txt' and 1 more); 1 without a caption: 'b.jpg'",
    ),
    "several captions": (
        {"metadata.jsonl": jsonl(row("a.jpg", ["A", "else"]), row("b.jpg", ["B", "B"]))},
        "captions of 2 of 2 photos (from 'metadata.jsonl', column text); "
        "1 with several captions, of which the first counts: 'a.jpg'",
    ),
    "metadata of another kind": (
        {"metadata.json": "{}", "metadata.jsonl.txt": jsonl(A)},
        "no captions; 2 not read as captions: 'metadata.json', 'metadata.jsonl.txt'",
    ),
    "boxes beside the photos": (
        {"a.txt": "0 0.5 0.5 0.25 0.3\n17 0.1 0.2 1e-2 0.3\n"},
        "no captions; 1 not read as captions: 'a.txt'",
    ),
    "classes beside the photos": (
        {"a.txt": "7\n", "b.txt": "0\n3\n"},
        "no captions; 2 not read as captions: 'a.txt', 'b.txt'",
    ),
    "an outer folder": (
        {"metadata.jsonl": jsonl(A, row("../b.jpg", "B"), row("/b.jpg", "B"))},
        "captions of 1 of 2 photos (from 'metadata.jsonl', column text); "
        "1 without a caption: 'b.jpg'; 2 listed, but no photo: '../b.jpg', '/b.jpg'",
    ),
}


@pytest.mark.parametrize("case", COUNTED)
def test_what_is_left_out_is_counted(case: str, tmp_path: Path) -> None:
    files, summary = COUNTED[case]
    captions = read(tmp_path, files, AB)
    assert captions.summary == summary
    assert "" not in {captions.by_photo[photo] for photo in AB if photo not in captions.bare}


LABELS = {
    "KITTI": "Car 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n"
    "DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10\n",
    "a word and a box": "person 0.5 0.5 0.2 0.3\n",
    "two words and a box": "traffic light 0.5 .5 2e-1 0.3\n",
    "commas": "0,0.5,0.5,0.25,0.3\n1, 0.5, 0.5, 0.25, 0.3\n",
    "DOTA": "imagesource:GoogleEarth\ngsd:0.146\n2753 2408 2861 2385 2888 2468 2805 2502 plane 0",
    "four numbers": "10\t20\t30\t40",
    "a number": "7",
    "a JSON object": '{"shapes": [\n["a"]\n], "version": "5.0"}',
    "JSON objects": '[{"bbox": [1, 2, 3, 4]}]',
}


@pytest.mark.parametrize("case", LABELS)
@pytest.mark.parametrize("suffix", ["txt", "caption"])
def test_labels_beside_a_photo_are_no_caption(case: str, suffix: str, tmp_path: Path) -> None:
    captions = read(tmp_path, {f"a.{suffix}": LABELS[case], "b.txt": "B"}, AB)
    assert dict(captions.by_photo) == {"a.jpg": "", "b.jpg": "B"}
    assert captions.summary.endswith(f"; 1 not read as captions: 'a.{suffix}'")


@pytest.mark.parametrize(
    "text",
    [
        "3 cats",
        "a car, 3 people, 2 dogs",
        "the rooms 1 of 2 and 3 of 4",
        "7 up",
        "{a} lake",
        "1.2.3",
    ],
)
def test_a_caption_may_hold_numbers(text: str, tmp_path: Path) -> None:
    assert read(tmp_path, {"a.txt": text}, AB).by_photo["a.jpg"] == text


LONG = {
    "digits": ({"a.txt": "1" * 20_000 + "x", "b.txt": "B"}, None),
    "columns": (
        {"metadata.csv": "file_name,text," + ",".join(map(str, range(20_000))) + ",text\n"},
        "must name each column once, but names 'text' 2 times",
    ),
}


@pytest.mark.parametrize("case", LONG)
def test_reading_captions_takes_as_long_as_they_are(case: str, tmp_path: Path) -> None:
    files, refusal = LONG[case]
    begun = time.process_time()
    if refusal is None:
        read(tmp_path, files, AB)
    else:
        with pytest.raises(InputError, match=refusal):
            read(tmp_path, files, AB)
    assert time.process_time() - begun < 2  # it was minutes where every sign was looked at again


NO_CAPTIONS = (None, "", "  ", "None", "null", "NaN", "n/a", [], [None], ["nan"], float("nan"))


@pytest.mark.parametrize("text", NO_CAPTIONS)
def test_no_caption_is_none_whatever_wrote_it(text: object, tmp_path: Path) -> None:
    captions = read(tmp_path, {"metadata.jsonl": jsonl(row("a.jpg", text), B)}, AB)
    assert (captions.by_photo["a.jpg"], captions.bare) == ("", ("a.jpg",))
    if isinstance(text, str):
        (tmp_path / "metadata.jsonl").unlink()
        captions = read(tmp_path, {"metadata.csv": f"file_name,text\na.jpg,{text}\nb.jpg,B"}, AB)
        assert (captions.by_photo["a.jpg"], captions.bare) == ("", ("a.jpg",))


REFUSED = {
    "latin-1": (
        {"metadata.csv": "file_name,text\na.jpg,A\nb.jpg,caf\xe9\n".encode("latin-1")},
        r"metadata\.csv line 3 is not utf-8 text; save the file as UTF-8",
    ),
    "a text file in latin-1": (
        {"b.txt": "caf\xe9".encode("latin-1")},
        r"b\.txt line 1 is not utf-8",
    ),
    "UTF-16 without a mark": (
        {"metadata.csv": "file_name,text\na.jpg,A\n".encode("utf-16-le")},
        r"line 1 holds NUL characters.*UTF-16",
    ),
    "half of UTF-16": ({"a.txt": b"\xff\xfeA"}, r"a\.txt line 1 is not utf-16"),
    "no JSON": (
        {"metadata.jsonl": jsonl(A) + "{'file_name': 'b.jpg'}\n"},
        r"metadata\.jsonl line 2 must be one JSON object: ",
    ),
    "a JSON list": ({"metadata.jsonl": json.dumps([A])}, "line 1 must be one JSON object"),
    "deep JSON": ({"metadata.jsonl": "[" * 100_000}, "line 1 must be one JSON object"),
    "no name": ({"metadata.jsonl": jsonl(A, {"text": "B"})}, "line 2 must name a photo"),
    "a null name": ({"metadata.jsonl": jsonl(A, {"file_name": None})}, "line 2 must name a"),
    "no column of names": (
        {"metadata.csv": "id,text\n1,A\n"},
        r"a column 'file_name' .*'id, text'",
    ),
    "no column of captions": (
        {"metadata.csv": "file_name,label\na.jpg,3\n"},
        r"a column 'text' .*label",
    ),
    "two columns of captions": (
        {"metadata.csv": "file_name,caption,prompt\na.jpg,A,B\n"},
        "which column holds the captions, but has caption and prompt",
    ),
    "a key twice": (
        {"metadata.jsonl": '{"file_name": "a.jpg", "text": "A", "text": "B"}'},
        "line 1 must be one JSON object: a key stands twice",
    ),
    "a column twice": ({"metadata.jsonl": jsonl({**A, "Text": "B"})}, "line 1 .* once"),
    "a column of captions twice": (
        {"metadata.csv": "file_name,text,text\na.jpg,A,B\n"},
        "line 1 must name each column once, but names 'text' 2 times",
    ),
    "a column of names twice": (
        {"metadata.csv": "\nfile_name, FILE_NAME ,text\na.jpg,b.jpg,A\n"},
        "line 2 must name each column once, but names 'file_name' 2 times",
    ),
    "no header": ({"metadata.csv": "a.jpg,A\nb.jpg,B\n"}, "must have a column 'file_name'"),
    "a number": (
        {"metadata.jsonl": jsonl(row("a.jpg", 5))},
        "line 1 must have words in 'text', but has '5'",
    ),
    "a dict": (
        {"metadata.jsonl": jsonl(row("a.jpg", {"en": "A"}))},
        "line 1 must have words in 'text'",
    ),
    "a list of lists": ({"metadata.jsonl": jsonl(row("a.jpg", [["A"]]))}, "line 1 must have words"),
    "a list in CSV": (
        {"metadata.csv": "file_name,text\na.jpg,\"['A', 'else']\"\n"},
        "line 2 must hold one caption, but holds a printed list",
    ),
    "a comma without quotes": (
        {"metadata.csv": "file_name,text\na.jpg,a house, a tree\n"},
        "line 2 has 3 fields for 2 columns",
    ),
    "a quote without end": (
        {"metadata.csv": 'file_name,text\na.jpg,A\nb.jpg,"B\n\n\n'},
        "line 3 is not CSV",
    ),
    "control characters": (
        {"metadata.jsonl": jsonl(row("a.jpg", "\x1b[31mA"))},
        "line 1 must hold plain text",
    ),
    "half a character": (
        {"metadata.jsonl": '{"file_name": "a.jpg", "text": "\\ud83c"}'},
        "plain text",
    ),
    "two captions in rows": (
        {"metadata.jsonl": jsonl(A, B, row("./a.jpg", "else"))},
        r"a\.jpg must have one caption, but has 'A' in .*line 1 and 'else' in .*line 3; remove one",
    ),
    "two captions, one beside": (
        {"metadata.jsonl": jsonl(A), "a.txt": "else"},
        r"must have one caption, but has 'else' in .*a\.txt and 'A' in .*metadata\.jsonl line 1",
    ),
    "two metadata files": (
        {"metadata.jsonl": jsonl(A), "metadata.csv": "file_name,text\na.jpg,A\n"},
        r"one metadata file, but has metadata\.csv and metadata\.jsonl",
    ),
    "parquet": ({"metadata.parquet": b"PAR1"}, r"metadata\.parquet cannot be read; write it as"),
    "no row names a photo": (
        {"metadata.jsonl": jsonl(row("train/a.jpg", "A"), row("train/b.jpg", "B"))},
        "none of its 2 rows names one that is there; the first names 'train/a.jpg'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_clear_is_refused_by_file_and_line(case: str, tmp_path: Path) -> None:
    files, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        read(tmp_path, files, AB)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind here")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch(mode=0o000)
    with pytest.raises(InputError, match=r"a\.txt must be readable"):
        read(tmp_path, {}, AB)


BYTES = st.one_of(
    st.binary(max_size=400),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(
        st.sampled_from(
            [
                "file_name",
                "text",
                "prompt",
                "a.jpg",
                "b.jpg",
                ",",
                ";",
                '"',
                "\n",
                "\r",
                "{",
                "}",
                ":",
                "[",
                "]",
                "null",
                "NaN",
                "1e999",
                "\\ud800",
                "\\u0000",
                "\0",
                "é",
                "./",
                "\u2028",
            ]
        ),
        max_size=40,
    ).map(lambda parts: "".join(parts).encode()),
    st.lists(
        st.dictionaries(
            st.sampled_from(["file_name", "text", "prompt", "Text"]),
            st.recursive(
                st.one_of(st.none(), st.floats(), st.sampled_from(["a.jpg", "./b.jpg"]), st.text()),
                lambda inner: st.lists(inner, max_size=3),
                max_leaves=4,
            ),
        ),
        max_size=4,
    ).map(lambda rows: jsonl(*rows).encode()),
)


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv", "a.txt"])
@pytest.mark.fuzz
@given(content=BYTES)
@example(content=b"\xff\xfe\x00\x00")
def test_any_bytes_give_captions_or_are_refused(name: str, content: bytes) -> None:
    with TemporaryDirectory() as home:
        try:
            captions = read(Path(home), {name: content}, AB)
        except InputError:
            return
        assert list(captions.by_photo) == list(AB)
        assert captions.summary.encode()
        for caption in captions.by_photo.values():
            assert caption == " ".join(caption.split())
            assert caption.encode().decode().casefold() not in {"none", "nan", "null"}
        assert captions.bare == tuple(photo for photo in AB if not captions.by_photo[photo])


@pytest.fixture(scope="module")
def components() -> Components:
    return load_components(open_pipeline("tiny"), torch.device("cpu"))


def test_captions_longer_than_the_tokenizer_takes_are_counted(components: Components) -> None:
    # The tiny tokenizer takes 32 tokens, two of which are start and end.
    longest, longer = " ".join(["a"] * 30), " ".join(["a"] * 31)
    assert describe_cut(components, ["", longest]) is None
    said = describe_cut(components, ["", longer, longest, longer + " house"])
    assert said is not None
    assert said.startswith("2 of 4 captions are longer than the 32 tokens that the tokenizer takes")
    stock = components.tokenizer([longest, longer], truncation=True, padding="max_length").input_ids
    assert stock[0] == stock[1], "what is said to be cut makes no difference"


def test_the_harness_says_once_what_became_of_the_captions(
    components: Components, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in AB:
        Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / name)
    long = " ".join(["[bold]house"] * 40)
    (tmp_path / "metadata.csv").write_text(f"file_name,prompt\na.jpg,{long}\nc.jpg,C\n")
    protocol = Protocol(dataset=str(tmp_path), masks="box", samples=2)
    samples = load_samples(protocol)
    assert [sample.caption for sample in samples] == [long, ""]
    tell_captions(protocol, samples, components, Console(stderr=True, highlight=False, width=80))
    first, second = capsys.readouterr().err.splitlines()
    assert first == (
        "captions of 1 of 2 photos (from 'metadata.csv', column prompt); 1 without a caption: "
        "'b.jpg'; 1 listed, but no photo: 'c.jpg'"
    )
    assert second.startswith("1 of 2 captions are longer than the 32 tokens")


def test_scenes_need_no_words_about_their_captions(
    components: Components, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = Protocol(samples=12)
    tell_captions(protocol, load_samples(protocol), components, Console(stderr=True))
    assert capsys.readouterr().err == ""
