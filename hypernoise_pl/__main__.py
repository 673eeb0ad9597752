# PYTHON_ARGCOMPLETE_OK
"""The entry point. ``--help`` answers at once: heavy modules are imported by their command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from hypernoise_pl.cli.command_table import COMMANDS
from hypernoise_pl.cli.outcome import Outcome, output_for_json, print_json
from hypernoise_pl.cli.parser import closest, parse, top_parser
from hypernoise_pl.config.options import Options
from hypernoise_pl.system.signals import Stopped, allow_closed_output, stoppable


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; ``sys.argv`` stays as it is, for the processes that DDP starts read it again.

    Returns:
        The exit status, as ``--help`` lists them.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        top_parser().print_help()
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
        with stoppable(), allow_closed_output():
            options, flags = parse(command, arguments)
            with output_for_json(options.json) as output:
                outcome = _run(command, arguments, options, flags)
            if options.json:
                print_json(outcome.result, output)
            return outcome.status
    except SystemExit as stop:  # raised by the parser after --help, or for a wrong flag
        return int(stop.code or 0)
    except Stopped as stopped:
        print(f"hypernoise_pl {command}: {stopped}; the same command begins anew", file=sys.stderr)
        return stopped.code


def _run(command: str, arguments: list[str], options: Options, flags: list[str]) -> Outcome:
    if command == "export":
        from hypernoise_pl.cli.export import main as export

        return export(options)
    if command == "configs":
        from hypernoise_pl.cli.configs import main as configs

        return configs(options)
    if command == "score":
        from hypernoise_pl.cli.score import main as score

        return score(options, flags)
    if command == "sweep":
        from hypernoise_pl.sweep.command import main as sweep

        return sweep(arguments, options, flags)
    from hypernoise_pl.cli.run import run

    return run(command, arguments, options, flags)


def _complete() -> None:
    """Answer a shell that asks for completions (``register-python-argcomplete hypernoise``)."""
    import argcomplete

    argcomplete.autocomplete(top_parser())


if __name__ == "__main__":
    sys.exit(main())
