"""A preview as a fragment of HTML: complete in itself, every text escaped, no script."""

from __future__ import annotations

from html import escape

from llmasos.data.preview import Preview, PreviewToken, facts, shown
from llmasos.i18n import t

# Learned tokens are underlined too: colour alone does not reach everybody.
_STYLE = """
.token-preview pre { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.6; margin: .3em 0 1em; }
.token-preview .t { opacity: .6; }
.token-preview .t.learned { opacity: 1; background: rgba(46, 160, 67, .22); border-bottom: 2px solid #2ea043; }
.token-preview .t.control { border: 1px solid currentColor; border-radius: 3px; padding: 0 1px; }
.token-preview .warning::before { content: "⚠ "; }
.token-preview dl { display: grid; grid-template-columns: max-content 1fr; gap: .2em 1em; margin: 0 0 1em; }
.token-preview dd { margin: 0; }
""".strip()


def as_html(found: Preview) -> str:
    """The preview as one ``<section>``, with its own style."""
    parts = [f'<section class="token-preview"><style>{_STYLE}</style>', "<dl>"]
    parts += [f"<dt>{escape(question)}</dt><dd>{escape(answer)}</dd>" for question, answer in facts(found)]
    parts.append("</dl>")
    parts += [f'<p class="warning">{escape(warning)}</p>' for warning in found.warnings]
    for sample in found.samples:
        label = "" if sample.label is None else " · " + t("label {name}", name=sample.label)
        problem = "" if sample.problem is None else " · " + t("left out")
        parts.append(f"<h4>{escape(sample.row + label + problem)}</h4>")
        for sequence in sample.sequences:
            counts = t("{count} tokens, {learned} learned", count=len(sequence.tokens), learned=sequence.trained)
            parts.append(f"<p>{escape(sequence.name)}: {escape(counts)}</p>")
            parts.append(f"<pre>{''.join(map(_token, sequence.tokens))}</pre>")
    parts.append("</section>")
    return "\n".join(parts)


def _token(token: PreviewToken) -> str:
    names = " ".join(["t", *["learned"] * token.trained, *["control"] * token.special])
    return f'<span class="{names}" title="{token.id}">{escape(shown(token))}</span>'
