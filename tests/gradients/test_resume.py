"""A pass that is interrupted, shared or run in another way gives the same gradients."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from helpers.gradients import close, plan_for

from slsgu.data.ledger import Ledger
from slsgu.data.sources.folders import FileSample
from slsgu.errors import SlsguError
from slsgu.gradients import resume as partial_module
from slsgu.gradients.compute import compute_gradients
from slsgu.gradients.gradients import Gradients
from slsgu.gradients.resume import Partial
from slsgu.models.clip import Clip

SHARED = 1e-5  # sums in another order; fp32 keeps about seven digits


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


class Stop(Exception):
    """The power goes off."""


@pytest.mark.parametrize("reads", [3, 17, 38])
def test_an_interrupted_pass_goes_on_to_the_same_bits(
    tiny: Clip, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: int
) -> None:
    """Within the forget pass, between the two, and within the retain pass."""
    plan = plan_for(tiny, photos, batch_size=2, contrastive_batch=4, workers=0)
    assert (
        len(plan.task.forget_samples)
        < 17
        < 38
        < len(plan.task.forget_samples + plan.task.retain_samples)
    )
    ledger = Ledger()
    expected = compute_gradients(plan, ledger)
    kept = tmp_path / "partial.safetensors"
    monkeypatch.setattr(partial_module, "EVERY", 0)
    count = 0
    original = FileSample.read

    def counting(sample: FileSample) -> object:
        nonlocal count
        count += 1
        if count == stop_at:
            raise Stop
        return original(sample)

    monkeypatch.setattr(FileSample, "read", counting)
    stop_at = reads
    with pytest.raises(Stop):
        compute_gradients(plan, Ledger(), partial=kept)
    assert all(p.grad is None and not p.requires_grad for p in tiny.model.parameters())
    count, stop_at = 0, -1
    again = Ledger()
    found = compute_gradients(plan, again, partial=kept)
    assert same(found.forget, expected.forget) and same(found.retain, expected.retain)
    assert found.losses == expected.losses and found.counts == expected.counts
    assert again.hashes("gradient") == ledger.hashes("gradient")
    total = len(plan.task.forget_samples) + len(plan.task.retain_samples)
    if reads > 4:  # control: it did go on, and did not start anew
        assert count <= total - reads + 8


def test_sums_of_something_else_are_not_gone_on_with(
    tiny: Clip, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "partial.safetensors"
    monkeypatch.setattr(partial_module, "EVERY", 0)
    compute_gradients(plan_for(tiny, photos, "pug"), Ledger(), partial=kept)
    plan = plan_for(tiny, photos)
    assert "of another request" in str(Partial(kept, plan.key, Ledger()).load())
    found = compute_gradients(plan, Ledger(), partial=kept)
    assert same(found.forget, compute_gradients(plan, Ledger()).forget)
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(bytes(content))
    assert "damaged" in str(Partial(kept, plan.key, Ledger()).load())


def test_a_killed_command_goes_on(world: list[str], tmp_path: Path) -> None:
    code = (
        "import time\n"
        "from slsgu.gradients import accumulate, resume\n"
        "resume.EVERY = 0\n"
        "add = accumulate._add_batch\n"
        "def slow(*args):\n    add(*args)\n    time.sleep(SLEEP)\n"
        "accumulate._add_batch = slow\n"
        "from slsgu.cli import main; main()"
    )
    options = ["grads", "--concept", "beagle", "--contrastive-batch", "4", "--batch-size", "4"]
    run = tmp_path / "run"

    def command(sleep: float, where: Path) -> list[str]:
        program = code.replace("SLEEP", str(sleep))
        return [sys.executable, "-c", program, *options, *world, "--run", str(where)]

    process = subprocess.Popen(command(0.2, run), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (run / "partial.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (run / "gradients.safetensors").exists()
    ran = subprocess.run(command(0, run), capture_output=True, text=True, check=True)
    assert "going on after" in ran.stderr
    assert not (run / "partial.safetensors").exists()
    subprocess.run(command(0, tmp_path / "whole"), capture_output=True, check=True)
    one, other = (Gradients.load(p / "gradients.safetensors") for p in (run, tmp_path / "whole"))
    assert same(one.forget, other.forget) and same(one.retain, other.retain)


def torchrun(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "-m", "slsgu", *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_two_processes_give_the_gradients_of_one(world: list[str], tmp_path: Path) -> None:
    """The batches are the same; only the order in which they are summed differs."""
    options = ["grads", "--concept", "beagle", "--contrastive-batch", "8", *world]
    ran = torchrun(*options, "--run-folder", tmp_path / "two", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("beagle:") == 1  # one of them speaks
    single = [sys.executable, "-m", "slsgu", *options, "--run", str(tmp_path / "one")]
    subprocess.run(single, cwd=tmp_path, capture_output=True, check=True)
    two, one = (Gradients.load(tmp_path / n / "gradients.safetensors") for n in ("two", "one"))
    assert two.key == one.key and two.counts == one.counts
    assert two.info["pixel_hashes"] == one.info["pixel_hashes"]
    for name in ("forget", "retain"):
        assert close(dict(getattr(two, name)), dict(getattr(one, name)), SHARED)
    # Control: another logical batch is another gradient, so the shares were cut where they must be.
    options[options.index("8")] = "4"
    single = [sys.executable, "-m", "slsgu", *options, "--run", str(tmp_path / "other")]
    subprocess.run(single, cwd=tmp_path, capture_output=True, check=True)
    other = Gradients.load(tmp_path / "other" / "gradients.safetensors")
    assert not close(dict(other.retain), dict(one.retain), 1e-2)


def test_two_processes_evaluate_as_one_and_fail_as_one(world: list[str], tmp_path: Path) -> None:
    options = ["evaluate", "--batch-size", "8", *world]
    ran = torchrun(*options, cwd=tmp_path)
    single = subprocess.run(
        [sys.executable, "-m", "slsgu", *options], capture_output=True, text=True, check=True
    )
    assert ran.returncode == 0 and ran.stdout == single.stdout and "fine" in ran.stdout
    failed = torchrun("grads", "--concept", "unicorn", *world, cwd=tmp_path)
    assert failed.returncode != 0 and failed.stderr.count("Error: no concept 'unicorn'") == 1
    refused = torchrun("apply", "--concept", "beagle", *world, cwd=tmp_path)
    assert refused.returncode != 0 and "apply is one process" in refused.stderr


def test_bf16_is_close_recorded_and_not_the_same(tiny: Clip, photos: Path) -> None:
    exact, rough = (plan_for(tiny, photos, gradient_precision=p) for p in ("fp32", "bf16"))
    assert exact.key != rough.key
    one, other = (compute_gradients(plan, Ledger()) for plan in (exact, rough))
    assert not same(one.forget, other.forget)
    for name, gradient in one.forget.items():
        assert other.forget[name].dtype == torch.float32
        cosine = torch.nn.functional.cosine_similarity(
            gradient.flatten(), other.forget[name].flatten(), dim=0
        )
        assert float(cosine) > 0.98, name
    with pytest.raises(SlsguError, match="fp16"):
        plan_for(tiny, photos, gradient_precision="fp16")


def test_checkpointed_activations_save_memory_and_change_nothing(tiny: Clip, photos: Path) -> None:
    kept = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    found, sizes = [], []
    for checkpoint in (False, True):
        kept = 0
        plan = plan_for(tiny, photos, checkpoint_activations=checkpoint)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            found.append(compute_gradients(plan, Ledger()))
        sizes.append(kept)
    assert close(dict(found[1].forget), dict(found[0].forget), 1e-5)
    assert close(dict(found[1].retain), dict(found[0].retain), 1e-5)
    assert found[0].key == found[1].key
    blocks = tiny.model.visual.transformer  # type: ignore[union-attr]
    assert not blocks.grad_checkpointing  # type: ignore[union-attr]
