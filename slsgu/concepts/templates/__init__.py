"""Prompt templates: sentences with a place for a concept's name, by set name or from a file.

A file may be written in any way that users of CLIP have them in (docs/taxonomies.md):

    a photo of a {}.                              # one per line
    a photo of a {c}.                             # one per line, as CLIP_benchmark has them
    ["a photo of a {}.", "a photo of the {c}."]   # JSON
    lambda c: f'a photo of a {c}.',               # Python, as OpenCLIP has them: read, never run

Comments (`# ...`) stand in lines of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from slsgu.concepts.taxonomy import Taxonomy
from slsgu.errors import DataError
from slsgu.utils.names import refuse_blank
from slsgu.utils.reading import read_text

__all__ = ["TEMPLATE_SETS", "load_templates", "read_templates"]

TEMPLATE_SETS: dict[str, str] = {
    "simple": "OpenCLIP's 7 templates for ImageNet (SIMPLE_IMAGENET_TEMPLATES)",
    "openai": "OpenAI's 80 templates for ImageNet (OPENAI_IMAGENET_TEMPLATES)",
    "photo": "one template, 'a photo of a {}'",
    "imagenet-dogs": "the 80 of the knowledge-tracing paper for ImgnetDogs (Table 8)",
    "compcars": "the 8 of the knowledge-tracing paper for CompCars-S (Table 8)",
}

_HERE = Path(__file__).parent  # holds a file for each set that OpenCLIP does not have
_MOST_TEXT = 16 << 20  # bytes of a file of templates
_PLACE = re.compile(r"\{c?\}")
_LAMBDA = re.compile(r"lambda\s+(\w+)\s*:\s*f(['\"])(.*)\2,?")
_STRING = re.compile(r"(['\"])(.*)\1,?")
_BRACKET = re.compile(r"(\w+\s*=\s*)?[(\[]|[)\]],?")
_ITEM = re.compile(r"(['\"]).*\1,")


def load_templates(choice: str | None, taxonomy: Taxonomy) -> tuple[str, ...]:
    """Templates by name (`TEMPLATE_SETS`), from a file, or, for None, those of the taxonomy, or
    else `simple`.

    Returns:
        Sentences with one `{}` each.

    Raises:
        DataError: `choice` is neither a name nor a usable file.
    """
    refuse_blank(choice, "the name of the templates", DataError)
    if choice is None and taxonomy.templates:
        return taxonomy.templates
    if choice == "photo":
        return ("a photo of a {}",)
    if choice in (None, "simple", "openai"):
        import open_clip

        templates = (
            open_clip.OPENAI_IMAGENET_TEMPLATES
            if choice == "openai"
            else open_clip.SIMPLE_IMAGENET_TEMPLATES
        )
        return tuple(template("{}") for template in templates)
    if choice in TEMPLATE_SETS:
        return read_templates(_HERE / f"{choice}.txt")
    return read_templates(Path(str(choice)))


def read_templates(path: Path) -> tuple[str, ...]:
    """Templates from a file, in any of the ways that stand at the top of this module.

    Returns:
        Sentences with one `{}` each, in file order.

    Raises:
        DataError: naming the file and the line at fault.
    """
    try:
        text = read_text(path, "templates", limit=_MOST_TEXT, error=DataError)
    except DataError as error:
        if not isinstance(error.__context__, FileNotFoundError):
            raise
        raise DataError(
            f"templates {str(path)!r}: neither a file nor one of {', '.join(TEMPLATE_SETS)}"
        ) from None
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), start=1)]
    lines = [(n, line) for n, line in lines if line and not line.startswith("#")]
    if not lines:
        raise DataError(f"templates {path}: the file holds no template")
    sentences: Iterable[tuple[str, str]] = ((f"line {n}", line) for n, line in lines)
    python = any(p.fullmatch(line) for _, line in lines for p in (_LAMBDA, _BRACKET, _ITEM))
    if python:
        sentences = _from_python(lines, path)
    if path.suffix == ".json" or text.lstrip().startswith("["):
        try:
            sentences = _from_json(json.loads(text), path)
        except json.JSONDecodeError as error:
            if path.suffix == ".json" or not python:
                raise DataError(
                    f"templates {path}, line {error.lineno}: not valid JSON ({error.msg}); a "
                    "Python list is read too, with one item per line"
                ) from None
        except RecursionError:
            raise DataError(f"templates {path} is nested too deeply") from None
    return tuple(_with_place(sentence, f"{path}, {where}") for where, sentence in sentences)


def _with_place(sentence: str, where: str) -> str:
    """The sentence with `{}` where it has `{}` or `{c}`, and it must have one of them once."""
    if len(_PLACE.findall(sentence)) != 1:
        raise DataError(
            f"templates {where}: {sentence!r} must contain '{{}}' or '{{c}}' exactly once, for the "
            "name of the concept"
        )
    return _PLACE.sub("{}", sentence)


def _from_json(value: Any, path: Path) -> Iterator[tuple[str, str]]:
    if not isinstance(value, list) or not value:
        raise DataError(f'templates {path}: expected a JSON list of sentences, as in ["a {{}}"]')
    for number, sentence in enumerate(value, start=1):
        if not isinstance(sentence, str):
            raise DataError(f"templates {path}, item {number}: {sentence!r} is not a sentence")
        yield f"item {number}", sentence


def _from_python(lines: list[tuple[int, str]], path: Path) -> Iterator[tuple[str, str]]:
    """A list or tuple of strings or of lambdas with an f-string, as OpenCLIP and OpenAI write it.

    Taken apart as text: what a user gives is never evaluated.
    """
    empty = True
    for number, line in lines:
        where = f"line {number}"
        if _BRACKET.fullmatch(line):
            continue
        function, string = _LAMBDA.fullmatch(line), _STRING.fullmatch(line)
        if function:
            name, _, sentence = function.groups()
            sentence = sentence.replace(f"{{{name}}}", "{}")
        elif string:
            sentence = string.group(2)
        else:
            sentence = "\\"
        if "\\" in sentence:
            raise DataError(
                f"templates {path}, {where}: {line!r} is neither a plain string nor "
                "\"lambda c: f'... {c} ...'\", without backslashes"
            )
        empty = False
        yield where, sentence
    if empty:
        raise DataError(f"templates {path}: the file holds no template")
