"""Progress of a command: a live view in a terminal, complete lines elsewhere (a log file, a pipe)."""

from hypernoise_pl.progress.pace import clock
from hypernoise_pl.progress.sparkline import Sparkline
from hypernoise_pl.progress.steps import LINE_SECONDS, Steps, part, phase, say
from hypernoise_pl.progress.terminal import first_process, in_terminal

__all__ = ["LINE_SECONDS", "Sparkline", "Steps", "clock", "first_process", "in_terminal", "part", "phase", "say"]
