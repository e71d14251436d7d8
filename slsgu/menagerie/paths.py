"""Where the files of the menagerie lie."""

from pathlib import Path

MODEL_DIR: Path = Path(__file__).parent / "model"
"""The shipped OpenCLIP ``local-dir``."""

TAXONOMY_FILE: Path = Path(__file__).parent / "taxonomy.yaml"
"""The tree of everything that can be drawn."""
