"""Nothing a file says is executed. Each way in has a canary: a file that appears if code ran.

Controls show that the canary sings where the way in is open.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.commands import Ran
from helpers.models import ALONE

from slsgu.concepts.taxonomy import Taxonomy
from slsgu.concepts.templates import read_templates
from slsgu.errors import DataError, ModelError
from slsgu.models.checkpoint import read_state_dict
from slsgu.models.clip import load
from slsgu.utils.yaml_file import read_yaml

MakeDir = Callable[..., Path]


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.canary),))


# -- pickles ----------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_is_not_run(names: None, tmp_path: Path, canary: Path, legacy: bool) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"weight": Payload(canary)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelError, match="could run code"):
        read_state_dict(path)
    with pytest.raises(ModelError, match="could run code"):
        load(ALONE, str(path), device="cpu")
    assert not canary.exists()
    torch.load(path, weights_only=False)  # control
    assert canary.exists()


def test_a_bare_pickle_is_not_run(tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(pickle.dumps(Payload(canary)))
    with pytest.raises(ModelError):
        read_state_dict(path)
    assert not canary.exists()
    pickle.loads(path.read_bytes())  # control
    assert canary.exists()


def test_torch_that_reads_pickles_unsafely_reads_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"weight": torch.ones(1)}, path)
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(ModelError, match=r"torch 2\.5\.1\+cpu, .*CVE-2025-32434.*safetensors"):
        read_state_dict(path)
    monkeypatch.setattr(torch, "__version__", "2.10.0a0+git1")
    assert read_state_dict(path).keys() == {"weight"}  # control: 2.10 is newer than 2.6


# -- text files -------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [Taxonomy.load, lambda path: read_yaml(path, "request")])
def test_a_yaml_tag_is_not_run(read: Callable[[Path], Any], tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text(f"a: !!python/object/apply:os.mkdir [{str(canary)!r}]\nb:\n")
    with pytest.raises(DataError, match="line 1"):
        read(path)
    assert not canary.exists()
    yaml.load(path.read_text(), Loader=yaml.UnsafeLoader)  # control
    assert canary.exists()


def test_a_template_is_not_run(tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "templates.py"
    call = f"__import__('os').mkdir({str(canary)!r})"
    path.write_text(f'lambda c: f"a photo of {{c}} {{{call}}}",\n')
    sentences = read_templates(path)
    assert not canary.exists()
    assert len(sentences) == 1 and call in sentences[0]  # text like any other
    eval(path.read_text().rstrip(",\n"))("dog")  # control
    assert canary.exists()


# -- model configurations ---------------------------------------------------------------------


def with_text(folder: Path, **text_cfg: Any) -> str:
    """The spec of a local-dir with other values in its `text_cfg`."""
    path = folder / "open_clip_config.json"
    content = json.loads(path.read_text())
    content["model_cfg"]["text_cfg"].update(text_cfg)
    path.write_text(json.dumps(content))
    return f"local-dir:{folder}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trust_remote_code", True),
        ("trust_remote_code", False),
        ("tokenizer_file", "/etc/passwd"),
        ("bpe_path", "/dev/zero"),
        ("cache_dir", "/tmp"),
        ("revision", "main"),
        ("additional_special_tokens", ["(a+)+$"]),
        ("clean", ["lower"]),
        ("clean", "eval"),
        ("strip_sep_token", "yes"),
    ],
)
def test_a_tokenizer_gets_no_option_that_reaches_further(
    make_dir: MakeDir, tmp_path: Path, key: str, value: Any
) -> None:
    model = with_text(
        make_dir(tmp_path / "model"), hf_tokenizer_name="org/name", tokenizer_kwargs={key: value}
    )
    with pytest.raises(ModelError, match=key):
        load(model, device="cpu")


def test_harmless_options_of_a_tokenizer_work(make_dir: MakeDir, tmp_path: Path) -> None:
    """Control."""
    model = with_text(make_dir(tmp_path / "model"), tokenizer_kwargs={"clean": "whitespace"})
    assert load(model, device="cpu").tokenize(["A dog"]).shape == (1, 16)


@pytest.mark.parametrize("name", ["hf-hub:org/model", "timm/vit", "local-dir:/x", "../x", ["a"]])
def test_a_tower_is_named_not_addressed(make_dir: MakeDir, tmp_path: Path, name: Any) -> None:
    folder = make_dir(tmp_path / "model")
    path = folder / "open_clip_config.json"
    content = json.loads(path.read_text())
    content["model_cfg"]["vision_cfg"]["timm_model_name"] = name
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="timm_model_name"):
        load(f"local-dir:{folder}", device="cpu")


def test_a_tokenizer_is_told_to_run_no_code(
    make_dir: MakeDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers asks at the terminal unless it is told."""
    seen: list[dict[str, Any]] = []

    class AutoTokenizer:
        @classmethod
        def from_pretrained(cls, source: object, **kwargs: Any) -> AutoTokenizer:
            seen.append(kwargs)
            return cls()

    module = types.ModuleType("transformers")
    module.AutoTokenizer = AutoTokenizer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", module)
    model = with_text(make_dir(tmp_path / "model"), hf_tokenizer_name="org/name")
    with pytest.raises(ModelError, match="tokenizer"):  # this one makes no tokens
        load(model, device="cpu")
    assert [kwargs["trust_remote_code"] for kwargs in seen] == [False]


def test_a_tokenizer_with_code_of_its_own_is_not_run(
    make_dir: MakeDir, tmp_path: Path, canary: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    folder = make_dir(tmp_path / "model")
    (folder / "mine.py").write_text(
        f"import os\nos.mkdir({str(canary)!r})\n"
        "from transformers import PreTrainedTokenizerFast\n"
        "class Mine(PreTrainedTokenizerFast):\n    pass\n"
    )
    names = {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Mine", "mine.Mine"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", **names}))
    model = with_text(folder, hf_tokenizer_name="org/name")
    with pytest.raises(ModelError, match="tokenizer"):
        load(model, device="cpu")
    assert not canary.exists()
    try:  # control
        transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    except Exception as error:  # it has no vocabulary; its module was imported before
        print(error)
    assert canary.exists()


# -- modules in the working directory ---------------------------------------------------------

MODULES = ("json", "numpy", "subprocess", "random", "click", "tqdm", "torch", "sitecustomize")


@pytest.fixture
def odd_folder(tmp_path: Path, canary: Path) -> Path:
    """A folder with files that are named like modules of libraries."""
    folder = tmp_path / "work"
    folder.mkdir()
    for module in MODULES:
        text = f"import os\nos.makedirs({str(canary)!r}, exist_ok=True)\n"
        (folder / f"{module}.py").write_text(text)
    return folder


def run_in(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=120
    )


DRAW = (
    "import slsgu.menagerie.pool as p; p.FEW = 2; "
    "print(len(p.draw_pool(['beagle'], 4, seed=0, size=16, workers=2)))"
)


def test_processes_that_draw_do_not_look_in_the_working_directory(
    odd_folder: Path, canary: Path
) -> None:
    done = run_in(odd_folder, "-P", "-c", DRAW)
    assert done.stdout == "4\n", done.stderr
    assert not canary.exists()
    run_in(odd_folder, "-c", "import json")  # control
    assert canary.exists()


def test_the_module_as_a_command_does_not_look_in_the_working_directory(
    odd_folder: Path, canary: Path
) -> None:
    done = run_in(odd_folder, "-m", "slsgu", "concepts")
    assert done.returncode == 0, done.stderr
    assert not canary.exists()


def test_processes_that_compare_do_not_look_in_the_working_directory(
    cli: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
    odd_folder: Path,
    canary: Path,
    taught_dir: Path,
    photos: Path,
) -> None:
    (odd_folder / "slsgu.py").write_text((odd_folder / "json.py").read_text())
    monkeypatch.chdir(odd_folder)
    few = [x for split in ("gradient", "search", "test") for x in (f"--{split}-images", "4")]
    done = cli(
        "compare", "--concept", "beagle", "--quick", *few, "--model", f"local-dir:{taught_dir}",
        "--data", photos / "images", "--taxonomy", photos / "pets.yaml", "--workers", "0",
        "--methods", "nothing,merge", "--jobs", "2", "--out", "out",
    )  # fmt: skip
    assert done.code == 0 and "have left" not in done.err  # each has done its share
    assert not canary.exists()
    run_in(odd_folder, "-m", "slsgu", "concepts")  # control
    assert canary.exists()
