"""Damaged artifacts of our own: patches, gradient caches, the retain bank, run folders."""

from __future__ import annotations

from hostile.case import Bench, Case
from hostile.mutate import dump_json, mutate_artifact, mutate_bytes, mutate_value, odd_value


def patch(bench: Bench) -> Case:
    """A patch file, given to every command that reads one."""
    rng, world = bench.rng, bench.world
    path = bench.copy("run/patch.safetensors", "odd-patch.safetensors")
    told, bad = mutate_artifact(rng, path)
    file, model = str(path), str(world.root / "model")
    words = rng.choice(
        [
            ["patch", "show", file],
            ["patch", "show", "--json", file],
            ["patch", "apply", file, model, "--out", "out"],
            ["patch", "apply", file, str(world.root / "model.pt"), "--out", "out.pt"],
            ["patch", "revert", file, str(world.root / "patched"), "--out", "out"],
            ["evaluate", "--patch", file, *world.all],
            ["evaluate", "--json", "--patch", file, "--patch", str(world.patch), *world.all],
        ]
    )
    reads_tensors = words[1] != "show" or "another than what was hashed" in told
    return Case(f"patch, {told}", words, bad and reads_tensors, ["odd-patch.safetensors"])


def gradients(bench: Bench) -> Case:
    """A gradient cache in a run folder; `apply` may compute it again instead."""
    rng, world = bench.rng, bench.world
    folder = bench.copy("run", writable=True)
    told, bad = mutate_artifact(rng, folder / "gradients.safetensors")
    apply = ["apply", "--concept", "beagle", "--run", "run", "--tower", "language", "--force"]
    words = rng.choice(
        [
            ["pareto", "--run", "run", "--fast"],
            ["pareto", "--run", "run", "--fast", "--json"],
            ["pareto", "--run", "run", "--all"],
            [*apply, "--trials", "1", *world.all],
            ["grads", "--concept", "beagle", "--run", "run", *world.all],
        ]
    )
    bad = bad and words[0] == "pareto"
    return Case(f"gradients, {told}", words, bad, ["gradient", "beagle", "run"])


def bank(bench: Bench) -> Case:
    """An entry of the cache of retain gradients: it may be ignored, but not believed."""
    rng, root = bench.rng, bench.world.root
    folder = bench.copy("cache", writable=True)
    (path,) = folder.glob("*.safetensors")
    told, _ = mutate_artifact(rng, path)
    grads = ["grads", "--forget", str(root / "forget.tar"), "--retain", str(root / "retain.tar")]
    grads += ["--name", "beagle", "--classes", str(root / "classes.txt"), "--run", "new"]
    words = rng.choice(
        [
            ["cache", "list"],
            ["cache", "list", "--json"],
            ["cache", "clear"],
            [*grads, *bench.world.model, *bench.world.quick],
        ]
    )
    return Case(f"bank, {told}", words, env={"SLSGU_CACHE_DIR": str(folder)})


def run_folder(bench: Bench) -> Case:
    """The other files of a run folder: result, request, layers."""
    import json

    rng = bench.rng
    folder = bench.copy("run", writable=True)
    name = rng.choice(("result.json", "result.json", "request.yaml", "layers.json"))
    path = folder / name
    if name.endswith(".json") and rng.random() < 0.7:
        value, told = mutate_value(rng, json.loads(path.read_text(encoding="utf-8")))
        path.write_text(dump_json(value), encoding="utf-8", errors="surrogatepass")
    elif name.endswith(".json") and rng.random() < 0.3:
        value, told = odd_value(rng), "another value altogether"
        path.write_text(dump_json(value), encoding="utf-8", errors="surrogatepass")
    else:
        data, told = mutate_bytes(rng, path.read_bytes())
        path.write_bytes(data)
    words = rng.choice(
        [
            ["pareto", "--run", "run", "--fast"],
            ["pareto", "--run", "run", "--fast", "--json"],
            ["pareto", "--run", "run", "--plot", "--fast"],
            ["pareto", "--run", "run"],
        ]
    )
    return Case(f"run folder, {name}, {told}", words, names=["run"])


KINDS = {"patch": patch, "gradients": gradients, "bank": bank, "run": run_folder}
