"""Rows and tokens per second of rendering conversations, against transformers one conversation at a time.

    python benchmarks/rendering.py --model smollm2:135m-instruct --data alpaca.jsonl [more files] [--rows 52002]

The model is a name in the library or a folder. The files hold Alpaca's columns (instruction, input, output), as JSON,
JSON lines, or either with gzip. Every conversation is rendered by this package (plain template: masks by comparing
prefixes; and with generation blocks added) and by ``apply_chat_template(..., return_assistant_tokens_mask=True)`` of
transformers, which needs the blocks. Tokens and masks are compared. Then the token cache and the packing are timed on
the same rows.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from llmasos.data.batches import PackedBatches
from llmasos.data.packing import BestFit, Sequential, Unpacked
from llmasos.data.rendering import RenderedRow, Renderer, RenderingAccount
from llmasos.data.row import Message, Messages, Origin, Row
from llmasos.data.token_cache import TokenCache
from llmasos.library.store import Library
from llmasos.modeling.chat_template import ChatTemplate
from llmasos.modeling.folder import ModelFolder

# ChatML with blocks, to compare masks: the template of SmolLM2 has none.
PLAIN = "message['content'] + '<|im_end|>' + '\n'"
MARKED = """ }}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n'"""  # noqa: E501


def read(files: list[Path], limit: int) -> Iterator[Row]:
    count = 0
    for file in files:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        text = data.decode("utf-8")
        records = json.loads(text) if text.lstrip().startswith("[") else map(json.loads, text.splitlines())
        for line, record in enumerate(records, 1):
            if count == limit:
                return
            prompt = "\n\n".join(filter(None, (record["instruction"], record.get("input"))))
            turns = (Message("user", prompt), Message("assistant", record["output"]))
            yield Row(str(count), Origin("alpaca", file.name, line), Messages(turns))
            count += 1


def with_blocks(source: str) -> str:
    marked = source.replace(f" + {PLAIN}", MARKED)
    if marked == source:
        raise SystemExit("this benchmark knows where to put generation blocks in ChatML templates only")
    return marked


class Watch:
    """Wall clock, and the processor time of all threads, which a busy machine disturbs less."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._processor = time.process_time()

    def stop(self, name: str, rows: int, tokens: int) -> dict[str, Any]:
        wall = time.perf_counter() - self._wall
        processor = time.process_time() - self._processor
        print(
            f"{name:46} {wall:7.2f} s {rows / wall:8.0f} rows/s {tokens / wall:10.0f} tokens/s"
            f"   processor {processor:7.2f} s",
            flush=True,
        )
        return {"name": name, "rows": rows, "tokens": tokens, "wall": round(wall, 3), "processor": round(processor, 3)}


def ours(name: str, renderer: Renderer, rows: list[Row]) -> tuple[list[RenderedRow], dict[str, Any]]:
    account = RenderingAccount()
    watch = Watch()
    found = [item for item in renderer.render(rows, account) if isinstance(item, RenderedRow)]
    return found, watch.stop(name, len(rows), account.tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2:135m-instruct")
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--rows", type=int, default=10**9)
    parser.add_argument("--peer-rows", type=int, default=8000, help="rows that transformers renders")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()

    path = Path(arguments.model)
    if not path.is_dir():
        library = Library()
        path = library.view(library.resolve(arguments.model))
    folder = ModelFolder.open(path, reference=arguments.model)
    rows = list(read(arguments.data, arguments.rows))
    renderer = Renderer.of_model(folder)
    tokenizer = renderer.tokenizer
    assert renderer.template is not None
    marked = with_blocks(renderer.template.sources["default"])
    template = ChatTemplate(marked, special_tokens=tokenizer.special.texts, added_tokens=tokenizer.added_tokens)
    results = []
    found, result = ours("LLMasOS, masks by prefixes", renderer, rows)
    results.append(result)
    _, result = ours("LLMasOS, generation blocks", Renderer(tokenizer, template), rows)
    results.append(result)

    reference = PreTrainedTokenizerFast(
        tokenizer_file=str(folder.path / "tokenizer.json"), chat_template=marked, **tokenizer.special.texts
    )
    watch = Watch()
    tokens = 0
    different = 0
    checked = rows[: arguments.peer_rows]
    expected = []
    for row in checked:
        assert isinstance(row.sample, Messages)
        messages = [message.as_template_input() for message in row.sample.messages]
        theirs = reference.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        expected.append((theirs["input_ids"], theirs["assistant_masks"]))
        tokens += len(theirs["input_ids"])
    results.append(watch.stop("transformers, apply_chat_template in a loop", len(checked), tokens))
    for item, (ids, mask) in zip(found, expected, strict=False):
        text = item.parts["text"]
        different += text.ids.tolist() != ids or text.trained.tolist() != [bool(flag) for flag in mask]
    print(f"conversations with other tokens or masks: {different} of {len(checked)}")

    with tempfile.TemporaryDirectory() as cache:
        for name in ("LLMasOS, rendered into the cache", "LLMasOS, read from the cache"):
            watch = Watch()
            kept = TokenCache(Path(cache)).tokens(renderer, lambda: rows)
            results.append(watch.stop(name, len(rows), kept.account.tokens))
        samples = kept.parts["text"]
        capacity = max(2048, int(samples.lengths.max()))
        for packing in (BestFit(), Sequential(), Unpacked()):
            start = time.perf_counter()
            batches = PackedBatches(
                samples, capacity=capacity, packing=packing, batch_size=8, padding_id=0, lengths=samples.lengths
            )
            seconds = time.perf_counter() - start
            use = batches.utilisation
            print(
                f"pack {packing.kind}: {use.documents} documents, {use.sequences} sequences of {capacity}, "
                f"{use.share:.2%} used, {seconds:.2f} s"
            )
            results.append({"packing": packing.kind, "sequences": use.sequences, "share": use.share, "s": seconds})
    if arguments.json:
        arguments.json.write_text(json.dumps({"different": different, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
