"""What is known of a version, as names and values."""

from __future__ import annotations

from llmasos.i18n import t
from llmasos.library.version import Version
from llmasos.units import format_bytes, format_count


def facts(version: Version) -> list[tuple[str, str | None]]:
    """All facts; values that are not known are ``None`` or empty."""
    metadata = version.metadata
    return [
        (t("Digest"), version.digest),
        (t("Kind"), metadata.kind.value),
        (t("Architecture"), metadata.architecture),
        (t("Task"), metadata.task_family),
        (t("Parameters"), format_count(metadata.parameters) if metadata.parameters else None),
        (t("Context"), t("{count} tokens", count=f"{metadata.context_length:,}") if metadata.context_length else None),
        (t("Languages"), ", ".join(metadata.languages)),
        (t("Licence"), metadata.license),
        (t("Size"), format_bytes(version.size)),
        (t("Format"), metadata.format),
        (t("Type"), metadata.precision),
        (t("Quantisation"), metadata.quantization),
        (t("Chat template"), t("yes") if metadata.chat_template else t("no")),
        (t("Labels"), ", ".join(metadata.labels)),
        (t("Data"), ", ".join(metadata.data)),
    ]
