"""The text on the screen, token by token, of which one is chosen."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from nicegui import ui

from llmasos.explain.explanation import ExplainedToken
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context
from llmasos.studio.explanation import markup

#: A click, or an arrow, Home or End on the chosen token, chooses; the server is told which.
_CHOOSE = """(event) => {
  const all = [...event.currentTarget.querySelectorAll('[data-position]')];
  const at = all.indexOf(event.target.closest('[data-position]'));
  if (at < 0) return;
  const last = all.length - 1;
  const steps = {ArrowLeft: at - 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowDown: at + 1, Home: 0, End: last};
  if (event.type === 'keydown' && !(event.key in steps)) return;
  const next = event.type === 'keydown' ? steps[event.key] : at;
  if (event.type === 'keydown') event.preventDefault();
  if (!all[next]) return;
  all[next].focus();
  emit(next);
}"""


class Strip:
    """Args: ``name`` of it for screen readers; ``chosen`` is called with a position."""

    def __init__(
        self, context: Context, tokens: Sequence[ExplainedToken], name: str, chosen: Callable[[int], object]
    ) -> None:
        self._count = len(tokens)
        self._shown = ui.html(markup.strip(tokens, [0.0] * len(tokens), 0), sanitize=False).classes("strip tokens")
        labelled(self._shown, name).props("role=listbox")
        for event in ("click", "keydown"):
            self._shown.on(
                event, context.handle(lambda happened: self._take(happened.args, chosen)), js_handler=_CHOOSE
            )

    def _take(self, position: object, chosen: Callable[[int], object]) -> object:
        """A browser may send anything."""
        if isinstance(position, int) and 0 <= position < self._count:
            return chosen(position)
        return None

    def show(self, shades: Sequence[float] | None = None, position: int | None = None) -> None:
        """Shade the tokens, mark the chosen one. The elements stay, and so does the focus."""
        darkness = "null" if shades is None else json.dumps([round(float(value), 3) for value in shades])
        self._shown.client.run_javascript(f"""(() => {{
          const shades = {darkness}, chosen = {json.dumps(position)};
          const found = getHtmlElement({self._shown.id});
          found && found.querySelectorAll('[data-position]').forEach((token, place) => {{
            if (shades) token.style.setProperty('--shade', shades[place]);
            if (chosen !== null) {{
              token.setAttribute('aria-selected', place === chosen);
              token.tabIndex = place === chosen ? 0 : -1;
            }}
          }});
        }})()""")
