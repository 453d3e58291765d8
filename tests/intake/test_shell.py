"""The shell around a command: its variables, folder, terminal, signals and files, as they come."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdsearch.console import make_console, show_status
from sdsearch.errors import HarnessError, InputError, WorkError
from sdsearch.files import read_json_lines
from sdsearch.harness import harness_environment, harness_line, run_harness, written
from sdsearch.shell import STOPPED, describe_error, open_streams, run_command
from sdsearch.study.folder import StudyFolder, read_study
from sdsearch.study.recipes import SMALL
from sdsearch.study.requests import FinetuneRequest, RecoverRequest
from sdsearch_eval.world import open_world

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'eval'}"}
LEFTOVERS = {
    "torchrun": {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "29500",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    },
    "accelerate": {"ACCELERATE_USE_CPU": "true", "ACCELERATE_TORCH_DEVICE": "cuda:7"},
    "torchrun's own options": {"PET_NNODES": "4", "PET_RDZV_ENDPOINT": "10.0.0.1:1"},
    "Open MPI": {"OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_RANK": "3"},
    "Slurm's PMI": {"PMI_SIZE": "4", "PMI_RANK": "2"},
}


def sdsearch(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sdsearch", *arguments],
        cwd=cwd,
        env={**ENVIRONMENT, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def write_study(folder: Path, toml: bytes = SMALL.encode()) -> Path:
    folder.mkdir(parents=True)
    (folder / "study.toml").write_bytes(toml)
    return folder


# Variables


@pytest.mark.parametrize("variables", LEFTOVERS.values(), ids=LEFTOVERS)
def test_a_launchers_leftovers_reach_no_process_of_ours(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**variables, "SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "1"}.items():
        monkeypatch.setenv(name, value)
    made = harness_environment()
    assert not set(variables) & set(made)
    assert made["SLURM_JOB_ID"] == "7"
    assert made["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.mark.parametrize("name", ["WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"])
@pytest.mark.parametrize(("said", "expected"), [("2", 1), ("3", 2), ("1", 2)])
def test_another_number_of_processes_is_refused_before_anybody_waits(
    name: str, said: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, said)
    with pytest.raises(InputError, match=f"{expected} processes .* unset {name}, .* {said}"):
        open_world(expected)


def test_a_job_of_one_process_joins_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "192.0.2.1")  # an address that nobody has
    assert open_world(1).size == 1
    assert "MASTER_ADDR" not in os.environ


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5h://127.0.0.1:9", "socks://a:1"])
@pytest.mark.parametrize("exempt", ["", "[::1],10.0.0.0/8"])
def test_the_app_reaches_itself_whatever_proxy_is_named(
    proxy: str, exempt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    httpx = pytest.importorskip("httpx")
    from sdsearch_eval.app.serving import reach_locally

    for name in ("http_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.setenv("NO_PROXY", exempt)
    monkeypatch.setenv("no_proxy", exempt)
    reach_locally()
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.handle_request, daemon=True).start()
        found = httpx.head(f"http://localhost:{server.server_port}/")
    assert found.status_code == 501  # our server's answer to what it does not know


# The current folder


def test_stray_modules_in_the_current_folder_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("random", "torch", "pydantic", "typer", "yaml"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(f'{__name__} is a stray')\n")
    for name in ("sdsearch_eval", "numpy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('a stray')\n")
    done = sdsearch("space", "--space", "tiny", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
    (tmp_path / "request.json").write_text("{}")
    line = harness_line(Path("request.json"))
    for environment in (harness_environment(), ENVIRONMENT):
        if environment is ENVIRONMENT:  # no safe path: what Python itself looks for is ours
            (tmp_path / "sdsearch_eval" / "__init__.py").unlink()
            (tmp_path / "sdsearch_eval").rmdir()
        done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        assert "a request must be valid" in done.stderr


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("sdsearch space --space tiny", 0, ""),
        ("sdsearch check photos", 2, "is no folder here"),
        ("sdsearch compare --pipelines tiny --image a.png --mask auto:box", 1, "was deleted"),
        ("sdsearch_eval --no", 2, "takes one request"),
    ],
)
def test_in_a_folder_that_was_deleted_a_command_ends_in_words(
    line: str, code: int, said: str, tmp_path: Path
) -> None:
    gone = f"mkdir gone && cd gone && rmdir ../gone && exec {sys.executable} -m {line}"
    environment = {**ENVIRONMENT, "PYTHONSAFEPATH": ""}
    done = subprocess.run(
        ["bash", "-c", gone], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("path", "kept"), [("/a:/b", "/a:/b"), (":/a", "/a"), ("/a::", "/a"), ("", None)]
)
def test_pythonpath_is_handed_on_without_the_current_folder(
    path: str, kept: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", path)
    made = harness_environment()
    assert made.get("PYTHONPATH") == kept
    assert made["PYTHONSAFEPATH"] == "1"


# The end of a command


def fail(error: BaseException) -> int:
    raise error


ENDS = {
    "wrong input": (InputError("x must be y"), 2, "error: x must be y\n"),
    "failed work": (WorkError("no luck"), 1, "failed: no luck\n"),
    "a harness that has said why": (HarnessError("grid", 2), 2, ""),
    "a harness that could not": (HarnessError("grid", -9), 1, "was ended by SIGKILL"),
    "a stopped harness": (HarnessError("grid", 130), STOPPED, ""),
    "Ctrl-C": (KeyboardInterrupt(), STOPPED, "run again to continue"),
    "nobody reads": (BrokenPipeError(32, "Broken pipe"), 1, ""),
    "a full disk": (OSError(28, "No space left", "a[b].png"), 1, "a[b].png; free some space"),
    "a read-only disk": (OSError(30, "Read-only", "x"), 1, "Read-only: x; choose a folder"),
    "another's folder": (PermissionError(13, "Permission denied", "x"), 1, "denied: x; it must"),
    "a name that steers": (InputError("no \x1b[2Ja.png\r"), 2, "error: no \\x1b[2Ja.png\\r\n"),
    "a fault": (KeyError("up\nblocks"), 1, "failed: KeyError: 'up\\nblocks' (not foreseen"),
}


@pytest.mark.parametrize(("error", "code", "said"), ENDS.values(), ids=ENDS)
def test_every_end_is_at_most_one_line_and_an_exit_code(
    error: BaseException,
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run_command(lambda: fail(error)) == code
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == (1 if said else 0)
    assert "Traceback" not in shown
    can_help = isinstance(error, KeyboardInterrupt) or "free some" in said or "SIGKILL" in said
    assert ("run again" in shown) == can_help


def test_the_traceback_of_a_fault_is_kept_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run_command(lambda: fail(ZeroDivisionError("by 0"))) == 1
    (log,) = tmp_path.iterdir()
    assert str(log) in capsys.readouterr().err
    assert "ZeroDivisionError: by 0" in log.read_text()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert run_command(lambda: fail(ZeroDivisionError("by 0"))) == 1
    assert "could not be written" in capsys.readouterr().err


@pytest.fixture
def _hears_ctrl_c() -> Iterator[None]:
    """A shell that runs the tests in the background has them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_hears_ctrl_c")
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_harness_ends_with_all_it_has_started(
    signal_: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "child"
    code = f"""
import os, pathlib, subprocess, sys, time
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
pathlib.Path({str(started)!r}).write_text(str(child.pid))
os.kill({os.getpid()}, {int(signal_)})
try:
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""
    monkeypatch.setattr("sdsearch.harness.harness_line", lambda *_: [sys.executable, "-c", code])
    with pytest.raises(KeyboardInterrupt):
        run_harness(RecoverRequest(study=tmp_path, arch_keys=("0",)))
    child = int(started.read_text())
    for _ in range(50):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie":
            break
        time.sleep(0.1)
    else:
        pytest.fail("the child lives")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_several_processes_end_as_one_does(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(HarnessError) as ended:
        run_harness(FinetuneRequest(study=tmp_path, arch_key="0", processes=2), 2)
    assert ended.value.code == 2
    shown = capfd.readouterr().err
    assert "study.toml, but it is missing" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("redirect", ["| true", "| head -n 1", "> /dev/full", ">&-", "2>&-"])
@pytest.mark.parametrize("options", ["--json", ""])
def test_output_that_cannot_be_written_is_no_traceback(
    redirect: str, options: str, tmp_path: Path
) -> None:
    line = f"{sys.executable} -m sdsearch space --space tiny {options} {redirect}"
    shell = ["bash", "-o", "pipefail", "-c", line]
    done = subprocess.run(shell, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr
    assert done.returncode in (0, 1)
    if "full" in redirect:
        assert done.returncode == 1
        assert "No space left" in done.stderr


# Terminals and names


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_text_can_be_printed_in_any_encoding(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    open_streams()
    sys.stdout.write("1 ± 2, 湖, caf\udce9")
    sys.stdout.flush()
    said = raw.getvalue().decode(encoding)
    assert said.startswith("1 +- 2" if encoding == "ascii" else "1 ± 2")
    assert said.endswith("caf\\udce9")
    assert ("湖" if encoding == "utf-8" else "\\u6e56") in said


def test_an_ascii_terminal_gets_ascii_spinners_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with show_status(make_console(), "[b]/:smile:"):
        time.sleep(0.1)
    stream.flush()
    assert b"[b]/:smile:" in raw.getvalue()


def test_paths_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    make_console().print("/data/[bold]/:x:/[/]", soft_wrap=True)
    assert capsys.readouterr().err == "/data/[bold]/:x:/[/]\n"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_utf_8_can_be_told(tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    done = sdsearch("init", odd, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "caf\\udce9" in done.stdout
    with (
        pytest.raises(InputError, match="paths must be UTF-8"),
        written(RecoverRequest(study=odd, arch_keys=("0",))),
    ):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = sdsearch("init", str(tmp_path / "study"), cwd=tmp_path)
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr


def test_an_error_of_the_file_system_names_both_files() -> None:
    said = describe_error(OSError(18, "Invalid cross-device link", "a", None, "b"))
    assert said == "Invalid cross-device link: a: b"


# study.toml and other text

STUDIES = {
    "as written": SMALL.encode(),
    "with a byte order mark": b"\xef\xbb\xbf" + SMALL.encode(),
    "with CRLF": SMALL.replace("\n", "\r\n").encode(),
    "with both": b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode(),
}


@pytest.mark.parametrize("toml", STUDIES.values(), ids=STUDIES)
def test_a_study_is_read_as_editors_leave_it(toml: bytes, tmp_path: Path) -> None:
    assert read_study(write_study(tmp_path / "s", toml)).config == _read(SMALL.encode())


@pytest.mark.parametrize("toml", [SMALL.encode("utf-16"), b"[teacher]\npipeline = 'caf\xe9'\n"])
def test_another_encoding_is_refused_with_what_to_do(toml: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"study\.toml must be text in UTF-8.*save it as UTF-8"):
        read_study(write_study(tmp_path / "s", toml))


def test_only_newlines_end_a_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes("\ufeff{'a'}\r\n\u2028 \x0c\x85\n\nlast".encode())
    assert read_json_lines(file) == [b"{'a'}\r", "\u2028 \x0c\x85".encode(), b"", b"last"]
    file.write_bytes(b"")
    assert read_json_lines(file) == []


def _read(toml: bytes) -> object:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return read_study(write_study(Path(folder) / "s", toml)).config


KEYS = st.sampled_from(
    [
        *("teacher", "space", "protocol", "label", "ranker", "build", "export"),
        *("pipeline", "name", "labels", "seed", "steps", "masks", "dataset"),
        *("recovery", "rungs", "budget", "params", "share", "target", "methods"),
        *("kind", "samples", "latency_ms", "x"),
    ]
)
VALUES = st.recursive(
    st.one_of(
        st.booleans().map(lambda b: str(b).lower()),
        st.integers().map(str),
        st.integers(0, 2**70).map(hex),
        st.floats().map(lambda f: repr(f)),
        st.text(max_size=5).map(lambda t: '"' + t.encode("unicode_escape").decode() + '"'),
        st.sampled_from(['"tiny"', '"box"', '"-log(x)"', "1979-05-27", "07:32:00", "{}", "[]"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda found: f"[{', '.join(found)}]"),
        st.dictionaries(KEYS, inner, max_size=3).map(
            lambda found: "{" + ", ".join(f"{k} = {v}" for k, v in found.items()) + "}"
        ),
    ),
    max_leaves=5,
)
SECTIONS = st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3), max_size=3).map(
    lambda found: "\n".join(
        f"[{name}]\n" + "\n".join(f"{key} = {value}" for key, value in rows.items())
        for name, rows in found.items()
    )
)
TOPS = st.dictionaries(KEYS, VALUES, max_size=3).map(
    lambda found: "\n".join(f"{key} = {value}" for key, value in found.items())
)
ODD = [
    b"[" * 5000,
    b"a = " + b"[" * 5000,
    b"seed = " + b"9" * 5000,
    b"seed = 0x" + b"f" * 5000,
    b"[protocol]\nseed = 0x" + b"f" * 5000,
    b"protocol = 3",
    b"\x00",
    b"[build]\nbudget = 5",
    b"[label]\nrungs = [1]",
    b"[label.rungs.x]\ny = 1",
]


@pytest.mark.parametrize("toml", ODD, ids=range(len(ODD)))
def test_an_odd_study_is_refused_in_words(toml: bytes) -> None:
    with pytest.raises(InputError):
        _read(toml)


@pytest.mark.fuzz
@given(st.one_of(st.binary(max_size=60), SECTIONS.map(str.encode), TOPS.map(str.encode)))
def test_any_bytes_give_a_study_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, toml: bytes
) -> None:
    root = tmp_path_factory.getbasetemp() / "fuzzed"
    root.mkdir(exist_ok=True)
    (root / "study.toml").write_bytes(toml)
    try:
        found = read_study(root)
    except InputError:
        return
    assert isinstance(found, StudyFolder)
