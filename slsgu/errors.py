"""The errors a user can cause. Each message says what was wrong, with which value, and what to do.

Everything the library raises on purpose derives from `SlsguError`; the command line prints the
message and exits with status 1. An `AssertionError` or anything else is a bug in slsgu.
"""


class SlsguError(Exception):
    """Base of all errors that slsgu raises on purpose.

    Attributes:
        see: a command that lists what there is, which the command line shows after the message.
        problem: the message without the advice that ends it, for whoever cannot follow that: it
            may name an option that another command has.
    """

    def __init__(self, *message: object, see: str | None = None, advice: str = "") -> None:
        self.problem = " ".join(map(str, message))
        super().__init__(*((f"{self.problem}. {advice}",) if advice else message))
        self.see = see


class ConceptError(SlsguError):
    """A concept is unknown, ambiguous, or unknown to the model."""


class UnusedError(ConceptError):
    """Something was given that would change nothing; on the command line it is wrong usage."""


class DataError(SlsguError):
    """Images, folders or a taxonomy cannot be used as given."""


class ModelError(SlsguError):
    """A model cannot be loaded, or its architecture is not supported."""


class ArtifactError(SlsguError):
    """A gradient cache, a patch or a run folder is damaged, foreign, newer, or does not match."""


class LayerMismatchError(ArtifactError):
    """A patch meets a layer it was not made for, or one that is patched already."""


class NotReachedError(SlsguError):
    """The forget target was not reached within the floors; `result` holds the best trade-off."""

    def __init__(self, message: str, result: object) -> None:
        super().__init__(message)
        self.result = result


class SlsguWarning(UserWarning):
    """Something works, but perhaps not as the user thinks."""
