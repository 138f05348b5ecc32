"""What the model writes while it is trained: its own answers to a few prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from llmasos.errors import InvalidRecipe
from llmasos.i18n import t
from llmasos.modeling.backend import GenerationRequest
from llmasos.modeling.folder import Family
from llmasos.modeling.generation_defaults import end_ids, policy
from llmasos.modeling.options import SamplingOptions, Seq2SeqOptions
from llmasos.training.feeding import GenerationSample
from llmasos.training.opening import OpenedModel
from llmasos.training.recipe.kinds import TrainingRecipe

_WRITERS = ("pretrain", "sft", "seq2seq")


@dataclass(frozen=True)
class Answer:
    """What the model answered to a prompt; ``expected`` is the answer of the data, if there is one."""

    prompt: str
    output: str
    expected: str | None


class Sampler:
    """Generates greedily from a fixed set of prompts.

    Args:
        recipe: how many validation samples, which texts, how many tokens.
        opened: tokenizer and rules of generation.
        samples: validation samples to choose the first from.

    Raises:
        InvalidRecipe: the kind of model does not write texts.
    """

    def __init__(self, recipe: TrainingRecipe, opened: OpenedModel, samples: Sequence[GenerationSample]) -> None:
        wanted = recipe.evaluation
        if (wanted.samples or wanted.prompts) and recipe.kind not in _WRITERS:
            raise InvalidRecipe(
                t(
                    "evaluation.samples and evaluation.prompts: a model of kind {kind} writes no texts",
                    kind=recipe.kind,
                ),
                hint=t("Leave them out."),
            )
        self._opened = opened
        self._tokens = wanted.sample_tokens
        tokenizer = opened.renderer.tokenizer
        chosen = [(sample.prompt.tolist(), sample.text, sample.expected) for sample in samples[: wanted.samples]]
        own = [(tokenizer.encode(text).ids, text, None) for text in wanted.prompts]
        self._prompts = [*chosen, *(self._without_end(ids, text) for ids, text, _ in own)]

    def answers(self, module: nn.Module) -> list[Answer]:
        """The model's answers now; the module must be in eval mode."""
        if not self._prompts:
            return []
        from llmasos.modeling.transformers_backend import TransformersBackend

        opened = self._opened
        tokenizer = opened.renderer.tokenizer
        ends = end_ids(opened.folder, tokenizer)
        seq2seq = opened.family is Family.SEQ2SEQ
        backend = TransformersBackend(
            module,  # type: ignore[arg-type]  # any causal module
            tokenizer.target if seq2seq else tokenizer,
            end_ids=ends,
            policy=policy(opened.folder, tokenizer, ends),
        )
        options = Seq2SeqOptions() if seq2seq else SamplingOptions()
        answers = []
        for ids, text, expected in self._prompts:
            room = self._tokens if seq2seq else min(self._tokens, opened.context_length - len(ids))
            output = ""
            if room > 0:
                request = GenerationRequest(ids, options, room)
                output = "".join(delta.text for delta in backend.generate([request]))
            answers.append(Answer(text, output, expected))
        return answers

    def _without_end(self, ids: list[int], text: str) -> tuple[list[int], str, None]:
        """Tokenizers of decoder-only models that add an end token would end the text that is to go on."""
        end = self._opened.renderer.tokenizer.special.id("eos")
        if self._opened.family is Family.CAUSAL and len(ids) > 1 and ids[-1] == end:
            ids = ids[:-1]
        return ids, text, None
