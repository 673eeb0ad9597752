"""What a command is doing: a live view in a terminal, whole lines anywhere else (a log file, a pipe)."""

from hypernoise_pl.progress.curve import Curve
from hypernoise_pl.progress.pace import clock
from hypernoise_pl.progress.steps import EVERY, Steps, part, phase, say
from hypernoise_pl.progress.terminal import first_process, in_terminal

__all__ = ["EVERY", "Curve", "Steps", "clock", "first_process", "in_terminal", "part", "phase", "say"]
