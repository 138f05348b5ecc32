"""The field ``options`` of requests, and the parameters of a Modelfile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from llmasos.i18n import t
from llmasos.server.web.body import Fields, InvalidField

_AT_START = "the server decides it when it loads the model; see `llmasos serve --help`"
_OTHER_SAMPLER = "this server has no mirostat; use top_p, min_p or typical_p"

ENGINE_NAMES: Mapping[str, str] = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repeat_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "seed": "seed",
    "stop": "stop",
    "num_predict": "max_tokens",
}
"""Options that are the engine's own, under another name."""


class OptionFields(Fields):
    """How tokens are chosen, and how many. What is absent follows the model's own defaults, not Ollama's."""

    temperature: float | None = Field(None, ge=0, description="0 is greedy.")
    top_k: int | None = Field(None, ge=-1, description="Keep the k likeliest tokens; 0 and -1 keep all.")
    top_p: float | None = Field(None, gt=0, le=1, description="Keep the likeliest tokens up to this probability.")
    min_p: float | None = Field(None, ge=0, le=1, description="Keep tokens with this share of the likeliest.")
    typical_p: float | None = Field(None, gt=0, le=1, description="Locally typical sampling; 1 switches it off.")
    repeat_penalty: float | None = Field(None, gt=0, description="Against repetition; looks at the whole text.")
    repeat_last_n: int | None = Field(
        None, ge=-1, le=0, description="-1: penalties look at the whole text, as they always do; 0: no penalties."
    )
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=-1, le=2**63 - 1, description="The same seed gives the same output; -1: any.")
    stop: str | list[str] | None = Field(None, description="Texts that end the output.")
    num_predict: int | None = Field(
        None, ge=-2, description="Most tokens of output; -1 and -2: as many as the context takes."
    )
    num_ctx: int | None = Field(
        None, ge=1,
        description="Most tokens of prompt and output together. A prompt that does not fit is refused, never cut; "
        "above the model's own context it changes nothing.",
    )  # fmt: skip
    num_keep: int | None = Field(None, ge=-1, description="Met as it is: no token of a prompt is ever dropped.")
    mirostat: int | None = Field(None, ge=0, le=0, description="0, which is off.")
    tfs_z: float | None = Field(None, ge=1, le=1, description="1, which is off.")
    penalize_newline: bool | None = Field(None, description="true: line breaks count like all tokens.")

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {
        "num_gpu": _AT_START,
        "main_gpu": _AT_START,
        "num_thread": _AT_START,
        "num_batch": _AT_START,
        "numa": _AT_START,
        "low_vram": _AT_START,
        "f16_kv": _AT_START,
        "use_mmap": _AT_START,
        "use_mlock": _AT_START,
        "vocab_only": _AT_START,
        "logits_all": "ask for logprobs",
        "embedding_only": "use a model for embeddings",
        "mirostat_tau": _OTHER_SAMPLER,
        "mirostat_eta": _OTHER_SAMPLER,
        "draft_num_predict": "speculation adapts itself here",
    }

    def sampling(self, place: str = "options") -> dict[str, Any]:
        """By the engine's names; options that are absent, or say "as many as possible", are left out.

        Raises:
            InvalidField: a value is not allowed.
        """
        if self.num_predict == 0:
            raise InvalidField(
                t("{where} = 0: allowed are numbers from 1, and -1 or -2 for as many as the context takes",
                  where=f"{place}.num_predict"),
                param=f"{place}.num_predict",
            )  # fmt: skip
        if self.penalize_newline is False:
            raise InvalidField(
                t("{where} = false: penalties cannot leave out line breaks here", where=f"{place}.penalize_newline"),
                param=f"{place}.penalize_newline",
            )
        options = {engine: value for name, engine in ENGINE_NAMES.items() if (value := getattr(self, name)) is not None}
        if options.get("top_k") == -1:
            options["top_k"] = 0
        if options.get("seed") == -1:
            del options["seed"]
        if options.get("max_tokens", 1) < 0:
            del options["max_tokens"]
        if "stop" in options:
            options["stop"] = [options["stop"]] if isinstance(options["stop"], str) else options["stop"]
            if not options["stop"]:
                del options["stop"]
        if self.repeat_last_n == 0:
            options |= {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
        return options


def parameter_lines(options: Mapping[str, Any], context_limit: int | None = None) -> list[tuple[str, str]]:
    """Options by the engine's names as the parameters of a Modelfile: names and texts."""
    lines: list[tuple[str, str]] = []
    for name, engine in ENGINE_NAMES.items():
        value = options.get(engine)
        items = value if isinstance(value, list | tuple) else [] if value is None else [value]
        lines += [(name, f'"{item}"' if isinstance(item, str) else f"{item:g}") for item in items]
    if context_limit is not None:
        lines.append(("num_ctx", str(context_limit)))
    return lines
