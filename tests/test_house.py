"""The house: rooms of a size that one can survey, one way for the data, nothing said twice."""

from __future__ import annotations

import ast
import re
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from scripts.draw_rooms import PICTURE, draw_rooms, read_layers

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"sdsearch": ROOT / "sdsearch", "sdsearch_eval": ROOT / "eval" / "sdsearch_eval"}
FOLDERS = sorted({file.parent for home in PACKAGES.values() for file in home.rglob("*.py")})
MODULES = sorted(file for home in PACKAGES.values() for file in home.rglob("*.py"))
SOURCES = {file: file.read_text(encoding="utf-8") for file in MODULES}
ROOMS = [folder for folder in FOLDERS if folder not in PACKAGES.values()]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def places_of(pattern: str) -> list[str]:
    """Where a pattern occurs in the code of the two packages."""
    return [
        f"{name_of(file)}: {line.strip()}"
        for file, text in SOURCES.items()
        for line in text.splitlines()
        if re.search(pattern, line)
    ]


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_no_folder_holds_more_than_twelve_modules(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= 12


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_every_module_says_in_its_first_line_what_it_is(module: Path) -> None:
    said = ast.get_docstring(ast.parse(SOURCES[module]))
    assert said
    first = said.splitlines()[0]
    assert len(first) > 15
    assert first.endswith((".", ":")), first
    assert SOURCES[module].startswith('"""')


@pytest.mark.parametrize("room", ROOMS, ids=name_of)
def test_every_room_says_what_lives_there_what_it_may_import_and_where_to_start(room: Path) -> None:
    tree = ast.parse(SOURCES[room / "__init__.py"])
    said = ast.get_docstring(tree) or ""
    assert re.search(r"\bimports?\b", said), said
    assert re.search(r"\bStart\b", said), said
    assert len(said.splitlines()) <= 5
    exported = [n for n in tree.body if isinstance(n, ast.Assign) and "__all__" in ast.unparse(n)]
    assert len(exported) == 1
    assert ast.literal_eval(exported[0].value), "a room has public names"


def test_imports_have_no_circle_type_only_ones_included() -> None:
    graph = grimp.build_graph(*PACKAGES, cache_dir=None, exclude_type_checking_imports=False)
    wanted = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    TopologicalSorter(wanted).prepare()  # raises on a circle and names it
    assert len(graph.modules) > 150


def test_each_package_has_at_most_nine_layers_and_each_room_is_in_one() -> None:
    for package, layers in read_layers().items():
        assert len(layers) <= 9
        listed = [name for layer in layers for name in layer]
        assert len(set(listed)) == len(listed)
        home = PACKAGES[package]
        rooms = {folder.name for folder in ROOMS if folder.parent == home}
        single = {file.stem for file in home.glob("*.py")} - {"__init__", "__main__"}
        assert rooms | single == set(listed) - {"__main__"}


def test_layers_count_type_only_imports_too() -> None:
    said = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert not said["tool"]["importlinter"].get("exclude_type_checking_imports")


def test_the_pages_name_every_room() -> None:
    names = ("architecture.md", "tour.md")
    pages = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in names)
    missing = [
        folder.name for folder in ROOMS if not re.search(rf"`{re.escape(folder.name)}/", pages)
    ]
    assert missing == []


def test_the_page_says_every_layer_in_one_sentence() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tables = page.split("## ")
    for package, layers in read_layers().items():
        (table,) = (part for part in tables if part.startswith(f"`{package}`"))
        rows = [row for row in table.splitlines() if re.match(r"\| \d ", row)]
        assert len(rows) == len(layers)
        for row, layer in zip(rows, layers, strict=True):
            assert {name.strip("`/") for name in re.findall(r"`[\w/]+`", row)} >= set(layer)


def test_the_picture_of_the_rooms_is_that_of_the_real_imports() -> None:
    drawn = draw_rooms()
    assert PICTURE.read_text(encoding="utf-8") == drawn, "run: python scripts/draw_rooms.py"


LABEL_FILE = r"protocol[._]key\}-s\{|series\}\.json"
TEACHER_BY_NAME = r"""members(\[|\.get\()["']teacher["']"""
CUT_ORIGIN = r"\borigins?(\[|\.(startswith|removeprefix|partition|split))|[\"']member:"
SAID = r"(str\(error\)|\b(message|reason|failure)\b)"
CUT_MESSAGE = (
    rf"{SAID}\.(startswith|endswith|split(?!\(\))|r?partition|find|index)\b|\bin \w*\.?{SAID}"
    r"""|(partition|split|index|find)\(["'] must be"""
)
SEARCHED_MESSAGE = rf"\.?\b(search|match|fullmatch)\(.*{SAID}"
OPTION = r"""(^|[\s`"'(])--[a-z]"""
COMMAND_LINES = (
    "sdsearch/cli/",
    "sdsearch/harness.py",
    "eval/sdsearch_eval/__main__.py",
    "eval/sdsearch_eval/world.py",
)
OF_OTHER_PROGRAMS = r"torchrun|torch\.distributed|accelerate|hf download"


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (LABEL_FILE, 'path = folder / f"{arch_key}/{study.config.protocol.key}-s{seed}.json"'),
        (LABEL_FILE, 'return f"{self.protocol_key}-s{self.seed}"'),
        (LABEL_FILE, 'path = folder / key / f"{series}.json"'),
        (LABEL_FILE, 'return self.folder / key.arch_key / f"{key.series}.json"'),
        (TEACHER_BY_NAME, 'teacher = space.members["teacher"]'),
        (TEACHER_BY_NAME, "teacher = space.members.get('teacher')"),
        (CUT_ORIGIN, 'if origins[:7] == "member:"'),
        (CUT_ORIGIN, 'name = origin.removeprefix("member ")'),
        (CUT_ORIGIN, 'members = [o for o in found if o[0] == "member:"]'),
        (CUT_MESSAGE, 'if "out of memory" in str(error):'),
        (CUT_MESSAGE, 'if "out of memory" in label.failure.message:'),
        (CUT_MESSAGE, 'if "memory" in reason:'),
        (CUT_MESSAGE, 'if failure.message.startswith("RuntimeError"):'),
        (CUT_MESSAGE, 'kind, _, rest = label.reason.partition(":")'),
        (CUT_MESSAGE, 'field = str(error).split(" ")[0]'),
        (CUT_MESSAGE, 'field = text.partition(" must be")[0]'),
        (SEARCHED_MESSAGE, 'if re.search("out of memory", str(error)):'),
        (SEARCHED_MESSAGE, "if _MEMORY.match(label.failure.message):"),
        (OPTION, "`rungs` are the cheaper measurements of `sdsearch label --halving`"),
        (OPTION, 'raise InputError("--seed must be positive")'),
    ],
)
def test_a_pattern_catches_what_it_forbids(pattern: str, line: str) -> None:
    assert re.search(pattern, line)


def test_the_file_name_of_a_label_is_built_in_one_place() -> None:
    store = "sdsearch/labels/store.py: "
    elsewhere = [place for place in places_of(LABEL_FILE) if not place.startswith(store)]
    series, floors = sorted(elsewhere)
    assert series.startswith("sdsearch/labels/label.py: ")
    assert floors.startswith("sdsearch/study/folder.py: ")
    assert "floors" in floors, "floors are no labels, and are named by the same series"


def test_the_unpruned_architecture_is_one_constant() -> None:
    assert places_of(TEACHER_BY_NAME) == []
    assert len(places_of(r"^UNPRUNED = ")) == 1


def test_origins_are_values_and_never_cut() -> None:
    assert places_of(CUT_ORIGIN) == []


def test_no_decision_hangs_on_the_words_of_a_message() -> None:
    assert places_of(CUT_MESSAGE) == []
    assert {place.split(":")[0] for place in places_of(SEARCHED_MESSAGE)} == {
        "eval/sdsearch_eval/bench/failures.py"
    }, "torch's own messages are read in one place"


def test_options_of_the_command_line_are_named_by_it_alone() -> None:
    assert [
        place
        for place in places_of(OPTION)
        if not place.startswith(COMMAND_LINES) and not re.search(OF_OTHER_PROGRAMS, place)
    ] == []


def test_every_command_of_the_harness_takes_one_typed_request() -> None:
    from sdsearch.study.requests import REQUEST
    from sdsearch_eval import jobs

    assert places_of(r"\bargparse\b") == []
    public = [getattr(jobs, name) for name in jobs.__all__]
    headlines = [job for job in public if not job.__module__.endswith(".workspace")]
    for job in headlines:
        assert list(job.__annotations__) == ["request", "return"]
        assert job.__annotations__["request"].endswith("Request")
    commands = set(REQUEST.json_schema()["discriminator"]["mapping"])
    assert len(commands) == len(headlines) + 1  # the app is asked for in the same way
