"""An SVG of what each allowance was used for: one bar a figure, the line is what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from scripts.bench_lib.figures import Figure, shown

_ROW, _TOP, _LABELS, _SCALE, _WIDTH = 24, 52, 470, 260, 960
_MOST = 1.25
"""Where bars are cut off, as a share of the allowance."""
_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328; } .quiet { fill: #59636e; font-size: 12px; }
.title { font-size: 15px; font-weight: 600; } .met { fill: #2da44e; } .over { fill: #cf222e; }
.track { fill: #eaeef2; } .limit { stroke: #59636e; stroke-dasharray: 3 3; } .page { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .quiet { fill: #9198a1; } .track { fill: #21262d; } .page { fill: #0d1117; }
  .limit { stroke: #9198a1; }
}"""


def draw(figures: Sequence[Figure], footer: str) -> str:
    """All figures that have an allowance above zero.

    Args:
        figures: any.
        footer: a line on where they were measured.
    """
    drawn = [(entry, entry.target) for entry in figures if entry.target]
    height = _TOP + _ROW * len(drawn) + 36
    limit, values = _LABELS + _SCALE / _MOST, _LABELS + _SCALE + 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{height}" rx="6"/>',
        '<text class="title" x="16" y="24">What is used of what is allowed: less is better</text>',
    ]
    for row, (entry, target) in enumerate(drawn):
        y = _TOP + row * _ROW
        share = min(entry.value / target, _MOST)
        kind, width = ("met" if entry.met else "over"), share / _MOST * _SCALE
        value, allowed = escape(shown(entry, entry.value)), escape(shown(entry, target))
        label = entry.name if len(entry.name) < 70 else f"{entry.name[:67]}…"
        lines += [
            f'<text x="16" y="{y + 13}">{escape(label)}</text>',
            f'<rect class="track" x="{_LABELS}" y="{y + 2}" width="{_SCALE}" height="14" rx="2"/>',
            f'<rect class="{kind}" x="{_LABELS}" y="{y + 2}" width="{width:.1f}" height="14" rx="2"/>',
            f'<text x="{values}" y="{y + 13}">{value} <tspan class="quiet">of {allowed}</tspan></text>',
        ]
    end = _TOP + len(drawn) * _ROW
    lines += [
        f'<line class="limit" x1="{limit:.1f}" x2="{limit:.1f}" y1="{_TOP - 6}" y2="{end}"/>',
        f'<text class="quiet" x="{limit:.1f}" y="{_TOP - 12}" text-anchor="middle">allowed</text>',
        f'<text class="quiet" x="16" y="{end + 22}">scripts/bench: {escape(footer)}</text>',
        "</svg>\n",
    ]
    return "\n".join(lines)
