"""How well a model knows the menagerie: zero-shot accuracy by level, in several vocabularies."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.errors import SlsguError
from slsgu.menagerie.lessons import PREPROCESS_CFG
from slsgu.menagerie.paths import MODEL_DIR, TAXONOMY_FILE
from slsgu.menagerie.pool import draw_pool
from slsgu.menagerie.train import MODEL_CFG
from slsgu.utils.files import read_json
from slsgu.utils.reading import open_regular

Words = Literal["name", "bare name", "alias", "plural", "definition"]
WORDS: tuple[Words, ...] = ("name", "bare name", "alias", "plural", "definition")


@dataclass(frozen=True)
class Check:
    """Accuracy on held-out drawings.

    Attributes:
        per_leaf: drawings of each leaf.
        levels: for each way to name concepts, the accuracy at depth 1, 2, ...
        leaves: accuracy of each leaf at the finest level, concepts named by name, worst first.
        confusions: for each leaf, what it was most often taken for, and how often.
    """

    per_leaf: int
    levels: dict[Words, tuple[float, ...]]
    leaves: dict[str, float]
    confusions: dict[str, tuple[str, int]]


def check(
    model_dir: Path = MODEL_DIR,
    *,
    per_leaf: int = 100,
    seed: int = 77,
    words: tuple[Words, ...] = WORDS,
    workers: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Check:
    """Measures a model on drawings it has not seen.

    Args:
        model_dir: an OpenCLIP ``local-dir`` of the menagerie's own architecture, as ``train``
            writes it.
        per_leaf: drawings of each leaf.
        seed: their stream; any but the one used for training.
        words: how concepts are named; ``name`` is the mean over the taxonomy's templates.
        workers: processes that draw.
        progress: called with a line when something happens.
    """
    model = load_model(model_dir)  # before the drawing, which takes longer
    taxonomy = Taxonomy.load(TAXONOMY_FILE)
    leaves = taxonomy.leaves
    pictures = draw_pool(
        [leaf.name for leaf in leaves], per_leaf, seed=seed, workers=workers, progress=progress
    )
    tokenizer = open_clip.SimpleTokenizer(context_length=MODEL_CFG["text_cfg"]["context_length"])
    mean, std = (torch.tensor(PREPROCESS_CFG[k])[:, None, None] for k in ("mean", "std"))
    with torch.inference_mode():
        parts = [
            model.encode_image(
                (torch.from_numpy(pictures[i : i + 256]).permute(0, 3, 1, 2) / 255 - mean) / std,
                normalize=True,
            )
            for i in range(0, len(pictures), 256)
        ]
        v = torch.cat(parts)  # [N, E]
        labels = np.repeat(np.arange(len(leaves)), per_leaf)
        levels: dict[Words, tuple[float, ...]] = {}
        worst: dict[str, float] = {}
        confusions: dict[str, tuple[str, int]] = {}
        for kind in words:
            accuracies = []
            for depth in range(1, taxonomy.depth + 1):
                classes = list(taxonomy.level(depth))
                t = torch.cat([embed(model, tokenizer, taxonomy, c, kind) for c in classes])
                right = np.array([classes.index(taxonomy.ancestor(leaf, depth)) for leaf in leaves])
                guess = (v @ t.T).argmax(1).numpy()
                hit = guess == right[labels]
                accuracies.append(float(hit.mean()))
                if kind == "name" and depth == taxonomy.depth:
                    for i, leaf in enumerate(leaves):
                        guesses = guess[labels == i]
                        worst[leaf.name] = float((guesses == right[i]).mean())
                        wrong = np.bincount(guesses[guesses != right[i]], minlength=len(classes))
                        confusions[leaf.name] = (
                            classes[int(wrong.argmax())].name,
                            int(wrong.max()),
                        )
            levels[kind] = tuple(accuracies)
    ordered = dict(sorted(worst.items(), key=lambda item: item[1]))
    return Check(per_leaf, levels, ordered, confusions)


def load_model(folder: Path) -> open_clip.CLIP:
    """A model of the menagerie's own architecture.

    Raises:
        SlsguError: the folder holds no such model.
    """
    config = read_json(folder / "open_clip_config.json", "model configuration")
    if not isinstance(config, dict) or (
        config.get("model_cfg") != MODEL_CFG or config.get("preprocess_cfg") != PREPROCESS_CFG
    ):
        raise SlsguError(
            f"{folder} is not a model of the menagerie, which has an architecture and a picture "
            "size of its own. Other models are measured by `slsgu evaluate --data menagerie`"
        )
    path = folder / "open_clip_model.safetensors"
    with open_regular(path, "weights", error=SlsguError):
        pass
    model = open_clip.CLIP(**MODEL_CFG)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    try:
        with safe_open(path, framework="pt") as file:
            if {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()} != wanted:
                raise SlsguError(f"{path} does not hold the weights of a model of the menagerie")
            weights = {name: file.get_tensor(name) for name in wanted}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise SlsguError(f"{path} cannot be read as weights: {error}") from None
    for name, tensor in weights.items():
        if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
            raise SlsguError(f"{path}: {name} holds values that are no finite numbers")
    model.load_state_dict(weights)
    return model.eval()


def embed(
    model: torch.nn.Module,
    tokenizer: open_clip.SimpleTokenizer,
    taxonomy: Taxonomy,
    concept: Concept,
    kind: Words,
) -> Tensor:
    """A concept's class embedding ``[1, E]``: mean of normalised embeddings, normalised."""
    alias = concept.aliases[0] if concept.aliases else concept.name
    texts = {
        "name": [t.format(concept.name) for t in taxonomy.templates],
        "bare name": [concept.name],
        "alias": [t.format(alias) for t in taxonomy.templates],
        "plural": [concept.plural or concept.name],
        "definition": [concept.definition or concept.name],
    }[kind]
    t: Tensor = model.encode_text(tokenizer(texts), normalize=True)  # type: ignore[operator]
    return F.normalize(t.mean(0, keepdim=True), dim=1)
