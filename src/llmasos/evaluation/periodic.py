"""Evaluation while a model is trained: any task on the module as it is, without library, engine or files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmasos.evaluation.backends.encoding import PromptEncoder, begin_token
from llmasos.evaluation.backends.torch_module import ModuleBackend
from llmasos.evaluation.evaluate import Evaluated, evaluate_in_memory
from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.tasks.find import FoundTask

if TYPE_CHECKING:
    import torch

    from llmasos.modeling.chat_template import ChatTemplate
    from llmasos.modeling.tokenizer import Tokenizer


def evaluate_module(
    task: FoundTask,
    module: torch.nn.Module,
    tokenizer: Tokenizer,
    *,
    context_length: int,
    template: ChatTemplate | None = None,
    end_ids: Sequence[int] = (),
    options: RunOptions | None = None,
    batch_tokens: int = 8192,
) -> Evaluated:
    """Evaluate a causal language model that is in memory.

    The module is put into evaluation mode for the time of the call and then into the mode that each of its parts had.
    No gradients are kept and the random generators of torch are left alone: training goes on as if nothing had been.

    Args:
        module: called with ``input_ids`` and ``attention_mask``, both (batch, length), it returns an object with
            ``logits``: (batch, length, vocabulary).
        tokenizer: of the module.
        context_length: longest sequence in tokens.
        template: for tasks that are asked as conversations.
        end_ids: tokens that end an answer, beside the tokenizer's end token.
        options: limit, examples and so on; default: what the task says.
        batch_tokens: tokens of one pass, padding included.

    Raises:
        LLMasOSError: see :func:`llmasos.evaluation.prepare.prepare`.
    """
    end = tokenizer.special.id("eos")
    ends = {*end_ids, *(() if end is None else (end,))}
    encoder = PromptEncoder(tokenizer, template, type(module).__name__, begin_token(tokenizer))
    backend = ModuleBackend(
        module, encoder, end_ids=sorted(ends), context_length=context_length, batch_tokens=batch_tokens,
        reference=type(module).__name__,
    )  # fmt: skip
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        return evaluate_in_memory(backend, task, options or RunOptions())
    finally:
        for part in training:
            part.training = True
