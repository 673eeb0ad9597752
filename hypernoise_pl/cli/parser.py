"""The parser of the command line: one subparser a command. Standard library only.

``--help`` answers at once: nothing that is imported here imports torch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from textwrap import fill
from typing import Any, NoReturn

from hypernoise_pl.cli.command_table import COMMANDS, CONFIGURED, PROGRAM, STATUS
from hypernoise_pl.cli.flags import add_flags
from hypernoise_pl.config.options import Options


class Parser(argparse.ArgumentParser):
    """The parser of one command; an error is one line, and exit status 2."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(add_help=False, allow_abbrev=False, formatter_class=_Formatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Print an error in one line, without the usage, and exit."""
        print(f"{self.prog.rpartition(' -m ')[2]}: error: {message}; {self.prog} --help", file=sys.stderr)
        sys.exit(2)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=22)


def parse(command: str, arguments: Sequence[str]) -> tuple[Options, list[str]]:
    """Parse the flags of a command.

    Returns:
        The flags, and the remaining arguments: keys of the configuration.

    Raises:
        SystemExit: with status 2, after a line that names the error; with status 0 after ``--help``.
    """
    parser = command_parsers()[command]
    # flags may stand before IMAGES, which parse_known_args takes for absent then
    parse_flags = parser.parse_known_intermixed_args if command == "score" else parser.parse_known_args
    flags, rest = parse_flags(list(arguments))
    if rest and command not in (*CONFIGURED, "sweep", "score"):
        parser.error(f"{rest[0]}: not understood{closest(rest[0], own_flags(command))}")
    return Options(**vars(flags)), rest


def top_parser() -> Parser:
    """The parser of all commands."""
    return _parsers()[0]


def command_parsers() -> dict[str, Parser]:
    """Command -> its parser."""
    return _parsers()[1]


def own_flags(command: str) -> list[str]:
    """The flags of a command, without the keys of the configuration."""
    actions = command_parsers()[command]._actions
    return [flag for action in actions for flag in action.option_strings if flag.startswith("--")]


def closest(flag: str, flags: Sequence[str]) -> str:
    """`` (did you mean '--x'?)`` for the most similar flag; empty if none is similar."""
    from difflib import get_close_matches

    by_spelling = {known.replace("_", "-"): known for known in reversed(flags)}
    matches = get_close_matches(flag.partition("=")[0].replace("_", "-"), [*by_spelling], 1)
    return f" (did you mean {by_spelling[matches[0]]!r}?)" if matches else ""


def _parsers() -> tuple[Parser, dict[str, Parser]]:
    """The parser of all commands, and that of each command."""
    top = Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} COMMAND [options]",
        description=fill(
            "Noise hypernetworks: what searching a one-step generator's noise finds, in one more network evaluation.",
            80,
        ),
        epilog=f"{STATUS}\nstart with:\n  {PROGRAM} fit    (no GPU, no downloads, minutes on a CPU)\n"
        f"help:\n  {PROGRAM} COMMAND --help",
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    for name, command in COMMANDS.items():
        lines = "".join(f"  {PROGRAM} {example}\n" for example in command.examples)
        parser = commands.add_parser(
            name,
            prog=f"{PROGRAM} {name}",
            usage=f"{PROGRAM} {name} {command.usage}",
            help=command.does,
            description=fill(" ".join(command.description.split()) or f"{command.does.capitalize()}.", 80),
            epilog=f"examples:\n{lines}" if lines else None,
        )
        add_flags(name, parser)
    common = top.add_argument_group("options")
    common.add_argument("--version", action="store_true", help="print the version and stop")
    common.add_argument("-h", "--help", action="help", help="this page")
    return top, commands.choices  # type: ignore[return-value]
