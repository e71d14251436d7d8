"""`slsgu audit`: from a run, a patch or two models to a verdict, and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import Ran

QUICK = ["--probe", "prototypes", "--probe", "linear probe"]


@pytest.fixture
def run(cli: Callable[..., Ran], world: list[str], tmp_path: Path) -> Path:
    """A run folder with a patch that makes the model forget one class."""
    done = cli("apply", "--concept", "beagle", *world, "--run", "run", "--force", report=True)
    assert (tmp_path / "run" / "patch.safetensors").exists(), done.err
    return tmp_path / "run"


def test_a_run_is_audited_and_its_verdict_leads_the_report(
    cli: Callable[..., Ran], run: Path, world: list[str]
) -> None:
    done = cli("audit", "--run", run)
    assert done.code == 0, done.err
    written = json.loads((run / "audit.json").read_text())
    assert f"beagle: {written['verdict']}" in done.out
    assert len({x["probe"] for x in written["readings"]}) == 8
    assert all(x["never_knew"] is None for x in written["readings"])
    report = (run / "report.html").read_text()
    title = f"beagle: {written['verdict']}"
    assert report.index(title) < report.index("slsgu report ·")
    page = (run / "audit.html").read_text()
    assert title in page and "*removed*" not in page + done.out
    cli("audit", "--run", run, *QUICK)  # a second time, the section is replaced
    assert (run / "report.html").read_text().count(title) == 1
    again = cli("apply", "--concept", "beagle", *world, "--run", run, "--force", report=True)
    assert f"audit      {written['verdict']}" in again.out
    assert title in (run / "report.html").read_text()


def test_a_part_of_an_audit_has_no_verdict_and_takes_nothing_away(
    cli: Callable[..., Ran], run: Path
) -> None:
    def readings() -> dict[str, Any]:
        written = json.loads((run / "audit.json").read_text())
        return {"readings": written["readings"], "seconds": written["seconds"]}

    plain = (run / "report.html").read_text()
    done = cli("audit", "--run", run, "--probe", "relearning")
    assert done.code == 0 and "beagle: no verdict" in done.out
    assert "have not been read" in " ".join(done.out.split())
    assert (run / "report.html").read_text() == plain
    assert "beagle: no verdict" in (run / "audit.html").read_text()
    cli("audit", "--run", run)
    whole, led = readings(), (run / "report.html").read_text()
    assert led != plain and set(whole["seconds"]) == {x["probe"] for x in whole["readings"]}
    done = cli("audit", "--run", run, "--probe", "relearning")
    assert "no verdict" not in done.out
    assert readings() == whole and (run / "report.html").read_text() == led


def test_another_concept_or_patch_than_the_runs_goes_elsewhere(
    cli: Callable[..., Ran], run: Path
) -> None:
    one = ["audit", "--run", run, "--probe", "prototypes"]
    assert cli(*one).code == 0
    kept = (run / "audit.json").read_bytes()
    done = cli(*one, "--concept", "pug")
    assert done.code == 2 and "dog/pug, not of dog/beagle" in done.err and "--out" in done.err
    done = cli(*one, "--patch", run / "patch.safetensors")
    assert done.code == 2 and "of another patch" in done.err
    assert (run / "audit.json").read_bytes() == kept
    assert cli(*one, "--concept", "pug", "--out", "pug").code == 0
    assert cli(*one, "--concept", "beagle").code == 0  # control: it is the run's
    assert (run / "audit.json").read_bytes() == kept


def test_another_patch_beside_a_run_is_audited_for_its_own_concept(
    cli: Callable[..., Ran], run: Path, world: list[str], tmp_path: Path
) -> None:
    made = cli("apply", "--concept", "pug", *world, "--run", "of-pug", "--force", report=True)
    patch = tmp_path / "of-pug" / "patch.safetensors"
    assert patch.exists(), made.err
    both = ["audit", "--run", run, "--patch", patch, "--probe", "prototypes"]
    refused = cli(*both)
    assert refused.code == 2 and "an audit of another patch" in refused.err
    assert cli(*both, "--out", "mixed").code == 0
    paths = json.loads((tmp_path / "mixed" / "audit.json").read_text())["request"]["paths"]
    assert paths == ["dog/pug"]


def test_a_second_audit_goes_on_where_the_first_stopped(cli: Callable[..., Ran], run: Path) -> None:
    cli("audit", "--run", run, "--probe", "prototypes")
    done = cli("audit", "--run", run, *QUICK)
    assert "prototypes: done before" in done.err
    assert "linear probe: done before" not in done.err
    (run / "audit.json").write_text("{}")  # control: nothing that can be used
    anew = cli("audit", "--run", run, *QUICK).err
    assert "done before" not in anew and "audit.json: it is not of this version" in anew
    assert "cannot be read" not in done.err  # control: what can be used needs no words


def test_an_interrupted_audit_replaces_nothing_and_is_gone_on_with(
    cli: Callable[..., Ran], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = ["audit", "--run", run, "--probe", "prototypes"]
    assert cli(*one).code == 0
    kept = (run / "audit.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(
            "slsgu.audit.linear.right", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert cli("audit", "--run", run, "--seed", "1").code != 0
    assert (run / "audit.json").read_bytes() == kept
    assert len(list(run.glob("audit.unfinished-*.json"))) == 1
    assert cli(*one).code == 0  # of something else, which ends: what was begun stays
    refused = cli("audit", "--run", run, "--seed", "1", *QUICK)
    assert refused.code == 2 and "replaced by some probes alone" in refused.err
    assert (run / "audit.json").read_bytes() == kept
    done = cli("audit", "--run", run, "--seed", "1")
    assert "prototypes: done before" in done.err, done.err
    assert (run / "audit.json").read_bytes() != kept
    assert not list(run.glob("audit.unfinished-*.json"))


def test_an_audit_of_another_patch_does_not_lead(
    cli: Callable[..., Ran], run: Path, world: list[str]
) -> None:
    cli("audit", "--run", run, "--probe", "prototypes")
    text = json.loads((run / "audit.json").read_text())
    text["edit"] = {"visual.proj": "0" * 64}
    (run / "audit.json").write_text(json.dumps(text))
    again = cli("apply", "--concept", "beagle", *world, "--run", run, "--force", report=True)
    assert "audit.json was of an earlier patch, and is removed" in again.out
    assert "slsgu audit ·" not in (run / "report.html").read_text()
    assert not (run / "audit.json").exists() and not (run / "audit.html").exists()


def test_a_request_without_pictures_removes_an_audit_of_what_was_there_before(
    cli: Callable[..., Ran], run: Path, world: list[str]
) -> None:
    cli("audit", "--run", run, "--probe", "prototypes")
    assert (run / "audit.json").exists()
    given = dict(zip(world[::2], world[1::2], strict=True))
    tree = [word for name in ("--model", "--taxonomy") for word in (name, given[name])]
    words = ["--concept", "beagle", "--no-images", "--run", run, "--force"]
    made = cli("apply", *words, *tree, report=True)
    assert "audit.json was of an earlier patch, and is removed" in made.out, made.err
    assert not (run / "audit.json").exists() and not (run / "audit.html").exists()


def test_a_patch_file_and_two_models_give_the_readings_of_the_run(
    cli: Callable[..., Ran], run: Path, world: list[str], tmp_path: Path
) -> None:
    def readings(*words: str | Path) -> list[dict[str, Any]]:
        done = cli("audit", *words, *QUICK, "--json")
        assert done.code == 0, done.err
        return [x for x in json.loads(done.out)["readings"] if x["setting"] != "1 image"]

    first = readings("--run", run)
    patch = run / "patch.safetensors"
    assert readings("--patch", patch, *world, "--out", "of-patch") == first
    assert (tmp_path / "of-patch" / "audit.html").exists()
    model = world[1].removeprefix("local-dir:")
    made = cli("patch", "apply", patch, model, "--out", "edited")
    assert made.code == 0, made.err
    edited = ["--edited", "local-dir:edited", "--concept", "beagle", *world]
    of_models = readings(*edited)
    members = cli("audit", *edited, "--probe", "membership")
    assert "nobody knows which images" in " ".join(members.out.split())
    assert "nobody knows" not in cli("audit", "--run", run, "--probe", "membership").out  # control
    for one, other in zip(first, of_models, strict=True):
        assert one["after"] == pytest.approx(other["after"], abs=0.02)
        assert one["before"] == other["before"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "say what to audit"),
        (["--run", "run", "--edited", "x"], "give it without --run"),
        (["--patch", "p", "--known", "x"], "--known goes with --unknown"),
        (["--patch", "p", "--control", "x", "--unknown", "y"], "give one"),
    ],
)
def test_wrong_usage_is_refused_before_a_model_is_loaded(
    cli: Callable[..., Ran], words: list[str], says: str
) -> None:
    done = cli("audit", *words)
    assert done.code == 2 and says in done.err


def test_mistakes_are_told(cli: Callable[..., Ran], run: Path, world: list[str]) -> None:
    done = cli("audit", "--run", run, "--probe", "Protypes")
    assert done.code == 2 and "unknown probe 'Protypes'; did you mean 'prototypes'?" in done.err
    done = cli("audit", "--run", run, "--control", world[1])
    assert done.code == 1 and "is the model itself" in done.err
    done = cli("audit", "--edited", world[1], *world, "--concept", "beagle")
    assert done.code == 1 and "the same" in done.err
    done = cli("audit", "--run", run, "--unknown", "nowhere")
    assert done.code == 1 and "nowhere" in done.err


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("readings", 0, "before"), {"a": 1}),
        (("readings", 0, "after"), 1e308),
        (("readings", 0, "count"), -1),
        (("readings", 0, "kind"), "trace"),
        (("readings", 0, "extra"), {"curves": {"after": [0.5]}, "steps": [1, 2]}),
        (("request", "concepts"), [{}]),
        (("seconds",), {"prototypes": "x"}),
        (("towers",), 1),
        (("model",), []),
    ],
)
def test_a_damaged_audit_is_made_again(
    cli: Callable[..., Ran], run: Path, place: tuple[Any, ...], value: Any
) -> None:
    words = ("audit", "--run", run, "--probe", "prototypes")
    cli(*words)
    whole = json.loads((run / "audit.json").read_text())
    assert "done before" in cli(*words).err  # control
    inside = whole
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    (run / "audit.json").write_text(json.dumps(whole))
    done = cli(*words)
    assert done.code == 0 and "done before" not in done.err
    assert "done before" in cli(*words).err


def test_what_is_no_audit_of_this_is_not_replaced(
    cli: Callable[..., Ran], run: Path, tmp_path: Path
) -> None:
    words = ("audit", "--run", run, "--probe", "prototypes", "--out", "out")
    assert cli(*words).code == 0
    assert cli(*words).code == 0  # control: it is of this
    path = tmp_path / "out" / "audit.json"
    of_another = json.loads(path.read_text())
    of_another["request"]["paths"] = ["dog/pug"]
    for text, says in (('{"mine": 1}', "is no audit"), (json.dumps(of_another), "something else")):
        path.write_text(text)
        done = cli(*words)
        assert done.code == 1 and says in done.err and "--out" in done.err
        assert path.read_text() == text
