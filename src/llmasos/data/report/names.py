"""Reasons of rejections as people read them. Their stable names stay in data and JSON."""

from __future__ import annotations

import re

from llmasos.i18n import t


def reason_text(reason: str) -> str:
    """A short text for a reason; a name that is not known is shown without its underscores."""
    if gram := re.fullmatch(r"(frequent|repeated)_(\d+)_grams?", reason):
        return t("repeated {size}-grams", size=gram[2])
    return _texts().get(reason) or reason.replace("_", " ")


def _texts() -> dict[str, str]:
    return {
        "broken_json": t("broken JSON"),
        "broken_csv": t("broken CSV"),
        "wrong_number_of_columns": t("wrong number of columns"),
        "undecodable": t("not in the encoding of the file"),
        "not_an_object": t("not an object"),
        "missing_field": t("missing field"),
        "not_text": t("not a text"),
        "malformed_messages": t("malformed messages"),
        "no_text": t("no text"),
        "no_main_text": t("no main text in the page"),
        "broken_pdf": t("broken PDF"),
        "encrypted_pdf": t("encrypted PDF"),
        "empty_text": t("empty text"),
        "empty_prompt": t("empty prompt"),
        "empty_completion": t("empty completion"),
        "empty_user": t("empty message of the user"),
        "empty_assistant": t("empty message of the assistant"),
        "empty_chosen": t("empty preferred answer"),
        "empty_rejected": t("empty rejected answer"),
        "empty_source": t("empty source"),
        "empty_target": t("empty target"),
        "empty_label": t("empty label"),
        "empty_pair": t("empty second text"),
        "no_answer": t("no answer of the assistant"),
        "same_answers": t("both answers are the same"),
        "left_out_of_mixture": t("left out of the mixture"),
        "too_long": t("too long"),
        "nothing_trained": t("no token to learn"),
        "answer_cut_away": t("cutting took everything that was to be learned"),
        "refused_by_template": t("refused by the chat template"),
        "unknown_label": t("unknown class"),
        "unsuitable": t("not for this model"),
        "wrong_language": t("wrong language"),
        "language_not_certain": t("language not certain"),
        "too_short": t("too short"),
        "exact_duplicate": t("exact duplicate"),
        "near_duplicate": t("near duplicate"),
        "in_evaluation_set": t("in an evaluation set"),
        "profanity": t("profanity"),
        "expression_false": t("the expression is false"),
        "expression_failed": t("the expression failed"),
        "perplexity_too_high": t("perplexity too high"),
        "perplexity_too_low": t("perplexity too low"),
        "classifier_label": t("another class"),
        "repeated_lines": t("repeated lines"),
        "repeated_paragraphs": t("repeated paragraphs"),
    }
