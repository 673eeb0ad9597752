"""Small charts as SVG text, coloured by the page they stand in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#3b7dd8", "#e07b39", "#3a9d6a", "#b65fc4", "#c9a227", "#d1495b", "#4aa3a2", "#8a6f4d", "#7f7fd5", "#7a8a99")
WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 42

Point = tuple[float, float]


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """One colour a name, in turn."""
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(dict.fromkeys(names))}


def against_compute(
    series: Mapping[str, Sequence[Point]], colours: Mapping[str, str], across: str, upward: str, trained: set[str]
) -> str:
    """A line a method, its points joined; cost on a log axis. What starts from training has diamonds."""
    points = [point for line in series.values() for point in line]
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    bottom, top = min(0.0, *(y for _, y in points)), max(y for _, y in points)
    floor, ceiling = math.log10(low) - 0.08, math.log10(high) + 0.08
    margin = 0.06 * (top - bottom or 1.0)
    bottom, top = bottom - margin, top + margin

    def x(value: float) -> float:
        return LEFT + (math.log10(value) - floor) / (ceiling - floor) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(upward)} against {escape(across)}">']
    for tick in _decades(low, high):
        parts.append(f'<line class="axis" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(_text(x(tick), HEIGHT - BOTTOM + 16, f"{tick:g}", "middle"))
    for tick in _ticks(bottom, top):
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(_text(LEFT - 6, y(tick) + 4, f"{tick:g}", "end"))
    parts.append(_text((LEFT + WIDTH) / 2, HEIGHT - 6, across, "middle"))
    parts.append(_text(LEFT + 6, TOP + 12, upward, "start"))
    for name, line in series.items():
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in sorted(line))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')
        for a, b in line:
            turn = f' transform="rotate(45 {x(a):.1f} {y(b):.1f})"' if name in trained else ""
            parts.append(
                f'<rect x="{x(a) - 4:.1f}" y="{y(b) - 4:.1f}" width="8" height="8" rx="{0 if turn else 4}" '
                f'fill="{colours[name]}"{turn}><title>{escape(name)}: {a:.4g}, {b:+.3f}</title></rect>'
            )
    return "".join(parts) + "</svg>"


def bars(groups: Mapping[str, Mapping[str, float]], colours: Mapping[str, str]) -> str:
    """A group of bars a tag, a bar a method, each in [0, 1]."""
    count = max(len(group) for group in groups.values())
    each, gap = max(5, min(14, 900 // (len(groups) * (count + 1)))), 14
    wide = LEFT + RIGHT + len(groups) * (count * each + gap)
    parts = [f'<svg viewBox="0 0 {wide} {HEIGHT}" style="min-width:{min(wide, 900)}px" role="img" aria-label="by tag">']

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)

    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{wide - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(_text(LEFT - 6, y(tick) + 4, f"{tick:g}", "end"))
    for place, (tag, group) in enumerate(groups.items()):
        left = LEFT + gap / 2 + place * (count * each + gap)
        parts.append(_text(left + count * each / 2, HEIGHT - BOTTOM + 18, tag.replace("_", " "), "middle"))
        for number, (label, value) in enumerate(group.items()):
            parts.append(
                f'<rect x="{left + number * each:.1f}" y="{y(value):.1f}" width="{each - 1}" '
                f'height="{y(0) - y(value):.1f}" fill="{colours[label]}">'
                f"<title>{escape(label)}: {value:.3f}</title></rect>"
            )
    return "".join(parts) + "</svg>"


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="faint" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _decades(low: float, high: float) -> list[float]:
    """1, 2, 5 of every decade in reach; only its 1 where that is crowded."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [m * 10.0**p for p in powers for m in (1, 2, 5) if low * 0.99 <= m * 10.0**p <= high * 1.01]
    coarse = [tick for tick in fine if math.isclose(math.log10(tick), round(math.log10(tick)), abs_tol=1e-9)]
    return fine if len(fine) <= 8 else coarse


def _ticks(low: float, high: float) -> list[float]:
    step = 10 ** math.floor(math.log10((high - low) / 3))
    step = next(step * m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 6)
    return [round(k * step, 10) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
