"""The script behind docs/results-photographs.md: its tables say what its JSON says, and no more."""

from __future__ import annotations

import copy
import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import slsgu
from slsgu.data.batches import Reading
from slsgu.data.splits.test_only import images_of
from slsgu.evaluation.proof import evaluate
from slsgu.task.find import find_taxonomy

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "results"
PAGE = ROOT / "docs" / "results-photographs.md"
ALL = ("ten", "web", "images", "group", "one", "kept", "found", "promised", "one-all")


def load(name: str) -> Iterator[ModuleType]:
    """A script of the folder. What it imports from there, it finds by a path that it adds."""
    path, known = list(sys.path), set(sys.modules)
    spec = importlib.util.spec_from_file_location(f"{name}_script", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = path
    for extra in sys.modules.keys() - known:
        if str(getattr(sys.modules[extra], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[extra]


@pytest.fixture
def script() -> Iterator[ModuleType]:
    yield from load("photographs")


@pytest.fixture
def tables() -> Iterator[ModuleType]:
    yield from load("photographs_tables")


def row(q_u: float, *, success: bool = True, change: float = 0.0, **more: Any) -> dict[str, Any]:
    ends = [change - 0.01, change + 0.01]
    kept = {"before": 0.8, "after": 0.8 + change, "change": ends, "count": 990}
    return {
        "success": success, "relative_step": 0.1, "q_u": q_u, "interval": [q_u - 0.01, q_u + 0.01],
        "forget": 0.015, "before": 0.955, "utility": 0.975, "unseen": 0.025, "probability": 0.945,
        "web": None, "imagenet": kept, **more,
    }  # fmt: skip


def elsewhere(q_u: float, count: int) -> dict[str, Any]:
    ends = [q_u - 0.02, q_u + 0.02]
    return {"q_u": q_u, "interval": ends, "count": count, "before": 0.992, "forget": 0.008}


FIVE = "found: prototypes, 5 images per class"
ROWS: dict[str, Any] = {
    "header": {"version": "0.1.0", "model": "0"},
    "sets": {"difficult": [], "medium": [], "easy": []},
    "ten/difficult/default": row(0.9948, change=-0.002, web=elsewhere(0.971, 72)),
    "ten/difficult/paper": row(0.91, success=False, change=-0.01, **{FIVE: [0.9, 0.99, 0.8, 200]}),
    "ten/easy/default": row(0.9894, change=-0.004, **{FIVE: [0.9, 0.7, 0.8, 200]}),
    "ten/easy/paper": {"refused": "no layer of\nthis name"},
    "images/5/difficult": row(0.96),
    "images/5/medium": row(0.95),
    "images/5/easy": row(0.946),
    "images/20/difficult": row(0.99),
    "images/20/medium": {"refused": "too few"},
    "images/20/easy": row(0.99),
    "images/35/easy": row(0.99),
    "group/retriever/default": row(0.98, web=elsewhere(0.96, 48)),
    "group/poodle dog/default": row(0.95, success=False, web=elsewhere(0.90, 24)),
    "group/retriever/paper": row(0.9, change=-0.0002),
    **{f"one/hound/h{i}/default": row(0.99 - i / 100, success=i != 6) for i in range(7)},
    "one/setter/Irish setter/default": {"refused": "too few"},
}


def lines_of(text: str) -> list[list[str]]:
    """The cells of the lines of a table, its head first."""
    found = [
        line[2:].removesuffix(" |").split(" | ") for line in text.splitlines() if line[:2] == "| "
    ]
    assert all(len(cells) == len(found[0]) for cells in found)
    return found


def blocks_of(text: str) -> dict[str, str]:
    parts = text.split("<!-- table: ")[1:]
    return {name: body for name, _, body in (part.partition(" -->") for part in parts)}


@pytest.fixture
def shown(
    tables: ModuleType, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, str]]:
    def shown(rows: dict[str, Any]) -> dict[str, str]:
        script.publish(tables.tables(rows), None)
        return blocks_of(capsys.readouterr().out)

    return shown


def test_ten_breeds_stand_beside_what_was_published(shown: Any) -> None:
    text = shown(ROWS)["ten"]
    _, first, second, third, fourth = lines_of(text)
    figures = ["95.5", "1.5", "97.5", "2.5", "94.5"]
    assert first == ["difficult", "default", "99.5 [98.5, 100.5]", "99.0: met", "95.2", *figures]
    assert second[:5] == ["difficult", "`--search paper`", "91.0 † [90.0, 92.0]", "–", "95.2"]
    assert third[2:5] == ["98.9 [97.9, 99.9]", "99.0: **missed**", "98.0"]
    assert fourth[2:] == ["refused", "–", "98.0", *5 * ["–"]]
    assert "* `easy/paper` was refused: no layer of this name" in text
    assert "*4 of 6 requests of this kind are done.*" in text  # medium is missing


def test_the_dagger_is_explained_where_it_stands(shown: Any) -> None:
    assert "† the goal was not met" in shown(ROWS)["ten"]
    met = {"ten/easy/default": row(0.99)}  # control
    assert "†" not in shown(met)["ten"]


def test_photographs_from_elsewhere(shown: Any) -> None:
    _, ten, groups = lines_of(shown(ROWS)["web"])
    assert ten[2:] == ["97.1 [95.1, 99.1]", "97.0: met", "72", "99.2", "0.8"]
    assert groups[0] == "one group: mean of 2 requests"
    assert groups[2:5] == ["93.0; lowest: poodle dog 90.0", "97.0: **missed**", "72"]


def test_few_images_and_their_mean(shown: Any) -> None:
    text = shown(ROWS)["images"]
    _, five, twenty, most, published = lines_of(text)
    assert five[0] == "4 + 1" and five[4:] == ["95.2", "95.0: met", "–"]
    # A set that was refused is no part of a mean: there is none then, and the target is missed.
    assert twenty[1:] == [
        "99.0 [98.0, 100.0]", "refused", "99.0 [98.0, 100.0]", "–", "98.0: **missed**", "86.9",
    ]  # fmt: skip
    assert most[1:] == ["–", "–", "99.0 [98.0, 100.0]", "–", "–", "–"]
    assert published[-1] == "95.2"
    assert "* `20/medium` was refused: too few" in text and "*7 of 15 requests" in text


def test_groups_their_mean_and_the_lowest(shown: Any) -> None:
    text = shown(ROWS)["group"]
    _, first, second, mean, lowest = lines_of(text)
    assert first == ["retriever", "95.5", "98.0 [97.0, 99.0]", "1.5", "90.0 [89.0, 91.0]", "1.5"]
    assert second[2:] == ["95.0 † [94.0, 96.0]", "1.5", "–", "–"]
    assert mean[2] == "**96.5** (of 2)" and lowest[2] == "**95.0** (of 2)"
    assert mean[4] == lowest[4] == "**90.0** (of 1)"
    assert "Target of the mean, default: 97.0: **missed**." in text
    better = copy.deepcopy(ROWS)  # control
    better["group/poodle dog/default"]["q_u"] = 0.97
    assert "**97.5** (of 2)" in shown(better)["group"] and "97.0: met" in shown(better)["group"]


def test_single_breeds_in_short_and_all(shown: Any) -> None:
    found = shown(ROWS)
    _, default = lines_of(found["one"])
    named = "hound/h6 93.0, hound/h5 94.0, hound/h4 95.0, hound/h3 96.0, hound/h2 97.0"
    assert default == ["default", "7", "96.0", "98.0: **missed**", named, "1", "1"]
    _, *every = lines_of(found["one-all"])
    assert [cells[0] for cells in every] == [
        *(f"hound/h{i}" for i in range(7)),
        "setter/Irish setter",
    ]
    assert every[6][2] == "93.0 † [92.0, 94.0]" and every[7] == [
        "setter/Irish setter", "–", "refused", "–", "–", "–",
    ]  # fmt: skip
    assert "* `setter/Irish setter/default` was refused: too few" in found["one-all"]
    assert "*8 of 198 requests" in found["one"]


def test_what_else_is_kept(shown: Any) -> None:
    text = shown(ROWS)["kept"]
    lines = {(cells[0], cells[1]): cells[2:] for cells in lines_of(text)[1:]}
    ten = lines["ten breeds at once", "default"]
    aim = "**missed** by 1 of 2"
    assert ten == ["2", "80.0", "-0.3", "-0.4 [-1.4, +0.6]", "easy", aim, "0"]
    assert "Lost more than 0.3 points, ten breeds at once: easy -0.4." in text
    assert lines["ten breeds at once", "`--search paper`"][3:] == [
        "-1.0 [-2.0, +0.0]", "difficult", "–", "0",
    ]  # fmt: skip
    # What rounds to nothing is +0.0, never -0.0.
    assert lines["one group", "`--search paper`"][2] == "+0.0"
    assert lines["one breed", "default"][-2:] == ["met", "0"]
    worse = {"ten/easy/default": row(0.99, change=-0.02)}
    assert lines_of(shown(worse)["kept"])[1][-1] == "1"  # the whole interval lies below


def test_what_the_margins_promise_and_what_came_of_it(shown: Any) -> None:
    rows = {
        "one/hound/a/default": row(0.99, probability=0.99),
        "one/hound/b/default": row(0.9, probability=0.98, forget=0.1),
        "one/hound/c/default": row(0.9, probability=0.9),
        "one/hound/d/default": row(0.9, probability=None),
        "one/hound/a/paper": row(0.9, probability=0.99),
    }
    _, sure, less = lines_of(shown(rows)["promised"])
    assert sure == ["one breed", "at least 97.5 %, as asked", "2", "2.5", "5.8", "1 of 2"]
    assert less == ["one breed", "less", "1", "2.5", "1.5", "0 of 1"]


def test_what_is_found_again_without_a_name(shown: Any) -> None:
    _, default, paper = lines_of(shown(ROWS)["found"])
    head = ["ten breeds at once", "default", "1", "5 photographs"]
    assert default == [*head, "90.0", "70.0", "80.0", "10.0", "0", "0"]
    assert paper[2:] == ["1", "5 photographs", "90.0", "99.0", "80.0", "19.0", "1", "1"]


def test_a_json_with_nothing_makes_no_table(shown: Any) -> None:
    found = shown({"header": {}, "sets": {}})
    assert tuple(found) == ALL
    assert all(not lines_of(text) and " 0 of " in text.replace("*", " ") for text in found.values())


def test_the_tables_expect_what_the_script_runs(script: ModuleType, tables: ModuleType) -> None:
    assert tuple(tables.IMAGES) == script.COUNTS and tables.SEARCHES.keys() == script.MODES.keys()
    tree = script.find_taxonomy("imagenet-dogs", None)
    sets = {name: [tree.leaves[0].key] for name in tables.SETS}
    names = [name for name, *_ in script.requests_of(script.Bench(None, tree, ROOT, {}), sets)]
    for family, count in tables.EXPECTED.items():
        assert sum(name.startswith(f"{family}/") for name in names) == count, family
    assert len(names) == sum(tables.EXPECTED.values())


# -- into the page ----------------------------------------------------------------------------


def put(script: ModuleType, rows: dict[str, Any], page: Path) -> Result:
    out = page.with_name("rows.json")
    out.write_text(json.dumps(rows))
    words = ["--table", "--out", str(out), "--into", str(page)]
    return CliRunner().invoke(script.main, words)


def test_the_page_takes_the_tables_and_keeps_the_rest(script: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text("utf-8"), "utf-8")
    assert put(script, ROWS, page).exit_code == 0
    first = page.read_text("utf-8")
    assert "| difficult | default | 99.5 [98.5, 100.5] |" in first
    assert put(script, {}, page).exit_code == 0  # other tables replace these
    assert "99.5 [98.5, 100.5]" not in page.read_text("utf-8")
    assert put(script, ROWS, page).exit_code == 0
    assert page.read_text("utf-8") == first

    def prose(text: str) -> list[str]:
        return [part.split("<!-- end -->")[-1] for part in text.split("<!-- table: ")]

    assert prose(first) == prose(PAGE.read_text("utf-8"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<!-- table: web -->", ""),
        ("<!-- table: web -->", "<!-- table: wep -->"),
        ("<!-- table: web -->", "<!-- table: ten -->"),
        ("<!-- end -->", ""),
    ],
    ids=["missing", "misspelt", "twice", "no end"],
)
def test_a_page_without_its_places_is_left_as_it_is(
    script: ModuleType, tmp_path: Path, old: str, new: str
) -> None:
    page = tmp_path / "page.md"
    text = PAGE.read_text("utf-8").replace(old, new, 1)
    page.write_text(text, "utf-8")
    done = put(script, ROWS, page)
    assert done.exit_code == 2 and "cannot take the tables: it has places for" in done.stderr
    assert page.read_text("utf-8") == text


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"one/a/default": {"q_u": 1}}', '{"sets": 1, "a": 2}']
)
def test_a_damaged_json_is_said_to_be_one(script: ModuleType, tmp_path: Path, text: str) -> None:
    out = tmp_path / "rows.json"
    out.write_text(text)
    done = CliRunner().invoke(script.main, ["--table", "--out", str(out)])
    assert done.exit_code == 2 and "is damaged, or no JSON of this script" in done.stderr


def test_rows_of_other_photographs_are_not_mixed(
    script: ModuleType, breeds: Path, tmp_path: Path
) -> None:
    out, data = tmp_path / "rows.json", tmp_path / "data"
    shutil.copytree(breeds, data / "dogs")
    model = slsgu.load("imagenet-lite0", device="cpu").sha256
    header = {"version": slsgu.__version__, "model": model, "photographs": script.digest_of(data)}
    out.write_text(json.dumps({"header": header}))
    assert script.read_rows(out) == {"header": header}
    next((data / "dogs").rglob("*.png")).unlink()
    words = ["--data", str(data), "--out", str(out)]
    done = CliRunner().invoke(script.main, words)
    assert done.exit_code == 2 and "the photographs of" in done.stderr


def test_a_mistyped_json_empties_no_page(script: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = PAGE.read_text("utf-8")
    page.write_text(text, "utf-8")
    words = ["--table", "--out", str(tmp_path / "no.json"), "--into", str(page)]
    done = CliRunner().invoke(script.main, words)
    assert done.exit_code == 2 and "no.json is not there" in done.stderr
    assert page.read_text("utf-8") == text


# -- a model that reads each photograph once ----------------------------------------------------


@pytest.fixture
def breeds(tmp_path: Path) -> Path:
    """Three pictures of noise of each of two breeds, by wnid."""
    draws = torch.Generator().manual_seed(0)
    for wnid in ("n02099601", "n02099712"):
        (tmp_path / wnid).mkdir()
        for number in range(3):
            pixels = torch.randint(0, 255, (40, 40, 3), generator=draws, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(tmp_path / wnid / f"{number}.png")
    return tmp_path


def test_pooled_features_give_what_pixels_give(
    breeds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pooled = next(script := load("photographs_pooled"))
    for module in (pooled.replay, pooled.streamed_tower, pooled.audit_points):
        monkeypatch.setattr(module, "stages", module.stages)  # comes back, whatever is put there
    clip, tree = slsgu.load("imagenet-lite0", device="cpu"), find_taxonomy("imagenet-dogs", None)
    options: Any = {"limit": None, "seed": 0, "excluded": {}, "strict": False}
    samples = images_of(str(breeds), tree, tree.leaves, **options).samples
    weight = clip.model.get_parameter("visual.head.proj.weight").detach().clone()
    patch = slsgu.Patch(
        {"visual.head.proj.weight": -2 * weight}, {"visual.head.proj.weight": weight}
    )

    def similarity(model: slsgu.Clip) -> list[Any]:
        reading = Reading(4, 0, False)
        templates = ("a photo of a {}.",)
        proof = evaluate(model, samples, tree, templates, reading=reading, patch=patch)
        return [torch.from_numpy(each) for each in proof.similarity]

    plain = similarity(clip)
    found = similarity(pooled.with_pooled_features(clip, [breeds]))
    for one, other in zip(plain, found, strict=True):
        assert torch.allclose(one, other, atol=1e-5, equal_nan=True)
    assert not torch.allclose(plain[0], plain[1], atol=0.01, equal_nan=True)  # control
    script.close()
