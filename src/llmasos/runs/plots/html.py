"""Curves as one HTML file: no request to anywhere, readable without scripts, for light and dark, wide and narrow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from llmasos.i18n import language, t
from llmasos.runs.plots.figure import Line, Panel, tick_text, ticks

#: Told apart with every kind of colour vision (Okabe and Ito, 2008), and on light and dark.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00", "#7a7a7a")

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 18, 10, 54


def page(title: str, panels: Sequence[Panel], table: Sequence[Sequence[str]]) -> str:
    """The page.

    Args:
        title: of the page.
        panels: what is drawn.
        table: rows of facts about the runs; the first has the headings, the first column the name of each run, in the
            order of their numbers in the panels.
    """
    drawn = "\n".join(figures(panels))
    data = json.dumps([_data(panel) for panel in panels], ensure_ascii=False).replace("<", "\\u003c")
    return f"""<!doctype html>
<html lang="{language()}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{_table(table)}
<main>
{drawn}
</main>
<script type="application/json" id="curves">{data}</script>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def figures(panels: Sequence[Panel]) -> list[str]:
    """Each panel as an element ``figure`` with SVG in it; all texts are escaped."""
    return [_figure(panel, number) for number, panel in enumerate(panels)]


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    heads = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = []
    for number, row in enumerate(body):
        swatch = f'<span class="swatch" style="background:{_colour(number)}"></span>'
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        lines.append(f'<tr><th scope="row">{swatch}{escape(row[0])}</th>{cells}</tr>')
    return f'<div class="facts"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _colour(run: int) -> str:
    return COLOURS[run % len(COLOURS)]


def _figure(panel: Panel, number: int) -> str:
    unit = f" <small>({escape(panel.unit)})</small>" if panel.unit else ""
    alone = len(panel.lines) == 1 and not panel.lines[0].skipped  # the title says it
    legend = "" if alone else "".join(_legend(line) for line in panel.lines)
    label = f"{panel.title}: {', '.join(line.label for line in panel.lines)}"
    return f"""<figure>
<figcaption>{escape(panel.title)}{unit}</figcaption>
<div class="legend">{legend}</div>
<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}" data-panel="{number}">
{_axes(panel)}
{"".join(_path(panel, line) for line in panel.lines)}
<line class="cursor" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" visibility="hidden"/>
</svg>
<output></output>
</figure>"""


def _legend(line: Line) -> str:
    dash = ' stroke-dasharray="5 3"' if line.dashed else ""
    skipped = t("{count} values are not numbers", count=line.skipped) if line.skipped else ""
    note = f" <small>({escape(skipped)})</small>" if skipped else ""
    return (
        f'<span><svg class="key" viewBox="0 0 24 8"><path d="M0 4H24" stroke="{_colour(line.run)}" stroke-width="2.5"'
        f"{dash}/></svg>{escape(line.label)}{note}</span>"
    )


def _axes(panel: Panel) -> str:
    parts = []
    low, high = panel.y_range
    for value in ticks(low, high, 5):
        y = _y(panel, value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y:.1f}" dy="0.35em" text-anchor="end">{tick_text(value)}</text>')
    base = _HEIGHT - _BOTTOM
    low, high = panel.x_range
    for value in ticks(low, high, 6):
        x = _x(panel, value)
        parts.append(f'<text x="{x:.1f}" y="{base}" dy="1.4em" text-anchor="middle">{tick_text(value)}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(panel.x_title)}</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>')
    return "".join(parts)


def _path(panel: Panel, line: Line) -> str:
    points = [(_x(panel, x), _y(panel, y)) for x, y in line.points]
    dash = ' stroke-dasharray="6 4"' if line.dashed else ""
    drawn = " ".join(f"{'L' if index else 'M'}{x:.1f} {y:.1f}" for index, (x, y) in enumerate(points))
    path = f'<path d="{drawn}" fill="none" stroke="{_colour(line.run)}" stroke-width="2"{dash}/>'
    if len(points) > 30:
        return path
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_colour(line.run)}"/>' for x, y in points)
    return path + dots


def _x(panel: Panel, value: float) -> float:
    low, high = panel.x_range
    return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)


def _y(panel: Panel, value: float) -> float:
    low, high = panel.y_range
    return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def _data(panel: Panel) -> dict[str, object]:
    """What the script needs to tell values under the pointer."""
    return {
        "x": panel.x_title,
        "lines": [
            {
                "label": line.label,
                "colour": _colour(line.run),
                "points": [[round(_x(panel, x), 1), tick_text(x), tick_text(y)] for x, y in line.points],
            }
            for line in panel.lines
        ],
    }


_STYLE = """
:root{color-scheme:light dark;--text:#1c1e21;--soft:#5d6570;--line:#dfe3e8;--card:#fff;--page:#f5f6f8}
@media(prefers-color-scheme:dark){:root{--text:#e6e8eb;--soft:#9aa3ad;--line:#343a41;--card:#1d2125;--page:#131618}}
*{box-sizing:border-box}
body{margin:0 auto;padding:16px;max-width:1400px;background:var(--page);color:var(--text);
font:15px/1.45 system-ui,-apple-system,"Segoe UI","Noto Sans","Noto Sans CJK SC","PingFang SC",
"Microsoft YaHei",sans-serif}
h1{font-size:1.3rem;margin:.2em 0 .7em;overflow-wrap:anywhere}
.facts{overflow-x:auto;margin-bottom:16px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem}
th,td{padding:4px 18px 4px 0;text-align:left;white-space:nowrap;border-bottom:1px solid var(--line)}
thead th{color:var(--soft);font-weight:500}
tbody th{font-weight:600}
.swatch{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:7px}
main{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr))}
figure{margin:0;padding:12px 12px 6px;background:var(--card);border:1px solid var(--line);border-radius:8px}
figcaption{font-weight:600}
small{color:var(--soft);font-weight:400}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;font-size:.85rem;color:var(--soft);margin:2px 0 6px}
.key{width:24px;height:8px;margin-right:6px;vertical-align:middle}
svg{display:block;width:100%;height:auto}
.key{display:inline-block;width:24px}
svg text{fill:var(--soft);font-size:12px}
.grid{stroke:var(--line)}.axis{stroke:var(--soft)}.cursor{stroke:var(--soft);stroke-dasharray:2 2}
@media(max-width:600px){svg text{font-size:20px}}
output{display:block;min-height:1.5em;font-size:.85rem;font-variant-numeric:tabular-nums;color:var(--soft)}
output b{margin-right:14px;font-weight:600}
"""

_SCRIPT = (
    """
const panels=JSON.parse(document.getElementById('curves').textContent);
for(const svg of document.querySelectorAll('svg[data-panel]')){
  const panel=panels[+svg.dataset.panel],cursor=svg.querySelector('.cursor');
  const out=svg.parentElement.querySelector('output');
  svg.addEventListener('pointermove',event=>{
    const box=svg.getBoundingClientRect(),at=(event.clientX-box.left)/box.width*"""
    + str(_WIDTH)
    + """;
    let near=null;
    for(const line of panel.lines)for(const point of line.points)
      if(near===null||Math.abs(point[0]-at)<Math.abs(near[0]-at))near=point;
    cursor.setAttribute('x1',near[0]);cursor.setAttribute('x2',near[0]);cursor.setAttribute('visibility','visible');
    out.replaceChildren(panel.x+' '+near[1]+': ');
    for(const line of panel.lines){
      let best=line.points[0];
      for(const point of line.points)if(Math.abs(point[0]-near[0])<Math.abs(best[0]-near[0]))best=point;
      const value=document.createElement('b');
      value.style.color=line.colour;value.textContent=(panel.lines.length>1?line.label+' ':'')+best[2];
      out.append(value);
    }
  });
  svg.addEventListener('pointerleave',()=>{cursor.setAttribute('visibility','hidden');out.replaceChildren();});
}
"""
)
