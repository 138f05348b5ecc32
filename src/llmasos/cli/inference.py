"""One-shot commands: generate, classify, embed, tokenize."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmasos.cli import inference_output as shown
from llmasos.cli.completion import complete_model
from llmasos.cli.model_options import AcceptLicense, CacheDType, Device, DType, Threads
from llmasos.cli.output import Column, Output
from llmasos.errors import InvalidRequest
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.cli.batch import Item
    from llmasos.modeling.results import Classification, Embedding, Generation

app = typer.Typer()

ModelName = Annotated[
    str,
    typer.Argument(metavar="MODEL", help=t("A model by name, source or folder."), autocompletion=complete_model),
]
Texts = Annotated[list[str] | None, typer.Argument(metavar="TEXT", help=t("Texts; `-` reads standard input."))]
BatchFile = Annotated[
    Path | None,
    typer.Option("--file", "-f", help=t("File of texts: .jsonl, or one on each line; writes JSON lines.")),
]
OutputFile = Annotated[Path | None, typer.Option("--output", "-o", help=t("Write the JSON lines into this file."))]
Overwrite = Annotated[bool, typer.Option("--overwrite", help=t("Replace the output file."))]
SkipErrors = Annotated[bool, typer.Option("--skip-errors", help=t("Go on after a line that the model refuses."))]
Truncate = Annotated[
    str | None, typer.Option(metavar="start|end", help=t("Cut a text that does not fit instead of refusing it."))
]
BatchSize = Annotated[int | None, typer.Option(help=t("Most texts that are worked on together."))]
Json = Annotated[bool, typer.Option("--json", help=t("Write JSON."))]


@app.command("generate")
def generate(
    model: ModelName,
    text: Texts = None,
    file: BatchFile = None,
    output: OutputFile = None,
    overwrite: Overwrite = False,
    skip_errors: SkipErrors = False,
    chat: Annotated[bool, typer.Option("--chat", help=t("Treat the text as a message of a conversation."))] = False,
    system: Annotated[str | None, typer.Option("--system", "-s", help=t("System message; implies --chat."))] = None,
    max_tokens: Annotated[int | None, typer.Option(help=t("Most tokens of output."))] = None,
    min_tokens: Annotated[int | None, typer.Option(help=t("Fewest tokens of output."))] = None,
    temperature: Annotated[
        float | None, typer.Option(help=t("Randomness; 0 takes the likeliest token always."))
    ] = None,
    top_k: Annotated[int | None, typer.Option(help=t("Choose among the K likeliest tokens; 0: all."))] = None,
    top_p: Annotated[
        float | None, typer.Option(help=t("Choose among the likeliest tokens that together have this probability."))
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help=t("Leave out tokens less likely than this share of the likeliest."))
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help=t("Above 1 makes tokens that occurred before less likely."))
    ] = None,
    presence_penalty: Annotated[
        float | None, typer.Option(help=t("Taken off tokens that are in the answer already."))
    ] = None,
    frequency_penalty: Annotated[
        float | None, typer.Option(help=t("Taken off a token for each time it is in the answer."))
    ] = None,
    seed: Annotated[int | None, typer.Option(help=t("The same seed gives the same answer."))] = None,
    stop: Annotated[list[str] | None, typer.Option(help=t("Text that ends an answer; may be repeated."))] = None,
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help=t("Go on after the model's end token."))] = False,
    logprobs: Annotated[
        int | None, typer.Option(help=t("Log-probabilities of this many alternatives per token, in JSON."))
    ] = None,
    num_beams: Annotated[
        int | None, typer.Option(help=t("Beam search of this width (encoder-decoder models)."))
    ] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help=t("Above 0 lets beam search favour long output."))
    ] = None,
    no_repeat_ngram_size: Annotated[
        int | None, typer.Option(help=t("Let no sequence of this many tokens occur twice (encoder-decoder models)."))
    ] = None,
    source_language: Annotated[str | None, typer.Option(help=t("Language of the text (multilingual models)."))] = None,
    target_language: Annotated[
        str | None, typer.Option(help=t("Language of the output (multilingual models)."))
    ] = None,
    truncate: Truncate = None,
    dtype: DType = None,
    device: Device = None,
    threads: Threads = None,
    cache_dtype: CacheDType = None,
    accept_license: AcceptLicense = False,
    json: Json = False,
) -> None:
    """Complete a text, or answer it (translation, summary), and write the output as it comes.

    Options that are left out have the values of the model's own configuration. With --file, every line of the file
    becomes one JSON line of output.
    """
    from llmasos.cli import batch
    from llmasos.cli.loading import open_model

    out = Output(json=json)
    given: dict[str, Any] = {
        "max_tokens": max_tokens, "min_tokens": min_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p,
        "min_p": min_p, "repetition_penalty": repetition_penalty, "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty, "seed": seed, "stop": stop or None, "ignore_eos": ignore_eos or None,
        "logprobs": logprobs, "num_beams": num_beams, "length_penalty": length_penalty,
        "no_repeat_ngram_size": no_repeat_ngram_size, "source_language": source_language,
        "target_language": target_language, "truncate": truncate,
    }  # fmt: skip
    options = {name: value for name, value in given.items() if value is not None}
    inputs = batch.gather(text, file, output=output, overwrite=overwrite, skip_errors=skip_errors)
    if not inputs.from_file and len(inputs.items) > 1:
        raise InvalidRequest(
            t("{count} texts were given; generate takes one", count=len(inputs.items)),
            hint=t("Put the text in quotation marks, or use --file for many."),
        )
    as_chat = chat or system is not None

    def messages(item: Item) -> list[dict[str, str]]:
        first = [] if system is None else [{"role": "system", "content": system}]
        return [*first, {"role": "user", "content": item.text}]

    with open_model(
        model, out, accept_license=accept_license, dtype=dtype, device=device, threads=threads, cache_dtype=cache_dtype
    ) as loaded:

        def work(items: Sequence[Item]) -> list[Generation]:
            if as_chat:
                return loaded.chat([messages(item) for item in items], **options)
            return loaded.generate([item.text for item in items], **options)

        item = inputs.items[0]
        if inputs.from_file:
            inputs.write(work, shown.generation_record, out)
        elif json:
            out.result({"model": loaded.reference, **shown.generation_record(item, work([item])[0])}, lambda: None)
        else:
            shown.write_stream(loaded, messages(item) if as_chat else item.text, options, out)


@app.command("classify")
def classify(
    model: ModelName,
    text: Texts = None,
    pair: Annotated[str | None, typer.Option(help=t("Second text, for classifiers of pairs."))] = None,
    file: BatchFile = None,
    output: OutputFile = None,
    overwrite: Overwrite = False,
    skip_errors: SkipErrors = False,
    truncate: Truncate = None,
    batch_size: BatchSize = None,
    dtype: DType = None,
    device: Device = None,
    threads: Threads = None,
    accept_license: AcceptLicense = False,
    json: Json = False,
) -> None:
    """Label texts with a classifier and show how sure it is.

    With --file, every line becomes one JSON line; a line of a .jsonl file may have a second text as "pair".
    """
    from llmasos.cli import batch
    from llmasos.cli.loading import open_model

    out = Output(json=json)
    inputs = batch.gather(
        text, file, output=output, overwrite=overwrite, skip_errors=skip_errors, pairs=True, default_pair=pair
    )
    with open_model(model, out, accept_license=accept_license, dtype=dtype, device=device, threads=threads) as loaded:
        verb: Any = loaded.classify  # its overloads know nothing of lists that mix texts and pairs

        def work(items: Sequence[Item]) -> list[Classification]:
            texts = [item.text if item.pair is None else (item.text, item.pair) for item in items]
            return verb(texts, truncate=truncate, batch_size=batch_size)  # type: ignore[no-any-return]  # see above

        if inputs.from_file:
            inputs.write(work, shown.classification_record, out)
            return
        results = work(inputs.items)
        data = [shown.classification_record(*found) for found in zip(inputs.items, results, strict=True)]
        view = partial(shown.print_labels, out, inputs.items, results)
        out.result({"model": loaded.reference, "results": data}, view)


@app.command("embed")
def embed(
    model: ModelName,
    text: Texts = None,
    file: BatchFile = None,
    output: OutputFile = None,
    overwrite: Overwrite = False,
    skip_errors: SkipErrors = False,
    prompt_name: Annotated[
        str | None, typer.Option(help=t("Prompt of the model to put before each text, such as query."))
    ] = None,
    normalize: Annotated[
        bool | None, typer.Option("--normalize/--no-normalize", help=t("Scale to length 1; default: the model's way."))
    ] = None,
    dimensions: Annotated[int | None, typer.Option(help=t("Keep this many dimensions, the first ones."))] = None,
    truncate: Truncate = None,
    batch_size: BatchSize = None,
    dtype: DType = None,
    device: Device = None,
    threads: Threads = None,
    accept_license: AcceptLicense = False,
    json: Json = False,
) -> None:
    """Turn texts into vectors; several texts are also compared with each other.

    --json writes the vectors. With --file, every line becomes one JSON line.
    """
    from llmasos.cli import batch
    from llmasos.cli.loading import open_model

    out = Output(json=json)
    inputs = batch.gather(text, file, output=output, overwrite=overwrite, skip_errors=skip_errors)
    options: dict[str, Any] = {
        "prompt_name": prompt_name, "normalize": normalize, "dimensions": dimensions, "truncate": truncate,
        "batch_size": batch_size,
    }  # fmt: skip
    with open_model(model, out, accept_license=accept_license, dtype=dtype, device=device, threads=threads) as loaded:

        def work(items: Sequence[Item]) -> list[Embedding]:
            return loaded.embed([item.text for item in items], **options)

        if inputs.from_file:
            inputs.write(work, shown.embedding_record, out)
            return
        results = work(inputs.items)
        data = [shown.embedding_record(*found) for found in zip(inputs.items, results, strict=True)]
        out.result(
            {"model": loaded.reference, "results": data}, lambda: shown.print_vectors(out, inputs.items, results)
        )


@app.command("tokenize")
def tokenize(
    model: ModelName,
    text: Texts = None,
    chat: Annotated[
        bool, typer.Option("--chat", help=t("Show the text as a message in the model's chat template."))
    ] = False,
    special: Annotated[bool, typer.Option("--special/--no-special", help=t("Add the tokens around a text."))] = True,
    decode: Annotated[
        bool, typer.Option("--decode", "-d", help=t("The other way: the text of token ids such as 12,7,99."))
    ] = False,
    accept_license: AcceptLicense = False,
    json: Json = False,
) -> None:
    """Show the tokens of a text. Reads the model's tokenizer only, not its weights."""
    from llmasos.cli.batch import texts_of
    from llmasos.cli.loading import with_license
    from llmasos.modeling.chat_template import missing_template
    from llmasos.modeling.tokenizer_files import load_chat_template, load_tokenizer
    from llmasos.sdk import open_tokenizer_folder

    out = Output(json=json)
    texts = texts_of(text or [])
    folder = with_license(lambda accept: open_tokenizer_folder(model, accept_license=accept), out, accept_license)
    tokenizer = load_tokenizer(folder)
    results: list[dict[str, Any]] = []
    for content in texts:
        if decode:
            ids = _ids(content)
            tokenizer.check_ids(ids)
            results.append({"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=not special)})
        elif chat:
            template = load_chat_template(folder, tokenizer)
            if template is None:
                raise missing_template(folder.reference)
            prompt = template.render([{"role": "user", "content": content}])
            ids = tokenizer.encode_prompt(prompt)
            results.append({"text": str(prompt), "ids": ids, "pieces": tokenizer.pieces(ids)})
        else:
            ids = tokenizer.encode(content, add_special_tokens=special).ids
            results.append({"text": content, "ids": ids, "pieces": tokenizer.pieces(ids)})

    def human() -> None:
        for result in results:
            if decode:
                out.print(result["text"])
                continue
            rows = [(token, repr(piece)[1:-1]) for token, piece in zip(result["ids"], result["pieces"], strict=True)]
            out.table([Column(t("Id"), right=True), t("Token")], rows)
            out.note(t("{count} tokens", count=len(rows)))

    out.result({"model": folder.reference, "results": results}, human)


def _ids(text: str) -> list[int]:
    """Token ids written with commas or spaces."""
    words = text.strip("[] ").replace(",", " ").split()
    if not words or not all(word.isdecimal() for word in words):
        raise InvalidRequest(
            t("{text} are no token ids", text=repr(text[:80])), hint=t("Write whole numbers such as 12,7,99.")
        )
    return [int(word) for word in words]
