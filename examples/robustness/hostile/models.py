"""Damaged models: folders with a configuration and weights, and checkpoints of torch."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from hostile.case import Bench, Case
from hostile.mutate import NASTY, dump_json, mutate_bytes, mutate_value, odd_tensor

CODE = """import pathlib
pathlib.Path({canary!r}).touch()
class OddTokenizer:
    @classmethod
    def from_pretrained(cls, *a, **k): return cls()
    def __call__(self, *a, **k): raise ValueError("odd")
"""


def _commands(bench: Bench, model: str) -> list[str]:
    world, rng = bench.world, bench.rng
    options = [*world.data, *world.taxonomy, *world.quick, "--model", f"local-dir:{model}"]
    return rng.choice(
        [
            ["evaluate", *options],
            ["evaluate", "--patch", str(world.patch), *options],
            ["apply", "--concept", "beagle", "--dry-run", *options],
            ["grads", "--concept", "beagle", "--run", "run", *options],
            ["patch", "apply", str(world.patch), model, "--out", "out"],
            ["menagerie", "check", "--per-leaf", "1", "--model", model],
        ]
    )


def _own_tokenizer(bench: Bench, folder: Path, config: dict[str, Any]) -> str:
    """A tokenizer that brings code."""
    rng, text = bench.rng, config["model_cfg"]["text_cfg"]
    text["hf_tokenizer_name"] = rng.choice((str(folder), "", "local-dir:" + str(folder), "."))
    text["tokenizer_kwargs"] = {"trust_remote_code": rng.choice((True, "true", 1))}
    if rng.random() < 0.3:
        text["tokenizer_mode"] = "clean"
    own = {
        "tokenizer_class": "OddTokenizer",
        "auto_map": {"AutoTokenizer": ["odd.OddTokenizer", None]},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(own), encoding="utf-8")
    auto = {
        "model_type": "odd",
        "auto_map": {"AutoConfig": "odd.OddConfig", "AutoTokenizer": "odd.OddTokenizer"},
    }
    (folder / "config.json").write_text(json.dumps(auto), encoding="utf-8")
    for name in ("odd.py", "tokenization_odd.py", "__init__.py"):
        (folder / name).write_text(CODE.format(canary=str(bench.canary)), encoding="utf-8")
    return f"a tokenizer with code, {text['tokenizer_kwargs']}"


def model(bench: Bench) -> Case:
    """A model folder."""
    rng = bench.rng
    folder = bench.copy("model", "odd-model")
    config_file, weights = folder / "open_clip_config.json", folder / "open_clip_model.safetensors"
    config = json.loads(config_file.read_text(encoding="utf-8"))
    bad = False
    how = rng.choice(
        (
            "config",
            "config",
            "config",
            "bytes",
            "weights",
            "weights",
            "weights",
            "keys",
            "code",
            "zeros",
            "swap",
        )
    )
    if how == "config":
        config, told = mutate_value(rng, config)
        config_file.write_text(dump_json(config), encoding="utf-8", errors="surrogatepass")
    elif how == "bytes":
        path = rng.choice((config_file, weights))
        data, told = mutate_bytes(rng, path.read_bytes())
        path.write_bytes(data)
        told = f"{path.name}, {told}"
    elif how == "code":
        told = _own_tokenizer(bench, folder, config)
        config_file.write_text(json.dumps(config), encoding="utf-8")
    elif how == "swap":
        weights.unlink()
        told = rng.choice(("weights are a link to nothing", "weights are a folder", "no weights"))
        if "link" in told:
            weights.symlink_to("nowhere")
        elif "folder" in told:
            weights.mkdir()
        bad = True
    else:
        state = load_file(weights)
        name = rng.choice(sorted(state))
        if how == "weights":
            state[name], told = odd_tensor(rng, state[name])
            told = f"{name}: {told}"
            bad = any(word in told for word in ("NaN", "inf", "complex", "no elements"))
        elif how == "zeros":
            state = {key: torch.zeros_like(value) for key, value in state.items()}
            told, bad = "all weights are zero", True
        else:
            other = rng.choice(("", "x", f"module.{name}", f"../{name}", *NASTY[:4]))
            state[other] = state.pop(name)
            told, bad = f"{name} is called {ascii(other)[:30]}", True
        save_file({k: v.contiguous().clone() for k, v in state.items()}, weights)
    words = _commands(bench, str(folder))
    if words[0] == "patch" or "--dry-run" in words:
        bad = False
    return Case(f"model, {told}", words, bad, ["odd-model", "open_clip", "model", "layer"])


class _Touch:
    """Pickled so that loading it touches a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path(self.path),))


def _quantised(tensor: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch will drop them some day, and files will have them
        return torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8)


def checkpoint(bench: Bench) -> Case:
    """A checkpoint of torch."""
    rng, world = bench.rng, bench.world
    path = bench.copy("model.pt", "odd-model.pt")
    state: Any = torch.load(path, weights_only=True)
    name = rng.choice(sorted(state))
    canary = _Touch(str(bench.canary))
    some = state[name]
    odd: dict[str, Any] = {
        "code within": {**state, "x": canary},
        "code alone": canary,
        "numbers as keys": dict(enumerate(state.values())),
        "a list": list(state.values()),
        "a tensor": some,
        "None": None,
        "empty": {},
        "nested": {"state_dict": {"state_dict": state}},
        "text as a tensor": {**state, name: "text"},
        "None as a tensor": {**state, name: None},
        "a list as a tensor": {**state, name: [1.0, 2.0]},
        "a sparse tensor": {**state, name: some.reshape(-1, 1).to_sparse()},
        "a tensor on meta": {**state, name: some.to("meta")},
        "a quantised tensor": {**state, name: _quantised(some)},
        "a tensor that shares": {**state, name: some.reshape(-1)[0].expand(some.shape)},
        "odd key": {**state, rng.choice(NASTY): some},
        "state_dict of text": {"state_dict": "text"},
        "a module": torch.nn.Linear(2, 2),
    }
    how = rng.random()
    bad = False
    if how < 0.55:
        told = rng.choice(list(odd))
        torch.save(odd[told], path)
        bad = "tensor that shares" not in told and told != "nested"
    elif how < 0.65:
        path.write_bytes(pickle.dumps(canary, protocol=rng.choice((0, 2, 4))))
        told, bad = "a pickle that is no archive", True
    elif how < 0.75:
        told, bad = "a zip with odd members", True
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("archive/data.pkl", pickle.dumps(canary, protocol=2))
            file.writestr(rng.choice(("../../x", "archive/data/0", "archive/version")), b"3\n")
    elif how < 0.9:
        data, told = mutate_bytes(rng, path.read_bytes())
        path.write_bytes(data)
    else:
        state[name], told = odd_tensor(rng, some)
        torch.save(state, path)
    file = str(path)
    words = rng.choice(
        [
            ["patch", "apply", str(world.patch), file, "--out", "out.pt"],
            ["patch", "revert", str(world.patch), file, "--out", "out.pt"],
            ["evaluate", "--model", "ViT-B-32", "--pretrained", file, *world.data, *world.quick],
        ]
    )
    bad = bad and words[0] == "evaluate"
    return Case(f"checkpoint, {told}", words, bad, ["odd-model.pt", "patch"])


KINDS = {"model": model, "checkpoint": checkpoint}
