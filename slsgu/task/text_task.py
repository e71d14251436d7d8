"""What is to be forgotten and kept, in words alone: a model, a request, prompts, and no picture.

A name that the taxonomy does not have is put into it, beside siblings and below a parent. Texts
that are kept beside the taxonomy are by default the names of ImageNet: a model must not forget what
a small taxonomy happens not to mention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.concepts.templates import load_templates
from slsgu.concepts.wordings import BARE, Wording, forgotten_words, mentions, wordings
from slsgu.errors import ConceptError, DataError
from slsgu.models.clip import Clip
from slsgu.task.task import Task
from slsgu.task.text_request import find_request
from slsgu.utils.names import refuse_blank, refuse_kind
from slsgu.utils.reading import read_text
from slsgu.utils.wording import some

OTHERS = "imagenet"
_USUAL = "a photo of a {}"


@dataclass(frozen=True, eq=False)
class TextTask:
    """Everything that an edit without pictures is made for and measured on.

    Attributes:
        clip: the model, unedited.
        request: what is to be forgotten, in which taxonomy.
        templates: prompt templates with one `{}` each.
        others: texts that are kept beside the taxonomy's names.
        others_title: what they are, for people.
        outside: what is to be forgotten and stands in no taxonomy or list that was given.
        notes: which texts of a file are not kept, and why, for people.
    """

    clip: Clip
    request: Request
    templates: tuple[str, ...]
    others: tuple[str, ...]
    others_title: str
    outside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, task: Task, keep: str | Path | None = None) -> TextTask:
        """The words of a task that has pictures; `keep` as for `make`."""
        return cls.make(task.clip, task.request, task.templates, keep)

    @classmethod
    def make(
        cls, clip: Clip, request: Request, templates: Sequence[str], keep: str | Path | None = None
    ) -> TextTask:
        """With the texts that are kept beside the taxonomy.

        Args:
            keep: a file of them, one per line; None takes the names of ImageNet.

        Raises:
            ConceptError: captions alone say what is to be forgotten.
            DataError: the file cannot be read.
        """
        if not request.named:
            raise ConceptError(
                "without pictures, the name of what is to be forgotten is all there is: give it"
            )
        if keep is None:
            names, title = _names_of_imagenet(request), "names of ImageNet"
            texts = [_USUAL.replace("{}", name) for name in names]
        else:
            texts, title = _lines(Path(keep)), f"texts of {Path(keep).name}"
        gone = mentions(texts, forgotten_words(request))
        others = tuple(text for text in dict.fromkeys(texts) if text not in gone)
        if keep is not None and not others:
            raise DataError(
                f"texts to keep {keep}: every text mentions what is to be forgotten; none is left"
            )
        notes = () if keep is None else _left_out(Path(keep), [x for x in texts if x in gone])
        return cls(clip, request, tuple(templates), others, title, notes=notes)

    @cached_property
    def forgotten(self) -> tuple[Concept, ...]:
        """The requested concepts, and everything below them."""
        return tuple(concept for top in self.request.concepts for concept in top.walk())

    @cached_property
    def kept(self) -> tuple[Concept, ...]:
        """Every other concept of the taxonomy, at every level."""
        gone = set(self.forgotten)
        return tuple(each for each in self.request.taxonomy.concepts if each not in gone)

    @cached_property
    def above(self) -> frozenset[Concept]:
        """The ancestors of what is to be forgotten."""
        return frozenset(a for each in self.request.concepts for a in each.lineage[:-1])

    def siblings(self, concept: Concept) -> tuple[Concept, ...]:
        """What a forgotten concept goes to: the closest of what is kept at its own level."""
        level = self.request.taxonomy.level(concept.depth)
        kept = set(self.kept)
        return self.request.siblings(concept, [x for x in level if x in kept] or None)

    @cached_property
    def wordings(self) -> tuple[Wording, ...]:
        """Every way to call every concept, those to be forgotten first. Other names of what is
        kept are asked for in the first template and bare: in all of them they would be too many."""
        forms = self.templates if BARE in self.templates else (*self.templates, BARE)
        few = (self.templates[0], BARE)
        gone = [x for each in self.forgotten for x in wordings(each, forms)]
        kept = [x for each in self.kept for x in wordings(each, forms, few)]
        return (*gone, *(x for x in kept if x.kind != "definition"))

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text there is, once."""
        prompts = (prompt for each in self.wordings for prompt in each.prompts)
        return tuple(dict.fromkeys((*prompts, *self.others)))


def make_text_task(
    clip: Clip,
    concepts: Sequence[str],
    *,
    taxonomy: str | Path | Taxonomy | None = None,
    classes: str | Path | None = None,
    siblings: Sequence[str] = (),
    parent: str | None = None,
    templates: str | None = None,
    keep: str | Path | None = None,
) -> TextTask:
    """Look up concepts and prompts.

    Args:
        clip: the model.
        concepts: what to forget, by name, alias or path. One that the taxonomy does not have needs
            siblings or a parent.
        taxonomy: the names to choose among; None for the menagerie's with its own model.
        classes: a file with the other names, one per line, in place of a taxonomy.
        siblings: names that are close to the concept, and kept.
        parent: a broader name that the model may keep using.
        templates: a set's name or a file; None takes the taxonomy's or OpenCLIP's simple set.
        keep: a file of other texts that must stay, one per line; None takes ImageNet's names.

    Raises:
        ConceptError: a concept is unknown or ambiguous, or nothing says what it is close to.
        UnusedError: siblings or a parent of a concept that the taxonomy has already.
        DataError: a file or the taxonomy cannot be used.
    """
    refuse_kind(clip, Clip, "the model")
    refuse_kind(siblings, (list, tuple), "the siblings")
    for what, name in (("parent", parent), ("classes", classes), ("keep", keep)):
        refuse_blank(name, what, DataError)
    for name in (*concepts, *siblings):
        refuse_kind(name, str, "a name")
        refuse_blank(name, "a name", ConceptError)
    if not concepts:
        raise ConceptError("name at least one concept to forget")
    request, outside = find_request(
        list(concepts),
        taxonomy=taxonomy,
        classes=classes,
        siblings=list(siblings),
        parent=parent,
        embedded=clip.is_menagerie,
    )
    task = TextTask.make(clip, request, load_templates(templates, request.taxonomy), keep)
    return replace(task, outside=outside)


def _names_of_imagenet(request: Request) -> list[str]:
    """ImageNet's names, of classes and of what is above them, but for what lies below a concept
    that is to be forgotten."""
    tree = _imagenet()
    gone = {c for word in forgotten_words(request) for c in tree.search(word)}
    return [c.name for c in tree.concepts if gone.isdisjoint(c.lineage)]


@cache
def _imagenet() -> Taxonomy:
    """Read once for all requests of a process: it is large, and stays as it is."""
    return Taxonomy.load(OTHERS)


def _left_out(path: Path, texts: Sequence[str]) -> tuple[str, ...]:
    """Which texts of a file are not kept, and why, as a note; none where all are."""
    names = [repr(text) for text in dict.fromkeys(texts)]
    if not names:
        return ()
    return (
        f"texts of {path.name} that mention what is to be forgotten are not kept, "
        f"{len(names)} in all: {some(names, 3)}",
    )


def _lines(path: Path) -> list[str]:
    """The texts of a file, one per line; empty lines do not count.

    Raises:
        DataError: the file cannot be read, or holds none.
    """
    content = read_text(path, "texts to keep", error=DataError)
    texts = [line.strip() for line in content.splitlines() if line.strip()]
    if not texts:
        raise DataError(f"texts to keep {path}: the file holds no text")
    return texts
