"""Reports: what was promised, nothing that runs, nothing that is fetched, the same every time."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.results import fake_result
from PIL import Image

from slsgu.evaluation.found import Found
from slsgu.pipeline.result import Outcome
from slsgu.report import html as report
from slsgu.report.headline import verdict
from slsgu.report.pictures import examples
from slsgu.report.values import four_rows, plain
from slsgu.search.choice import choose_paper
from slsgu.search.layer import Candidate
from slsgu.search.met_ranges import describe_met, met_ranges

# Design, section 5.
PROMISED = {
    "request", "model", "layer", "tower", "step_size", "direction", "forget_loss", "success",
    "before", "after", "counts", "levels", "quality", "utility", "q_u", "candidates", "seconds",
    "patch", "patch_sha256", "report",
}  # fmt: skip
FOUR = {"forget_fine", "forget_coarse", "retain_fine", "retain_coarse"}
MORE = {
    "method", "without_images", "layers", "relative_step", "shortfall", "intervals", "kept_ratios",
    "not_measurable", "search_split", "unseen", "found", "goal", "merge", "merge_onto", "unnamed",
    "moved", "also", "floors_not_measured",
    "per_class", "found_again", "lost", "named_again", "losses", "gradient_images", "data", "notes",
    "skipped", "left_out",
    "overlaps", "templates", "settings", "command", "version",
}  # fmt: skip

HOSTILE = {
    "$name": "<script>alert(0)</script>",
    "<img src=x onerror=alert(1)>": ["<svg onload=alert(2)", "<script>alert(3)", "a\"b'c&d $x^2$"],
    "very long name " * 8: ["x" * 90, "日本語"],
}


class Page(HTMLParser):
    """Tags, the addresses in them, and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.parts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]
        self.handlers += [k for k, _ in attrs if k.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.parts).split())


def outside(text: str) -> list[str]:
    """Everything a page would fetch or run."""
    page = Page(text)
    found = [a for a in page.addresses if not a.startswith("data:")]
    found += re.findall(r"@import|url\([^)]*\)", text)
    found += [tag for tag in page.tags if tag in ("script", "iframe", "link", "object", "embed")]
    for address in page.addresses:
        if address.startswith("data:image/svg+xml;base64,"):
            drawing = base64.b64decode(address.partition(",")[2]).decode("utf-8")
            found += re.findall(r"<script|href=\"(?!#|data:)[^\"]*|url\((?!#)[^)]*", drawing)
    return found + page.handlers


@pytest.fixture(scope="module")
def result() -> Outcome:
    return fake_result("golden retriever", images=12)


@pytest.fixture(scope="module")
def page(result: Outcome) -> str:
    return report.html(result, command="slsgu apply --concept 'golden retriever'", patch=Path("p"))


@pytest.fixture(scope="module")
def hostile_page() -> str:
    result = fake_result("<svg onload=alert(2)", tree=HOSTILE, forgotten=0.6, size=1000)
    return report.html(result, command="slsgu apply --concept '</pre><b>\udcff'", patch=None)


def test_json_has_the_promised_keys(result: Outcome) -> None:
    value = report.to_json(result, patch=Path("a/patch.safetensors"), report=None)
    assert value.keys() == PROMISED | MORE
    assert all(value[key].keys() == FOUR for key in ("before", "after", "counts"))
    assert value["request"]["concepts"] == ["golden retriever"]
    assert {"name", "pretrained", "sha256"} <= value["model"].keys()
    assert {"level", "images", "before", "after", "count", "forgotten"} <= value["levels"][0].keys()
    assert value["seconds"].keys() == {"gradients", "search", "total"}
    assert value["patch"] == "a/patch.safetensors"
    assert value["report"] is None
    needed = {"layer", "tower", "importance", "alignment", "step_size", "trials"}
    assert all(needed <= row.keys() for row in value["candidates"])
    assert value["version"] == report.metadata_version()


def test_json_is_plain(result: Outcome) -> None:
    value = report.to_json(result, patch=None, report=None)
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["losses"]["retain"] is None
    with pytest.raises(ValueError, match="not JSON compliant"):  # the control: there was a NaN
        json.dumps(dict(result.trace.gradients.losses), allow_nan=False)


def test_plain_knows_numpy_paths_and_broken_text() -> None:
    found = plain({"a": np.float32(0.5), "b": (Path("x"), "\udcff", float("inf")), 3: np.ones(2)})
    assert found == {"a": 0.5, "b": ["x", "?", None], "3": [1.0, 1.0]}


def test_fractions_and_counts_are_those_of_the_proof(result: Outcome) -> None:
    value = report.to_json(result, patch=None, report=None)
    rows = [row for row in value["per_class"] if not row["forgotten"]]
    right = sum(row["after"] * row["count"] for row in rows)
    assert right / value["counts"]["retain_fine"] == pytest.approx(value["after"]["retain_fine"])
    assert [row["class"] for row in value["per_class"] if row["forgotten"]] == ["golden retriever"]
    low, high = value["intervals"]["after"]["retain_fine"]
    assert low < value["after"]["retain_fine"] < high
    names = [item["name"] for item in value["skipped"]]
    assert names == ["cat/old.jpg", "dog/<broken>.jpg"]


@pytest.mark.parametrize("search", ["default", "paper"])
def test_candidates_show_their_best_trial_under_the_rule_of_the_run(search: str) -> None:
    result = fake_result(search=search)
    value = report.to_json(result, patch=None, report=None)
    for row, candidate in zip(value["candidates"], result.trace.candidates, strict=True):
        assert row["trials"] == len(candidate.trials)
        if not candidate.trials:
            assert row["step_size"] is None
        elif search == "paper":
            assert row["step_size"] == choose_paper(candidate.trials, None).step  # type: ignore[arg-type]
    chosen = [row for row in value["candidates"] if row["layer"] == result.trace.chosen.layer]
    if search == "default":
        assert chosen[0]["step_size"] == result.trace.chosen.step


def test_the_page_fetches_and_runs_nothing(page: str, hostile_page: str) -> None:
    assert outside(page) == []
    assert outside(hostile_page) == []
    for control in (
        '<img src="https://example.org/x.png">',
        "<script>1</script>",
        "<b onclick=x>",
        "<style>@import 'x'</style>",
    ):
        assert outside(page + control)


def test_names_from_users_appear_as_text(hostile_page: str) -> None:
    words = Page(hostile_page).words
    for name in ("<svg onload=alert(2)", "<script>alert(3)", "<img src=x onerror=alert(1)>",
                 "a\"b'c&d $x^2$", "dog/<broken>.jpg", "</pre><b>?"):  # fmt: skip
        assert name in words
    assert "script" in Page(html.unescape(hostile_page)).tags  # the control: escaping is the cause


def test_the_page_can_be_written(hostile_page: str) -> None:
    hostile_page.encode("utf-8")
    with pytest.raises(UnicodeEncodeError):  # the control: the command could not
        "\udcff".encode()


def test_every_picture_is_one(page: str) -> None:
    kinds = []
    for address in Page(page).addresses:
        head, _, data = address.partition(",")
        kinds.append(head)
        raw = base64.b64decode(data, validate=True)
        if "svg" in head:
            assert raw.startswith(b"<?xml")
        else:
            with Image.open(io.BytesIO(raw)) as image:
                image.load()
    assert kinds.count("data:image/svg+xml;base64") >= 6
    assert any("png" in kind for kind in kinds)


def test_large_pictures_become_small_jpegs_and_lost_ones_are_said_to_be(hostile_page: str) -> None:
    raw = [a for a in Page(hostile_page).addresses if a.startswith("data:image/jpeg")]
    assert raw
    with Image.open(io.BytesIO(base64.b64decode(raw[0].partition(",")[2]))) as image:
        assert max(image.size) == 256
    assert "cannot be read any more" in Page(hostile_page).words


def test_the_same_result_gives_the_same_page(result: Outcome, page: str) -> None:
    again = report.html(result, command="slsgu apply --concept 'golden retriever'", patch=Path("p"))
    assert again == page


def test_the_page_says_what_matters(result: Outcome, page: str) -> None:
    words = Page(page).words
    measures = result.proof.measures
    for text in (
        "golden retriever: forgotten",
        f"{measures.q_u:.1%}",
        f"{measures.after['retain_fine']:.1%}",
        "retriever kept",
        "ViT-B-32 · laion400m_e32",
        "slsgu apply --concept 'golden retriever'",
        "Suppressing is not deleting",
        "van has only 3 images",
        "2 images could not be read",
        "passed over: its direction is zero",
    ):
        assert text in words, text
    assert "not forgotten" not in words


def test_who_asked_and_why_stand_on_the_page_under_these_words(result: Outcome, page: str) -> None:
    asked = replace(result, about={"asked_by": "A. Person", "reason": "a letter"})
    words = Page(report.html(asked, command="", patch=None)).words
    assert "Asked by A. Person" in words and "Reason a letter" in words
    assert "Asked by" not in Page(page).words  # control


def tags(text: str, kind: str) -> list[str]:
    """The opening tags of elements whose class is `kind`."""
    return re.findall(rf'<[^>]*class="{kind}"[^>]*>', text)


def section(text: str, title: str) -> str:
    """The part of a page under a heading."""
    (found,) = [part for part in text.split("<section") if f"<h2>{title}</h2>" in part]
    return found


@pytest.mark.parametrize("forgotten", [0.0, 1.0])
def test_what_is_wanted_of_a_forgotten_concept_has_a_mark_of_its_own(forgotten: float) -> None:
    shown = section(text_of(forgotten=forgotten), "Examples")
    requested, others = shown.split("<h3>Everything else</h3>")
    assert ('aria-label="no longer named, as wanted"' in requested) == (forgotten == 0)
    assert ('aria-label="still named golden retriever"' in requested) == (forgotten == 1)
    answers = [line for line in requested.splitlines() if ">now<" in line]
    assert answers and not any('aria-label="wrong"' in line for line in answers)
    assert 'class="no" role="img" aria-label="wrong"' in others  # one that is kept and now wrong
    good = "yes" if forgotten == 0 else "no"
    assert all(f'class="{good}"' in line for line in answers)


def test_a_coarser_name_that_was_to_go_and_stays_is_said() -> None:
    result = fake_result("dog", images=12, forgotten=0.5)
    found = [item for item in examples(result)["forget"] if item["still"] and not item["new_right"]]
    assert found and all(set(item["still"]) <= {"dog", "retriever", "hound"} for item in found)
    page = report.html(result, command="slsgu", patch=None)
    assert "still known as" in Page(page).words
    assert "still known as" not in Page(text_of(forgotten=0.0)).words  # the control


def test_the_headlines_colours_follow_the_target_and_the_floors() -> None:
    def tones(**settings: Any) -> list[str]:
        result = fake_result("golden retriever", images=12, **settings)
        return [change["tone"] for change in verdict(result)["changes"]]

    assert tones() == ["good", "good", "good"]
    assert tones(forgotten=0.9)[0] == "bad"
    floors = dict.fromkeys(("forget_coarse", "retain_fine", "retain_coarse"), 1.0)
    assert tones(floors=floors)[2] == "bad"
    assert tones(floors={}) == tones()  # floors that are not named keep their default
    failed = text_of(forgotten=0.9)
    (headline,) = re.findall(r'<ul class="changes">.*?</ul>', failed, re.DOTALL)
    assert '<b class="bad">' in headline and 'aria-label="not as wanted"' in headline
    assert "keep" not in headline  # the colour of what is to be kept says nothing of whether it is


def test_a_level_below_a_floor_that_holds_on_average_is_neither_good_nor_bad() -> None:
    result = fake_result("golden retriever", images=12)
    rows = result.proof.measures.levels
    (parent,) = [x for x in rows if x.images == "forget" and not x.forgotten and x.level == 3]
    low = replace(parent, after=0.5 * parent.before)
    measures = replace(
        result.proof.measures, levels=tuple(low if row is parent else row for row in rows)
    )
    changed = replace(result, proof=replace(result.proof, measures=measures))
    assert [change["tone"] for change in verdict(changed)["changes"]] == ["good", "fair", "good"]


def test_layers_passed_over_are_one_sentence_and_their_names_can_be_copied() -> None:
    result = fake_result("golden retriever", images=12)
    reason = "a last projection is good enough"
    names = [score.layer for score in result.trace.scores if not score.on_front][:9]
    passed = tuple(
        Candidate(score, passed_over=reason)
        for score in result.trace.scores
        if score.layer in names
    )
    trace = replace(result.trace, candidates=(*result.trace.candidates, *passed))
    result = replace(result, edit=replace(result.edit, trace=trace))
    shown = section(report.html(result, command="slsgu", patch=None), "Which layer")
    words = Page(shown).words
    assert words.count(reason) == 1 and f"9 layers were passed over: {reason}." in words
    (folded,) = [part for part in shown.split("<details>") if part.count("<code>") == 9]
    copied = re.findall(r"<code>(.*?)</code>", folded.replace("<wbr>", ""))
    assert sorted(copied) == sorted(names)


def test_layers_in_tables_have_their_full_names(result: Outcome, page: str) -> None:
    shown = section(page, "Which layer").replace("<wbr>", "")
    for candidate in result.trace.candidates:
        assert f"<code>{candidate.score.layer}</code>" in shown
    assert "…" not in shown and ">0.attn.out_proj<" not in shown


def test_each_level_stands_once_with_numbers_and_picture(result: Outcome, page: str) -> None:
    shown = section(page, "Before and after, level by level")
    rows = result.proof.measures.levels
    assert "<img" not in shown
    assert len(tags(shown, "dots (?:forget|keep)")) == len(rows)
    for row in rows:
        assert f'aria-label="before {row.before:.1%}, after {row.after:.1%}' in shown
    assert len(tags(shown, "dots forget")) == sum(row.forgotten for row in rows)


def test_the_forgotten_row_shows_its_target_and_whether_it_is_met(result: Outcome) -> None:
    forget, *kept = four_rows(result)
    assert (forget["bound"], forget["holds"]) == (result.goal.target, True)
    assert [row["bound"] for row in kept] == [result.goal.floors[row["key"]] for row in kept]
    missed = fake_result("golden retriever", images=12, forgotten=0.9)
    assert four_rows(missed)[0]["holds"] is False
    words = Page(text_of(forgotten=0.9)).words
    assert "target ≤ 5.0%" in words and "floor ≥ 85.0%" in words


def test_the_page_says_from_where_to_where_the_goal_is_met(result: Outcome, page: str) -> None:
    (taken,) = [c for c in result.trace.candidates if c.score.layer == result.trace.chosen.layer]
    said = f"The goal is met {describe_met(taken.trials, result.goal)}; the chosen step is"
    assert met_ranges(taken.trials, result.goal) and said in Page(page).words
    assert "The goal is met at none of the steps tried" in Page(text_of(forgotten=0.9)).words


def test_no_internal_names_stand_on_a_page() -> None:
    floors = dict.fromkeys(("forget_coarse", "retain_fine", "retain_coarse"), 1.0)
    for text in (text_of(), text_of(floors=floors), text_of(forgotten=0.9, floors=floors)):
        words = Page(text).words
        assert not [key for key in FOUR if key in words]
        assert "requested images at coarser levels" in words.lower()


def text_of(**settings: Any) -> str:
    """The page of a made-up result on golden retrievers."""
    result = fake_result("golden retriever", images=12, **settings)
    return report.html(result, command="slsgu", patch=None)


def test_a_failure_says_so(hostile_page: str) -> None:
    words = Page(hostile_page).words
    assert "not forgotten within the floors" in words
    assert "The goal was not met" in words
    assert "No patch was written" in words


def test_verdicts() -> None:
    def tone(**settings: object) -> tuple[str, str]:
        found = verdict(fake_result("golden retriever", images=12, **settings))  # type: ignore[arg-type]
        return found["tone"], found["text"]

    assert tone()[0] == "good"
    assert tone(forgotten=0.8) == ("bad", "golden retriever: not forgotten within the floors")
    floors = dict.fromkeys(("forget_coarse", "retain_fine", "retain_coarse"), 1.0)
    assert "more was lost" in tone(floors=floors)[1]


def test_a_goal_met_only_where_it_was_searched_is_not_called_forgotten() -> None:
    result = fake_result("golden retriever", images=12)
    assert verdict(result)["tone"] == "good"  # the control
    missed = replace(result, proof=fake_result("golden retriever", images=12, forgotten=0.5).proof)
    found = verdict(missed)
    assert found["tone"] == "fair"
    assert "not on the test images" in found["text"]
    left = missed.proof.measures.forget_accuracy
    assert found["detail"] == (
        f"On the test images, golden retriever is still recognised {left:.1%} of the time "
        f"(target 5.0%).{told_lost(missed)}"
    )


def told_lost(result: Outcome) -> str:
    """The sentence about the class that loses most, behind another one."""
    lost = result.proof.measures.lost
    told = None if lost is None else lost.describe()
    return f" {told[:1].upper()}{told[1:]}." if told else ""


def test_two_concepts_at_two_depths_are_told_apart() -> None:
    result = fake_result("dog", "taxi", images=12)
    changes = verdict(result)["changes"]
    assert [change["name"] for change in changes] == [
        "dog and taxi", "car kept", "everything else kept",
    ]  # fmt: skip
    assert changes[0]["before"] == result.proof.measures.before["forget_fine"]


def test_writing_leaves_one_whole_file(tmp_path: Path) -> None:
    flat = fake_result("one", tree=["one", "two", "three"])
    report.write(flat, tmp_path / "run" / "report.html", command="slsgu", patch=None)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["report.html"]
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert text.rstrip().endswith("</html>")
    assert "coarser levels </td>" not in text


def test_a_headline_says_when_five_images_still_find_what_lost_its_name(result: Outcome) -> None:
    def headline(after: float) -> dict[str, Any]:
        found = Found(before=0.9, after=after, count=50, chance=0.1)
        return verdict(replace(result, measures=replace(result.measures, found=found)))

    kept, gone = headline(0.9), headline(0.8)
    assert kept["tone"] == "fair" and kept["text"].endswith("only its name is forgotten")
    assert gone["tone"] == "good" and gone["text"].endswith(": forgotten")
    assert "80.0% of the search images" in gone["detail"]
    assert "test images" not in gone["detail"]
    assert verdict(result)["detail"] == told_lost(result).strip()  # control: nobody looked


@pytest.mark.parametrize(("after", "tone"), [(0.65, "fair"), (0.55, "fair"), (0.4, "good")])
def test_a_headline_says_when_test_images_find_it_more_easily(
    result: Outcome, after: float, tone: str
) -> None:
    found = Found(before=0.5, after=after, count=50, chance=0.1, error=0.05)
    proof = replace(result.proof, measures=replace(result.proof.measures, found=found))
    headline = verdict(replace(result, proof=proof))
    assert headline["tone"] == tone
    assert ("more easily than before" in headline["text"]) == (after == 0.65)
    assert ("only its name" in headline["text"]) == (after == 0.55)
    assert f"{after:.1%} of the test images are found again, 50.0% before" in headline["detail"]
