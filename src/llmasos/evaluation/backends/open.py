"""The backend that fits a loaded model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmasos.errors import Unsupported
from llmasos.evaluation.backends.encoding import PromptEncoder, begin_token
from llmasos.evaluation.backends.protocol import Ability, Backend
from llmasos.i18n import t
from llmasos.modeling.folder import Family

if TYPE_CHECKING:
    from llmasos.modeling.model import Model


def abilities_of(family: Family) -> frozenset[Ability]:
    """What the backend of a model of this family can do; nothing: there is no such backend."""
    from llmasos.evaluation.backends.engine import EngineBackend
    from llmasos.evaluation.backends.verbs import ClassifierBackend, Seq2SeqBackend

    known = {
        Family.CAUSAL: EngineBackend.abilities, Family.SEQ2SEQ: Seq2SeqBackend.abilities,
        Family.CLASSIFIER: ClassifierBackend.abilities,
    }  # fmt: skip
    return known.get(family, frozenset())


def backend_of(model: Model, *, digest: str | None = None) -> Backend:
    """The backend for a model of any family.

    Args:
        digest: of the version in the library.

    Raises:
        Unsupported: the model neither writes nor labels texts, or no engine runs it.
    """
    from llmasos.evaluation.backends.engine import EngineBackend
    from llmasos.evaluation.backends.verbs import ClassifierBackend, Seq2SeqBackend

    facts = {"dtype": model.dtype, "device": model.device.partition(":")[0]}
    if model.classifier is not None:
        return ClassifierBackend(model, digest=digest, facts=facts)
    if model.family is Family.SEQ2SEQ:
        return Seq2SeqBackend(model, digest=digest, facts=facts)
    if "generate" in model.capabilities and model.engine is not None:
        encoder = PromptEncoder(model.tokenizer, model.chat_template, model.reference, begin_token(model.tokenizer))
        return EngineBackend(model.engine, encoder, reference=model.reference, digest=digest, facts=facts)
    raise Unsupported(
        t("{model} cannot be evaluated: it can {verbs}", model=model.reference,
          verbs=", ".join(sorted(model.capabilities))),
        hint=t("Choose a model that writes or a classifier."),
    )  # fmt: skip
