"""The program and what surrounds it: signals, streams, environment, empty words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.commands import Ran
from slsgu.cli import console
from slsgu.cli.environment import ALLOCATOR, malformed_variable, variables_at_fault
from slsgu.cli.groups import Words
from slsgu.cli.streams import safe

Cli = Callable[..., Ran]


def program(
    *words: str, shell: str = "", cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the installed program; `shell` says what to do with its streams."""
    return subprocess.run(
        ["bash", "-c", f'"$@" {shell}', "slsgu", sys.executable, "-m", "slsgu", *words],
        env={**os.environ, **env},
        cwd=cwd,
        text=True,
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize("when", [0.1, 0.2, 0.4])
def test_an_early_sigterm_is_answered(tmp_path: Path, when: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "slsgu", "apply", "--concept", "beagle"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        # Once the program's own code runs; before that, the signal is Python's.
        end = time.monotonic() + 20
        while not caught(running.pid, signal.SIGTERM):
            assert time.monotonic() < end
            time.sleep(0.002)
        time.sleep(when)
        running.send_signal(signal.SIGTERM)
        told = running.communicate(timeout=60)[1]
    assert running.returncode == 143
    assert (
        told == "Interrupted: finished files are whole. The same command uses what has been kept.\n"
    )
    assert not list(tmp_path.rglob("*.part"))


def caught(process: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


@pytest.mark.parametrize("ours", [True, False], ids=["slsgu", "control"])
def test_a_late_sigterm_changes_no_exit_status(ours: bool) -> None:
    """Once the work is done, the exit status says so, however long Python takes to go."""
    code = "import atexit, time; atexit.register(time.sleep, 2); "
    code += "from slsgu.__main__ import run; " if ours else ""
    code += "run()" if ours else "print('done', flush=True)"
    words = [sys.executable, "-c", code, "--version"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.5)
        process.terminate()
        assert process.wait(20) == (0 if ours else -signal.SIGTERM)


@pytest.mark.parametrize("words", ["concepts retriever", "--version", "--help", "apply --help"])
def test_a_full_disk_behind_stdout_is_an_error(words: str) -> None:
    done = program(*words.split(), shell="> /dev/full")
    told = "Error: cannot write to standard output: No space left on device\n"
    assert done.returncode == 1 and done.stderr == told
    done = program(*words.split())  # control
    assert done.returncode == 0 and done.stdout and not done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_disturb_nothing(closed: str) -> None:
    done = program("concepts", "retriever", shell=closed)
    assert done.returncode == 0 and not done.stderr.startswith("Traceback")


def test_a_reader_that_leaves_is_no_error() -> None:
    done = program("concepts", shell="| head -1; exit ${PIPESTATUS[0]}")
    assert done.returncode in (0, 141) and done.stdout.count("\n") == 1
    assert "Error" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_drawing_at_once(tmp_path: Path, number: int) -> None:
    """Ctrl-C reaches the processes that draw, too, and SIGTERM does not."""
    code = "from slsgu.__main__ import run; import os; os.cpu_count = lambda: 2; run()"
    words = ["menagerie", "train", "--out", "out", "--cache", "cache", "--images-per-leaf", "5000"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert "leaves" in process.stderr.readline()
        time.sleep(4)  # by now it draws
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        assert process.wait(20) == 128 + number
        assert process.stderr.read().splitlines()[-1].startswith("Interrupted")


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
def test_memory_that_does_not_hold_the_libraries_is_told() -> None:
    words = ["sh", "-c", 'ulimit -v 800000; exec "$@"', "sh", sys.executable, "-m", "slsgu"]
    done = subprocess.run([*words, "layers"], text=True, capture_output=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("Error: there is not enough memory")
    assert program("layers").returncode == 0  # control


@pytest.mark.parametrize("seed", ["-1", "9" * 30])
def test_a_seed_that_no_generator_takes_is_refused(cli: Cli, seed: str) -> None:
    for words in (("train", "--out", "out"), ("check",), ("sheet", "--out", "s.png")):
        ran = cli("menagerie", *words, "--seed", seed)
        assert ran.code == 2 and f"{seed} does not lie between 0 and" in ran.err


CONTROL = ["\x1b]0;title\x07", "\x1b[2J", "a\x9b31m", "a\u202eb", "a\x00b"[:1] + "\x08", "a\rb"]


@pytest.mark.parametrize("text", CONTROL)
def test_what_is_typed_reaches_the_terminal_as_text(cli: Cli, text: str) -> None:
    for words in (
        ("concepts", text),
        ("concepts", "--taxonomy", text),
        ("patch", "show", text),
        ("apply", "--concept", text),
        ("apply", f"--{text}"),
        ("evaluate", "--model", text),
        (text,),
    ):
        ran = cli(*words)
        assert ran.code in (1, 2) and ran.err
        assert all(char.isprintable() or char == "\n" for char in ran.out + ran.err)


def test_a_progress_bar_returns_to_the_start_of_its_line() -> None:
    for text in ("\rreading 10%", "\r          \r", "\r", "", "done\n"):  # as tqdm writes them
        assert safe(text) == text
    assert safe("skipped: a\rError: b\n") == "skipped: a\ufffdError: b\n"


def test_json_says_exactly_what_is_there(cli: Cli, tmp_path: Path) -> None:
    tree = tmp_path / "odd.yaml"
    tree.write_text(yaml.safe_dump({"dog": ["caf\u00e9 \u65e5\u672c", "a\u202eb \x9b31m"]}))
    ran = cli("concepts", "--taxonomy", tree, "--json")
    if ran.code == 0:
        assert "caf\u00e9 \u65e5\u672c" in ran.out and "a\u202eb" in str(json.loads(ran.out))
    assert all(char.isprintable() or char == "\n" for char in ran.out + ran.err)


def test_names_in_files_reach_the_terminal_as_text(cli: Cli, tmp_path: Path) -> None:
    tree = tmp_path / "odd\x1b[31m.yaml"
    tree.write_text('dog: ["bea\\u001b]0;x\\u0007gle", "pug"]\n')
    ran = cli("concepts", "--taxonomy", tree)
    assert ran.out + ran.err and "\x1b" not in ran.out + ran.err and "\x07" not in ran.out
    assert "\x1b" not in cli("concepts", "--taxonomy", tree, "--json").out


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "1"}, "RANK is 1 and WORLD_SIZE is 1"),
        ({"WORLD_SIZE": "2"}, "RANK and MASTER_ADDR and MASTER_PORT are not set"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, "MASTER_ADDR and MASTER_PORT are not set"),
        ({"WORLD_SIZE": "2", "RANK": "5"}, "RANK is 5 and WORLD_SIZE is 2"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is 0"),
        ({"WORLD_SIZE": "-3"}, "WORLD_SIZE is -3"),
        ({"WORLD_SIZE": "9" * 30}, "WORLD_SIZE is "),
    ],
)
@pytest.mark.parametrize("command", ["grads", "evaluate", "apply"])
def test_half_of_what_torchrun_sets_is_told(
    cli: Cli,
    world: list[str],
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    message: str,
    command: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    wanted = () if command == "evaluate" else ("--concept", "beagle")
    ran = cli(command, *wanted, *world)
    assert ran.code == 1
    if environment.get("RANK", "0") == "0" or "WORLD_SIZE" not in environment:
        assert message in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("apply", "--concept", "beagle", "--data", ""),
        ("apply", "--concept", "beagle", "--data="),
        ("apply", "--concept", "beagle", "--run", " "),
        ("apply", "--concept", ""),
        ("patch", "apply", "p.safetensors", ""),
        ("evaluate", "--model", ""),
        ("select", "--source", "", "--match", "x"),
        ("",),
    ],
)
def test_empty_words_are_refused(cli: Cli, words: tuple[str, ...]) -> None:
    ran = cli(*words)
    assert ran.code == 2 and "empty (a variable not set?)" in ran.err


def test_a_request_from_a_pipe_is_not_passed_over(cli: Cli, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "/dev/null", "/dev/zero"):
        ran = cli("apply", "--request", name)
        assert ran.code == 2 and f"--request {name} is a pipe or a device" in ran.err


def test_odd_surroundings_simply_work(tmp_path: Path) -> None:
    odd = {"MPLBACKEND": "nonsense", "LC_ALL": "C", "LANG": "C", "COLUMNS": "x"}
    done = program("concepts", "retriever", cwd=tmp_path, **odd)
    assert done.returncode == 0 and not done.stderr
    done = program("menagerie", "sheet", "--out", "sheet.png", cwd=tmp_path, **odd)  # draws
    assert done.returncode == 0 and (tmp_path / "sheet.png").is_file(), done.stderr


def test_a_working_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    """A library of torch's would end the program with a line about itself."""
    gone = f"mkdir {tmp_path}/x; cd {tmp_path}/x; rmdir {tmp_path}/x"
    for words, code in ((["layers"], 1), (["--version"], 0)):
        command = [sys.executable, "-m", "slsgu", *words]
        done = subprocess.run(
            ["bash", "-c", f'{gone}; "$@"', "x", *command], capture_output=True, text=True
        )
        told = "Error: the working directory is gone: change to another\n"
        assert (done.returncode, done.stderr) == (code, told if code else ""), words


def test_a_concept_is_found_where_the_locale_knows_only_ascii(tmp_path: Path) -> None:
    (tmp_path / "pets.yaml").write_text("dog: [犬, pug]\ncat: [tabby]\n", encoding="utf-8")
    odd = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = program("concepts", "犬", "--taxonomy", "pets.yaml", "--json", cwd=tmp_path, **odd)
    assert done.returncode == 0 and '"\\u72ac"' in done.stdout, done.stderr
    done = program("concepts", "猫", "--taxonomy", "pets.yaml", cwd=tmp_path, **odd)  # control
    assert done.returncode == 1 and "no concept" in done.stderr
    assert Words().convert("犬 \udcff", None, None) == "犬 \udcff"  # what is no text stays


def test_json_shows_the_same_progress(
    cli: Cli, world: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a result is printed as changes nothing of what is told on the way."""
    shown: list[tuple[str, int]] = []
    bar = console.tqdm

    def watched(*, desc: str, total: int, disable: bool, **options: Any) -> Any:
        assert options["file"] is sys.stderr
        shown.append((desc.strip(), total))
        return bar(desc=desc, total=total, disable=True, **options)

    monkeypatch.setattr(console, "tqdm", watched)
    told = []
    forms: tuple[tuple[str, ...], ...] = ((), ("--json",))
    for number, form in enumerate(forms):
        run = f"run-{number}"
        words = ["apply", "--concept", "beagle", *world, "--workers", "0", "--run", run, *form]
        first, again = cli(*words), cli(*words)  # the second has the gradients, and says so
        told.append((shown[:], first.err, again.err.replace(run, "run")))
        shown.clear()
        assert (first.out[0] == "{") == bool(form)  # control
    assert told[0] == told[1]
    assert {"retain gradient", "step search", "test images"} <= {what for what, _ in told[0][0]}
    assert "gradients: reusing" in told[0][2]


@pytest.mark.parametrize(
    ("asked", "words", "number", "told"),
    [
        ("nonsense", "", "", "write bash_source"),
        ("tcsh_source", "", "", "write bash_source"),
        ("bash_complete", "", "", "not as a shell sets them"),
        ("bash_complete", "slsgu x", "y", "not as a shell sets them"),
    ],
)
def test_completion_as_no_shell_asks_for_it(asked: str, words: str, number: str, told: str) -> None:
    ran = program("--help", _SLSGU_COMPLETE=asked, COMP_WORDS=words, COMP_CWORD=number)
    assert ran.returncode == 2 and told in ran.stderr and "Traceback" not in ran.stderr


def test_what_is_mistyped_can_be_completed() -> None:
    env = {"_SLSGU_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
    ran = program(COMP_WORDS="slsgu aply --", **env)
    assert ran.returncode == 0 and not ran.stderr
    ran = program(COMP_WORDS="slsgu apply --dat", **env)  # control
    assert ran.returncode == 0 and ran.stdout.strip() == "plain,--data"


def test_a_rank_that_nobody_else_shares_is_told(tmp_path: Path) -> None:
    ran = program("evaluate", cwd=tmp_path, RANK="1", WORLD_SIZE="2")
    assert ran.returncode == 1 and "MASTER_ADDR" in ran.stderr


@pytest.mark.parametrize(
    ("variable", "library"),
    [
        ("TQDM_MININTERVAL=abc", "tqdm"),
        ("TORCH_LOGS=nonsense", "torch"),
        ("TORCH_COMPILE_DEBUG=x", "torch"),
        ("HF_HUB_DOWNLOAD_TIMEOUT=abc", "huggingface_hub"),
    ],
)
def test_a_variable_that_a_library_refuses_is_named(variable: str, library: str) -> None:
    name, _, value = variable.partition("=")
    done = program("layers", **{name: value})
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"{library} does not start with {name}='{value}' in the environment" in done.stderr
    assert program("layers", TQDM_MININTERVAL="0.5").returncode == 0  # control


@pytest.mark.parametrize("value", ["x", ":", "a=1", "max_split_size_mb:64,x", "a:[1", "a:b:c"])
def test_a_variable_on_which_torch_would_end_the_process_is_named(
    monkeypatch: pytest.MonkeyPatch, cli: Cli, value: str
) -> None:
    for name in ALLOCATOR:
        monkeypatch.setenv(name, value)
        ran = cli("concepts", "zebra")  # before torch is loaded
        assert ran.code == 2 and f"{name} is {value!r} in the environment" in ran.err
        for good in ("", "max_split_size_mb: 64, expandable_segments:True,", "a:[256:1,>:4]"):
            monkeypatch.setenv(name, good)  # control
            assert malformed_variable() is None
        monkeypatch.delenv(name)


def test_a_variable_that_torch_refuses_on_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:1")
    error = RuntimeError("CachingAllocator option max_split_size_mb too small, must be >= 20")
    told = variables_at_fault(error)
    assert told is not None and "PYTORCH_CUDA_ALLOC_CONF='max_split_size_mb:1'" in told
    assert variables_at_fault(RuntimeError("no such layer")) is None  # control
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF")
    assert variables_at_fault(error) is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("patch scale p 2 --out --json", "'--json' begins with a dash"),
        ("patch scale p 2 --out -", "'-' begins with a dash"),
        ("apply --concept a --save-model --json", "'--json' begins with a dash"),
        ("grads --concept a --run -x", "write ./-x"),
        ("audit --run run --out --json", "'--json' begins with a dash"),
        ("apply --asked-by --json --concept a", "'--json' is an option"),
        ("audit --run run --control --json", "'--json' is an option"),
    ],
)
def test_an_option_is_not_taken_for_a_value(
    cli: Cli, tmp_path: Path, words: str, told: str
) -> None:
    ran = cli(*words.split())
    assert ran.code == 2 and told in ran.err
    assert not list(Path().iterdir())


def test_a_folder_whose_name_begins_with_a_dash_can_be_named(cli: Cli, world: list[str]) -> None:
    assert cli("grads", "--concept", "beagle", "--run", "./-x", *world).code == 0
    assert Path("./-x/gradients.safetensors").is_file()
    ran = cli("apply", "--concept", "beagle", "--reason", "- they asked", "--dry-run", *world)
    assert ran.code == 0, ran.err  # a text may begin with one
