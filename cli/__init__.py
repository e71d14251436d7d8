"""The command line. Each command parses, calls the library, prints; heavy imports wait until then.

Exit status: 0 done, 1 a request that cannot be met or a file that cannot be used, 2 wrong usage,
130 interrupted (143 by SIGTERM, 129 by SIGHUP), 141 nobody reads the output.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import sys
import time
import warnings
from typing import Any, NoReturn

import click
from click.shell_completion import get_completion_class

import slsgu
from slsgu.errors import SlsguError
from slsgu.utils.signals import INTERRUPTED, interrupts, status

from .environment import malformed_variable, variables_at_fault
from .groups import Commands
from .streams import flush, safe_streams

COMPLETE = "_SLSGU_COMPLETE"  # click's own, by which a shell asks for completions
STARTED = "slsgu.cli.started"  # where a context keeps when its command began

COMMANDS = {
    "apply": "Forget concepts: find a layer and a step, write a patch.",
    "concepts": "List or search the concepts that you can forget.",
    "select": "Collect image-text pairs by caption, to forget them.",
    "grads": "Compute the gradients, in one pass over the images.",
    "pareto": "Rank the layers by their gradients.",
    "layers": "List the layers of a model that can be edited.",
    "evaluate": "Measure accuracy at every level, with and without a patch.",
    "audit": "Look for what can still be found after an edit.",
    "compare": "Run every method of both papers and ours, side by side.",
    "patch": "Show, merge, scale, apply or revert patches.",
    "cache": "List or clear what is kept for later requests.",
    "menagerie": "Draw, check or train the embedded world of drawings.",
}


class Program(Commands):
    """Loads a command's module when it is used, and turns domain errors into exit status 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"slsgu.cli.{name}")
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def make_context(
        self, info_name: str | None, args: list[str], *rest: Any, **kwargs: Any
    ) -> click.Context:
        started = time.perf_counter()
        _refuse_empty(args)
        try:
            context = super().make_context(info_name, args, *rest, **kwargs)
            context.meta[STARTED] = started
            return context
        except BrokenPipeError:  # --help and --version are printed here
            _leave_with_the_reader()
        except SlsguError as error:
            raise click.ClickException(str(error)) from error

    def main(self, *args: Any, **kwargs: Any) -> Any:
        # Figures go to files; a backend that matplotlib does not know would stop its import.
        os.environ["MPLBACKEND"] = "agg"
        with safe_streams(), interrupts():
            _check_completion()
            if (problem := malformed_variable()) is not None:
                click.echo(f"Error: {problem}", err=True)
                sys.exit(2)
            try:
                super().main(*args, **kwargs)
            except SystemExit as end:
                try:
                    flush()
                except BrokenPipeError:
                    _leave_with_the_reader()
                except SlsguError as error:
                    click.echo(f"Error: {error}", err=True)
                    sys.exit(end.code or 1)
                raise

    def invoke(self, ctx: click.Context) -> Any:
        with interrupts() as received:
            try:
                _check_working_directory()
                with warnings.catch_warnings():
                    warnings.showwarning = _show_warning  # type: ignore[assignment]
                    return super().invoke(ctx)
            except (Exception, KeyboardInterrupt) as error:
                if received or not isinstance(error, Exception):
                    with contextlib.suppress(OSError):  # the terminal may be gone
                        click.echo(INTERRUPTED, err=True)
                    sys.exit(status(received))
                if isinstance(error, BrokenPipeError):
                    _leave_with_the_reader()
                if isinstance(error, SlsguError) and _is_a_later_process():
                    sys.exit(1)  # under torchrun, where the first process says it
                if isinstance(error, SlsguError):
                    see = f" (`{error.see}` lists all of them)" if error.see else ""
                    told = [str(error) + see, *getattr(error, "__notes__", ())]
                    raise click.ClickException("\n".join(told)) from error
                if isinstance(error, OSError):
                    where = f"{error.filename}: " if error.filename else ""
                    raise click.ClickException(f"{where}{error.strerror or error}") from error
                if _out_of_memory(error):
                    raise click.ClickException(
                        "there is not enough memory: try a smaller --batch-size, fewer images, or "
                        "--device cpu (--dry-run estimates what is needed)"
                    ) from error
                if (problem := variables_at_fault(error)) is not None:
                    raise click.UsageError(problem) from error
                raise  # a bug


def _refuse_empty(words: list[str]) -> None:
    """Refuse an argument without text. It is seldom meant: a variable of the shell is not set. And
    as a path it would be the working directory. Beside `--request`, it takes a value of the file
    back, and the command looks at it.

    Raises:
        click.UsageError: there is one.
    """
    if any(word == "--request" or word.startswith("--request=") for word in words):
        return
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if not word.strip():
            before = f" after {words[index - 1]}" if index else ""
            raise click.UsageError(f"argument {index + 1}{before} is empty (a variable not set?)")
        if name.startswith("--") and equals and not value.strip():
            raise click.UsageError(f"{name} is empty (a variable not set?)")


def _check_working_directory() -> None:
    """Say that it is gone, before a library that looks for it says something else.

    Raises:
        click.ClickException: it is.
    """
    try:
        os.getcwd()  # noqa: PTH109 - not for a path
    except FileNotFoundError:
        raise click.ClickException("the working directory is gone: change to another") from None


def _check_completion() -> None:
    """Say what is wrong where a shell's completion is asked for in a way that no shell does."""
    asked = os.environ.get(COMPLETE)
    if not asked:
        return
    words, number = (os.environ.get(name) for name in ("COMP_WORDS", "COMP_CWORD"))
    shell, _, instruction = asked.partition("_")
    wrong = None
    if get_completion_class(shell) is None or instruction not in ("source", "complete"):
        wrong = "write bash_source, zsh_source or fish_source, or unset it"
    elif instruction == "complete" and (
        words is None or (shell != "fish" and not re.fullmatch("[0-9]{1,6}", number or ""))
    ):  # of fish, COMP_CWORD is the word itself
        wrong = "COMP_WORDS and COMP_CWORD are not as a shell sets them"
    if wrong is not None:
        click.echo(f"Error: {COMPLETE} is {asked!r} in the environment: {wrong}", err=True)
        sys.exit(2)


def _is_a_later_process() -> bool:
    """Whether this is one of several processes of `torchrun`, and not the first. Where somebody
    else set some of its variables, nobody else says what is wrong."""
    if "MASTER_ADDR" not in os.environ:
        return False
    return os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("RANK", "0") != "0"


def _leave_with_the_reader() -> NoReturn:
    """End as other Unix tools do where nobody reads on: `slsgu concepts | head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is not flushed yet
    sys.exit(128 + signal.SIGPIPE)


def _out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the CPU or a device; torch has no one class for it."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "allocate memory" in str(error))
        or (isinstance(error, ImportError) and "failed to map segment" in str(error))
    )


def _show_warning(message: Warning | str, *_: Any) -> None:
    """A warning in words, without the line of source that raised it."""
    click.echo(f"Warning: {message}", err=True)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(slsgu.__version__, prog_name="slsgu")
def main() -> None:
    """Make a CLIP model forget one concept: one gradient, one layer, one step, one small patch.

    \b
    Try it on the embedded drawings (no download, no data needed):
      slsgu apply --concept "golden retriever"
    On your own model and pictures (one folder per class):
      slsgu apply --concept "golden retriever" --data photos/ \\
          --model ViT-B-32-quickgelu --pretrained laion400m_e32
    """
