"""What happens to samples that are longer than the model can read, or than was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from llmasos.data.rendering.account import RenderingAccount
from llmasos.data.rendering.options import Drop, Overlong, Refuse, Split, Truncate
from llmasos.data.rendering.parts import Encoded
from llmasos.data.step import Rejection
from llmasos.errors import ContextLengthExceeded
from llmasos.i18n import t


def fit(
    parts: Mapping[str, Encoded],
    policy: Overlong,
    limit: int | None,
    account: RenderingAccount,
    *,
    start_token: int | None = None,
    where: str = "",
) -> list[Mapping[str, Encoded]] | Rejection:
    """Make the sequences of one sample fit.

    Args:
        limit: most tokens of each sequence; ``None``: any number.
        account: what is cut or divided is counted there.
        start_token: id of the sequence-start token, which stays when a sequence is cut at its start.
        where: what the row is called in an error.

    Returns:
        The sequences, several times if the sample was divided; or why it is left out.

    Raises:
        ContextLengthExceeded: the sample is too long and the policy is to stop.
    """
    longest = max(map(len, parts.values()))
    if limit is None or longest <= limit:
        return [parts]
    match policy:
        case Drop():
            return Rejection("too_long", f"{longest} tokens, at most {limit}")
        case Refuse():
            raise ContextLengthExceeded(
                t("{row} has {count} tokens; allowed are {limit}", row=where, count=longest, limit=limit),
                hint=t("Raise max_length, or choose overlong: drop, truncate or split."),
            )
        case Truncate():
            return _truncated(parts, policy, limit, account, start_token)
        case Split():
            return _divided(parts, policy, limit, account, longest)
        case _:
            assert_never(policy)


def _truncated(
    parts: Mapping[str, Encoded], policy: Truncate, limit: int, account: RenderingAccount, start_token: int | None
) -> list[Mapping[str, Encoded]] | Rejection:
    cut: dict[str, Encoded] = {}
    lost = 0
    answer_cut = False
    for name, part in parts.items():
        if len(part) <= limit:
            cut[name] = part
            continue
        first_stays = start_token is not None and part.ids[0] == start_token
        cut[name] = part.cut(limit, policy.side, first_stays)
        before, after = int(part.trained.sum()), int(cut[name].trained.sum())
        if before and not after:
            return Rejection("answer_cut_away", f"{len(part)} tokens cut to {limit} at the {policy.side}: {name}")
        lost += len(part) - len(cut[name])
        answer_cut |= after < before
    account.truncated += 1
    account.truncated_tokens += lost
    account.answers_cut += answer_cut
    return [cut]


def _divided(
    parts: Mapping[str, Encoded], policy: Split, limit: int, account: RenderingAccount, longest: int
) -> list[Mapping[str, Encoded]] | Rejection:
    ((name, part), *others) = parts.items()
    if others or not part.divisible:
        return Rejection("too_long", f"{longest} tokens, at most {limit}, and samples of this kind cannot be divided")
    pieces = part.pieces(limit, policy.overlap)
    useful = [piece for piece in pieces if piece.trained.any()]
    if useful:
        useful[0].learned = part.learned
        useful[0].crossing = part.crossing
        account.divided += 1
        account.pieces += len(useful)
        account.pieces_left_out += len(pieces) - len(useful)
    return [{name: piece} for piece in useful]
