"""The tables that `apply` and `evaluate` print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slsgu.utils.wording import share

from .console import echo_table, interval, percent

if TYPE_CHECKING:
    from slsgu.evaluation.metrics import Measures
    from slsgu.evaluation.moved import Moved
    from slsgu.evaluation.other_sets import OtherSet
    from slsgu.models.clip import Clip
    from slsgu.pipeline.measure import Evaluation
    from slsgu.pipeline.result import Outcome
    from slsgu.search.goal import Goal
    from slsgu.search.method import Edit, SearchTrace


def print_evaluation(found: Evaluation) -> None:
    """A data set, with a patch before and after it, else as it is."""
    measures = found.proof.measures
    if found.patch is None:
        _print_plain(found)
        return
    print_levels(measures)
    if measures.q_u is not None:
        click.echo(
            f"\nquality {percent(measures.quality)}, utility {percent(measures.utility)}, "
            f"Q-U {percent(measures.q_u)}"
        )
    print_also(found.also)


def _print_plain(found: Evaluation) -> None:
    classes = {level.depth: len(level.classes) for level in found.proof.exam.levels}
    table = [("images", "level", "classes", "accuracy", "95 % interval", "chance", "count")]
    table += [
        (
            _images(row.images, found),
            level_name(row.level, fine=row.fine),
            str(classes[row.level]),
            percent(row.before),
            interval(row.before_interval),
            percent(row.chance),
            str(row.count),
        )
        for row in found.proof.measures.levels
    ]
    table += [
        (
            each.title,
            "(fine)",
            str(round(1 / each.fine.chance)),
            percent(each.fine.before),
            interval(each.fine.before_interval),
            percent(each.fine.chance),
            str(each.fine.count),
        )
        for each in found.also
    ]
    echo_table(table, left=2)


def _images(images: str, found: Evaluation) -> str:
    if found.request is None:
        return "all"
    return "requested" if images == "forget" else "others"


def print_result(result: Outcome, total: float) -> None:
    """What a run changed and what that did.

    Args:
        total: seconds since the command began.
    """
    from slsgu.evaluation.metrics import WORDS
    from slsgu.evaluation.per_class import describe_named_again, per_class
    from slsgu.report.way import images_of
    from slsgu.search.found_again import describe_found, describe_tested

    if result.trace is not None:
        _print_choice(result, result.trace)
    else:
        print_edit(result.task.request.title, result.edit)
        if made_without := images_of(result.edit):
            click.echo(made_without)
    if result.trace is not None or result.measures.found is not None:
        click.echo(describe_found(result.measures, result.goal, result.task.request))
    click.echo("")
    measures = result.proof.measures
    print_levels(measures)
    click.echo("")
    for name, value in (
        ("quality", measures.quality),
        ("utility", measures.utility),
        ("Q-U", measures.q_u),
    ):
        bounds = measures.intervals.get(name.lower().replace("-", "_"))
        click.echo(f"{name:<9}  {percent(value):>6}  {interval(bounds)}")
    if tested := describe_tested(measures, result.goal, result.task.request):
        click.echo(f"\n{tested}")
    if measures.lost is not None and (lost := measures.lost.describe()):
        click.echo(lost)
    print_also(result.also)
    print_moved(result.moved, result.goal)
    if back := describe_named_again(per_class(result.proof), result.task.request.title):
        click.echo(back)
    if unmeasured := result.goal.unmeasured(measures):
        words = ", ".join(WORDS[name] for name in unmeasured)
        click.echo(f"not measured, so no floor can be enforced: {words}")
    steps = [f"{name} {spent:.1f} s" for name, spent in result.seconds.items() if name != "total"]
    beside = f" ({', '.join(steps)})" if steps else ""
    click.echo(f"\ntime       total {total:.1f} s{beside}")


def print_edit(title: str, edit: Edit) -> None:
    """The edit of a method without steps: the layers that it changes, and how."""
    from slsgu.report.values import tower_of

    layers = edit.patch.layers
    tower = tower_of(layers)
    place = f" ({tower} tower)" if tower else ""
    method = str(edit.patch.metadata["method"]).replace("-", " ")
    click.echo(f"{title}: {', '.join(layers)}{place}, {method}")


def _print_choice(result: Outcome, trace: SearchTrace) -> None:
    """The layer and the step, and from where to where a step on this layer meets the goal."""
    from slsgu.search.met_ranges import (
        describe_left_undone,
        describe_met,
        describe_start,
        describe_unseen,
    )

    chosen = trace.chosen
    trials = [x for c in trace.candidates for x in c.final if x.layer == chosen.layer]
    start = describe_start(chosen)
    click.echo(
        f"{result.task.request.title}: {chosen.layer} ({trace.tower} tower), {start}"
        f"step {chosen.step:.6g} ({share(chosen.relative_step)} the layer's norm)"
    )
    if len(trials) > 1:
        click.echo(
            f"on the search images, the goal is met {describe_met(trials, result.goal)}; "
            f"the step taken is {chosen.step:.4g}"
        )
    if undone := describe_left_undone(chosen, trace.settings):
        click.echo(f"note: {undone}")
    click.echo(f"unseen images: {describe_unseen(chosen.measures, result.goal)}")


def print_also(also: Sequence[OtherSet]) -> None:
    """What an edit does to other data sets."""
    if not also:
        return
    click.echo("")
    table = [
        ("also kept", "before", "after", "95 % interval after", "count", "floor", "floor holds")
    ]
    for each in also:
        row = each.fine
        word = {True: "yes", False: "no", None: "not measurable"}[each.holds]
        table.append(
            (
                each.title,
                percent(row.before),
                percent(row.after),
                interval(row.after_interval),
                str(row.count),
                percent(each.also.floor),
                word,
            )
        )
    echo_table(table)


def print_moved(moved: Moved | None, goal: Goal) -> None:
    """How far what a system reads has moved, and how far it should."""
    if moved is None:
        return
    click.echo("")
    title = f"{moved.what}, as {moved.system} reads them"
    table = [(title, "wanted", "moved", "95 of 100 within", "count")]
    table += [
        (name, wanted, percent(row.mean), percent(row.most), str(row.count))
        for name, wanted, row in (
            ("with the concept", f"at least {percent(goal.moves)}", moved.concept),
            ("without it", f"at most {percent(goal.most_moved)}", moved.kept),
        )
        if row is not None
    ]
    echo_table(table, left=2)


def level_name(level: int, *, fine: bool) -> str:
    """A level in a table."""
    from slsgu.evaluation.exam import CAPTIONS

    return f"{'caption' if level == CAPTIONS else level}{' (fine)' if fine else ''}"


def print_levels(measures: Measures) -> None:
    """Accuracy by level on the test split, before and after, with 95 % intervals."""
    table = [("images", "level", "wanted", "before", "after", "95 % interval after", "count")]
    for row in measures.levels:
        wanted = "forget" if row.forgotten else "keep"
        table.append(
            (
                "requested" if row.images == "forget" else "others",
                level_name(row.level, fine=row.fine),
                wanted if row.measurable else f"{wanted} (not measurable)",
                percent(row.before),
                percent(row.after),
                interval(row.after_interval),
                str(row.count),
            )
        )
    echo_table(table, left=3)


def evaluation_json(clip: Clip, found: Evaluation, patches: tuple[Path, ...]) -> dict[str, Any]:
    """A data set as JSON values."""
    measures = found.proof.measures
    return {
        "model": clip.describe(),
        "request": found.request.describe() if found.request else None,
        "patches": [str(path) for path in patches],
        "left_out": None if found.doubts else found.left_out,
        "levels": [row.to_json() for row in measures.levels],
        **measures.figures(),
        "intervals": {name: list(bounds) for name, bounds in measures.intervals.items()},
        "also": [each.to_json() for each in found.also],
    }


def clip_benchmark_rows(
    clip: Clip, found: Evaluation, patches: tuple[Path, ...]
) -> list[dict[str, Any]]:
    """A data set and those of --also, as entries of CLIP_benchmark."""
    from slsgu.report.clip_benchmark import clip_benchmark

    name = None if found.patch is None else "+".join(path.stem for path in patches)
    sets = [(found.title, found.proof), *((each.title, each.proof) for each in found.also)]
    return [row for title, proof in sets for row in clip_benchmark(clip, title, proof, name)]
