"""`slsgu grads`: the one pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .console import Console, echo_json
from .options import gradient_request_options, json_option, run_option
from .request_file import RequestCommand, request_option, write_request
from .values import cache_from, plan_from, settings_from


@click.command(cls=RequestCommand)
@request_option
@gradient_request_options
@run_option
@json_option
def grads(run: Path | None, as_json: bool, **options: Any) -> None:
    """Compute the gradients of the forget and the retain loss, for every layer.

    Writes gradients.safetensors in the run folder, which `pareto` and `apply` reuse. If a pass is
    interrupted, give the command again: it goes on where it was. Under torchrun
    (`torchrun --nproc-per-node N -m slsgu grads ...`) several processes share the images.

    The file can bring forgotten knowledge back: keep it as you keep the original model.
    """
    from slsgu.pipeline.run_folder import obtain_gradients, run_folder
    from slsgu.pipeline.taken import refuse_taken
    from slsgu.utils.distributed import together, world_size

    world_size()  # first of all: what torchrun has set makes sense
    plan = plan_from(options, settings_from(options))
    with together(plan.task.clip.device) as ranks:
        console = Console(quiet=not ranks.first)
        for note in plan.task.splits.notes:
            console.say(f"note: {note}")
        folder = run_folder(plan, run)
        refuse_taken(folder, plan.task.request)
        ledger = plan.task.ledger()
        gradients, reused = obtain_gradients(
            plan, folder, ledger, console, ranks=ranks, cache=cache_from(options)
        )
        if not ranks.first:
            return
    if not folder.result.exists():  # which a request of `apply` lies beside
        write_request(folder.request)
    console.say_left_out(ledger)
    if as_json:
        echo_json(
            {
                "run": str(folder.path),
                "gradients": str(folder.gradients),
                "reused": reused,
                "losses": dict(gradients.losses),
                "counts": dict(gradients.counts),
                "layers": len(gradients.forget),
            }
        )
        return
    click.echo(
        f"{plan.task.request.title}: {gradients.counts['forget']} forget images "
        f"(loss {gradients.losses['forget']:.4f}), {gradients.counts['retain']} retain images "
        f"(loss {gradients.losses['retain']:.4f}), {len(gradients.forget)} layers"
    )
    click.echo(f"gradients  {folder.gradients}")
