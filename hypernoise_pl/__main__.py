# PYTHON_ARGCOMPLETE_OK
"""The entry point. ``--help`` answers at once: heavy imports wait for their command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from hypernoise_pl.cli.parser import COMMANDS, closest, every_command, parse
from hypernoise_pl.cli.result import only_json
from hypernoise_pl.config.options import Options
from hypernoise_pl.system.signals import Stopped, output_may_close, stoppable


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the arguments of the process are left as they are, for DDP's children read them again.

    Returns:
        The exit status, as ``--help`` lists them.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        every_command()[0].print_help()
        return 0
    command = arguments.pop(0)
    if command == "--version":
        from hypernoise_pl import __version__

        print(__version__)
        return 0
    if command not in COMMANDS:
        hint = closest(command, list(COMMANDS)) or f"; commands: {', '.join(COMMANDS)}"
        print(f"hypernoise_pl: error: no command {command!r}{hint}", file=sys.stderr)
        return 2
    try:
        with stoppable(), output_may_close():
            options, rest = parse(command, arguments)
            with only_json(options):
                return _run(command, arguments, options, rest)
    except SystemExit as stop:  # of the parser: help was asked for, or a flag is wrong
        return int(stop.code or 0)
    except Stopped as stopped:
        print(f"hypernoise_pl {command}: {stopped}; the same command begins anew", file=sys.stderr)
        return stopped.code


def _run(command: str, arguments: list[str], options: Options, rest: list[str]) -> int:
    if command == "export":
        from hypernoise_pl.cli.export import main as export

        return export(options)
    if command == "configs":
        from hypernoise_pl.cli.configs import main as configs

        return configs(options)
    if command == "score":
        from hypernoise_pl.cli.score import main as score

        return score(options, rest)
    if command == "sweep":
        from hypernoise_pl.sweep.command import main as sweep

        return sweep(arguments, options, rest)
    from hypernoise_pl.cli.commands import run

    return run(command, arguments, options, rest)


def _complete() -> None:
    """Answer a shell that asks for completions (``register-python-argcomplete hypernoise``)."""
    import argcomplete

    argcomplete.autocomplete(every_command()[0])


if __name__ == "__main__":
    sys.exit(main())
