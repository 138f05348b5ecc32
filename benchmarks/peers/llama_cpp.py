"""llama.cpp through its low-level interface: all streams in one batch, as its own server computes them.

Settings: ``flash_attention`` (bool), ``unified`` (one key-value buffer for all streams, default false), ``share``
(compute a shared prefix once and copy it to the other streams, which a program can do and llama.cpp's server cannot),
``lookup`` (guess tokens from what the text repeats, with the class of the Python package for that).

Greedy choice is one numpy ``argmax`` over all rows. Each batch has whole prompts, up to ``BATCH`` tokens; when all
prompts are computed, every batch has one token of every stream.
"""

from __future__ import annotations

import ctypes
import json
import time
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp.llama_grammar import json_schema_to_gbnf
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

from peers.protocol import Job, Recorder, Report, main

BATCH = 512
DRAFT, NGRAM = 10, 3


class Session:
    """A model with its context and one batch that is used again and again."""

    def __init__(self, job: Job, streams: int) -> None:
        llama_cpp.llama_backend_init()
        setting = job.setting
        model = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(job.model.encode(), model)
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {job.model}")
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.size = llama_cpp.llama_vocab_n_tokens(self.vocabulary)
        context = llama_cpp.llama_context_default_params()
        room = -(-(job.longest + DRAFT + 1) // 256) * 256
        context.n_ctx = room * streams
        context.n_batch = context.n_ubatch = BATCH
        context.n_seq_max = streams
        context.n_threads = context.n_threads_batch = job.threads
        context.flash_attn_type = (
            llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
            if setting.get("flash_attention", True)
            else llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        context.kv_unified = bool(setting.get("unified", False))
        context.no_perf = True
        self.context = llama_cpp.llama_init_from_model(self.model, context)
        if not self.context:
            raise SystemExit("llama.cpp cannot make a context")
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
        self._tokens = np.ctypeslib.as_array(self.batch.token, (BATCH,))
        self._positions = np.ctypeslib.as_array(self.batch.pos, (BATCH,))
        self._wanted = np.ctypeslib.as_array(self.batch.logits, (BATCH,))
        np.ctypeslib.as_array(self.batch.n_seq_id, (BATCH,))[:] = 1

    def compute(self, pieces: list[tuple[int, int, list[int], int]]) -> np.ndarray:
        """Compute (stream, first position, tokens, how many of the last rows are wanted); (wanted, vocabulary)."""
        row = outputs = 0
        for stream, position, tokens, wanted in pieces:
            end = row + len(tokens)
            self._tokens[row:end] = tokens
            self._positions[row:end] = range(position, position + len(tokens))
            self._wanted[row:end] = 0
            self._wanted[end - wanted : end] = 1
            for index in range(row, end):
                self.batch.seq_id[index][0] = stream
            row, outputs = end, outputs + wanted
        self.batch.n_tokens = row
        code = llama_cpp.llama_decode(self.context, self.batch)
        if code != 0:
            raise SystemExit(f"llama_decode failed with {code}")
        if not outputs:
            return np.empty((0, self.size), np.float32)
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits(self.context), (outputs, self.size))

    def clear(self) -> None:
        llama_cpp.llama_memory_clear(self.memory, False)

    def use_adapter(self, adapter: Any) -> None:
        adapters = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(adapter)
        llama_cpp.llama_set_adapters_lora(self.context, adapters, 1, (ctypes.c_float * 1)(1.0))


class GrammarChooser:
    """The likeliest token that the grammar allows. As in llama.cpp's own sampler, the likeliest of all is tried
    alone first, and all tokens are checked only when it is refused."""

    def __init__(self, session: Session, grammar: str) -> None:
        self._session = session
        self._grammar = llama_cpp.llama_sampler_init_grammar(session.vocabulary, grammar.encode(), b"root")
        kind = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        self._all = np.zeros(session.size, kind)
        self._one = np.zeros(1, kind)

    def choose(self, logits: np.ndarray) -> int:
        best = int(logits.argmax())
        self._one["id"], self._one["logit"] = best, 1.0
        if self._apply(self._one) is None:
            self._all["id"] = np.arange(len(self._all))
            self._all["logit"] = logits
            found = self._apply(self._all)
            assert found is not None
            best = found
        if not llama_cpp.llama_vocab_is_eog(self._session.vocabulary, best):
            llama_cpp.llama_sampler_accept(self._grammar, best)
        return best

    def _apply(self, candidates: np.ndarray) -> int | None:
        array = llama_cpp.llama_token_data_array(
            candidates.ctypes.data_as(llama_cpp.llama_token_data_p), len(candidates), -1, False
        )
        llama_cpp.llama_sampler_apply(self._grammar, ctypes.byref(array))
        place = int(candidates["logit"].argmax())
        return int(candidates["id"][place]) if np.isfinite(candidates["logit"][place]) else None


def prefill(session: Session, prompts: dict[int, list[int]], recorder: Recorder, share: int, choose: Any) -> None:
    """Compute the prompts of these streams and take their first tokens."""
    start = 0
    if share:
        first = next(iter(prompts))
        prefix = prompts[first][:share]
        for at in range(0, share, BATCH):
            session.compute([(first, at, prefix[at : at + BATCH], 0)])
        for stream in prompts:
            if stream != first:
                llama_cpp.llama_memory_seq_cp(session.memory, first, stream, 0, -1)
        start = share
    pieces: list[tuple[int, int, list[int], int]] = []

    def flush() -> None:
        if pieces:
            ends = [stream for stream, _, _, wanted in pieces if wanted]
            for stream, token in zip(ends, choose(ends, session.compute(pieces)), strict=True):
                recorder.take(stream, [token])
            pieces.clear()

    for stream, prompt in prompts.items():
        at = start
        while len(prompt) - at > BATCH:
            flush()
            session.compute([(stream, at, prompt[at : at + BATCH], 0)])
            at += BATCH
        if sum(len(tokens) for _, _, tokens, _ in pieces) + len(prompt) - at > BATCH:
            flush()
        pieces.append((stream, at, prompt[at:], 1))
    flush()


def decode(session: Session, job: Job, prompts: dict[int, list[int]], recorder: Recorder, choose: Any) -> None:
    """One token of every stream at a time, until all have ended."""
    lookup = LlamaPromptLookupDecoding(NGRAM, DRAFT) if job.setting.get("lookup") else None
    live = list(prompts)
    while live:
        live = [stream for stream in live if not ended(session, job, recorder.tokens[stream])]
        if not live:
            return
        drafts = {
            stream: guess(lookup, prompts[stream], recorder.tokens[stream], job.new_tokens) if lookup else []
            for stream in live
        }
        pieces = []
        for stream in live:
            tokens = recorder.tokens[stream]
            row = [tokens[-1], *drafts[stream]]
            pieces.append((stream, len(prompts[stream]) + len(tokens) - 1, row, len(row)))
        chosen = choose(live if lookup is None else None, session.compute(pieces))
        now = time.perf_counter()
        at = 0
        for stream, position, row, _ in pieces:
            draft, found = drafts[stream], chosen[at : at + len(row)]
            right = 0
            while right < len(draft) and draft[right] == found[right]:
                right += 1
            at += len(row)
            if draft:
                llama_cpp.llama_memory_seq_rm(session.memory, stream, position + right + 1, -1)
            room = job.new_tokens - len(recorder.tokens[stream])
            recorder.take(stream, found[: right + 1][:room], now)


def ended(session: Session, job: Job, tokens: list[int]) -> bool:
    if len(tokens) >= job.new_tokens:
        return True
    return job.schema is not None and llama_cpp.llama_vocab_is_eog(session.vocabulary, tokens[-1])


def guess(lookup: LlamaPromptLookupDecoding, prompt: list[int], tokens: list[int], limit: int) -> list[int]:
    """Tokens that followed the latest ones before; never more than the output may still get."""
    found = lookup(np.asarray(prompt + tokens, np.intc))
    return [int(token) for token in found[: limit - len(tokens) - 1]]


def run(session: Session, job: Job, prompts: list[list[int]], adapters: list[Any]) -> dict[str, Any]:
    session.clear()
    recorder = Recorder(len(prompts))
    choosers = None
    if job.schema is not None:
        grammar = json_schema_to_gbnf(json.dumps(job.schema))
        choosers = [GrammarChooser(session, grammar) for _ in prompts]

    def choose(streams: list[int] | None, logits: np.ndarray) -> list[int]:
        if choosers is None or streams is None:
            return logits.argmax(axis=1).tolist()
        return [choosers[stream].choose(row) for stream, row in zip(streams, logits, strict=True)]

    share = job.prefix_tokens if job.setting.get("share") else 0
    if adapters:  # one at a time: a context has one set of adapters
        for stream, prompt in enumerate(prompts):
            session.use_adapter(adapters[stream])
            prefill(session, {0: prompt}, OneStream(recorder, stream), 0, choose)  # type: ignore[arg-type]
            decode(session, job, {0: prompt}, OneStream(recorder, stream), choose)  # type: ignore[arg-type]
            session.clear()
    else:
        numbered = dict(enumerate(prompts))
        prefill(session, numbered, recorder, share, choose)
        decode(session, job, numbered, recorder, choose)
    return recorder.result(prompts)


class OneStream:
    """One stream of a recorder under the number 0."""

    def __init__(self, recorder: Recorder, stream: int) -> None:
        self._recorder, self._stream = recorder, stream
        self.tokens = [recorder.tokens[stream]]

    def take(self, stream: int, tokens: list[int], at: float | None = None) -> None:
        self._recorder.take(self._stream, tokens, at)


def serve(job: Job) -> Report:
    session = Session(job, 1 if job.adapters else job.streams)
    adapters = [llama_cpp.llama_adapter_lora_init(session.model, path.encode()) for path in job.adapters]
    if not all(adapters):
        raise SystemExit("llama.cpp cannot load an adapter")
    session.compute([(0, 0, job.warm_up, 1)])
    first_token = time.time()
    for position in range(len(job.warm_up), len(job.warm_up) + 8):
        session.compute([(0, position, [job.warm_up[0]], 1)])
    runs = [run(session, job, prompts, adapters) for prompts in job.runs]
    return Report(
        "llama.cpp",
        f"llama-cpp-python {llama_cpp.__version__}",
        {
            **job.setting,
            "file": Path(job.model).name,
            "n_batch": BATCH,
            "threads": job.threads,
            "cache": "f16",
            "system": llama_cpp.llama_print_system_info().decode().strip(),
        },
        first_token - job.spawned_at,
        int(llama_cpp.llama_model_size(session.model) * job.read_share),
        2.0 * job.values_per_token,
        runs,
    )


if __name__ == "__main__":
    main(serve)
