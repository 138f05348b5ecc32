"""A report in words: what a person reads of it, by section."""

from __future__ import annotations

from llmasos.i18n import t
from llmasos.training.preflight.report import Report
from llmasos.units import format_bytes, format_count, format_duration

Pairs = list[tuple[str, object]]


def sections(report: Report) -> list[tuple[str, Pairs]]:
    """Titles with names and values; what was not found out is left out."""
    sections: list[tuple[str, Pairs]] = []
    if report.data is not None:
        sections.append((t("Data"), _data(report)))
    if report.model is not None:
        sections.append((t("Model"), _model(report)))
    if report.memory is not None:
        sections.append((t("Memory at the highest point"), _memory(report)))
    if report.disk is not None:
        sections.append((t("Disk"), _disk(report)))
    if report.time is not None:
        sections.append((t("Time"), _time(report)))
    return sections


def _data(report: Report) -> Pairs:
    data = report.data
    assert data is not None
    rows = t("not counted") if data.rows is None else f"{data.rows:,}"
    looked = t("all rendered") if data.complete else t("{count} rendered", count=f"{data.looked_at:,}")
    pairs: Pairs = [(t("training rows"), f"{rows} ({looked})")]
    if data.validation_rows is not None:
        pairs.append((t("validation rows"), f"{data.validation_rows:,}"))
    if data.labels:
        pairs.append((t("classes"), ", ".join(f"{name} {count:,}" for name, count in data.labels.items())))
    per_row = data.tokens / max(data.looked_at, 1)
    tokens = t("{count} a row", count=f"{per_row:,.1f}")
    if data.learned:
        tokens += t(", {share} learned", share=f"{data.learned / max(data.tokens, 1):.0%}")
    pairs.append((t("tokens"), tokens))
    if data.max_length is not None:
        share = data.overlong / max(data.looked_at, 1)
        pairs.append((t("over the limit"), t("{share} of the rows, limit {limit}", share=f"{share:.1%}",
                                              limit=data.max_length)))  # fmt: skip
    if data.sequences is not None:
        pairs.append((t("sequences"), t("{count} an epoch, {tokens} tokens each, {padding} padding",
                                         count=f"{data.sequences:,}", tokens=f"{data.tokens_per_sequence:,.0f}",
                                         padding=f"{data.padding:.0%}")))  # fmt: skip
    return pairs


def _model(report: Report) -> Pairs:
    model = report.model
    assert model is not None
    share = model.trainable / max(model.parameters, 1)
    return [
        (t("model"), f"{model.reference} ({model.family}), {format_count(model.parameters)}"),
        (t("trained"), f"{format_count(model.trainable)} ({share:.2%})"),
        (t("learning rate"), f"{model.learning_rate:g}"),
        (t("number formats"), t("{compute} computes, weights are loaded as {weights}", compute=model.compute,
                                weights=model.weights)),
        (t("packing"), t("several documents a sequence") if model.packed else t("one document a sequence")),
        (t("device"), model.device),
    ]  # fmt: skip


def _memory(report: Report) -> Pairs:
    memory = report.memory
    assert memory is not None
    names = {
        "program": t("program"), "weights": t("weights"), "masters": t("float32 weights"), "gradients": t("gradients"),
        "optimizer": t("optimiser states"), "average": t("moving average"), "activations": t("activations"),
        "logits": t("logits"), "data": t("data"),
    }  # fmt: skip
    pairs: Pairs = [(names[name], format_bytes(size)) for name, size in memory.parts.items()]
    total = t("{total} of {available} available", total=format_bytes(memory.total),
              available=format_bytes(memory.available))  # fmt: skip
    pairs.append((t("together"), total))
    if report.time is not None and report.time.measured_memory is not None:
        pairs.append((t("measured"), format_bytes(report.time.measured_memory)))
    return pairs


def _disk(report: Report) -> Pairs:
    disk = report.disk
    assert disk is not None
    checkpoints = t("{each} each, at most {total} at one time", each=format_bytes(disk.checkpoint),
                    total=format_bytes(disk.checkpoints))  # fmt: skip
    return [
        (t("checkpoints"), checkpoints),
        (t("result"), format_bytes(disk.result)),
        (t("together"), t("{total} of {available} available", total=format_bytes(disk.total),
                          available=format_bytes(disk.free))),
    ]  # fmt: skip


def _time(report: Report) -> Pairs:
    time = report.time
    assert time is not None
    way = t("measured in a few steps") if time.measured else t("measured on a few layers")
    pairs: Pairs = []
    if time.steps is not None:
        pairs.append((t("steps"), t("{count}, {tokens} tokens each, micro-batches of {size}", count=f"{time.steps:,}",
                                     tokens=f"{time.tokens_per_step:,.0f}", size=time.micro_batch_size)))  # fmt: skip
    pairs.append((t("speed"), t("{rate} tokens/s ({way})", rate=f"{time.tokens_per_second:,.0f}", way=way)))
    if time.seconds is not None:
        pairs.append((t("expected"), format_duration(time.seconds)))
    return pairs
