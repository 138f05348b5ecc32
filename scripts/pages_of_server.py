"""Pages about the server: fields of its APIs, keys of its configuration, clients that its tests run."""

# ruff: noqa: E501 - paragraphs of prose

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from client_table import ABILITIES, table_rows
from page_markup import NOTE, table


def field_rows(body: Any) -> list[tuple[str, str, str]]:
    """The fields of a body: honoured, or refused and why."""
    from llmasos.i18n import translate

    rows = [
        (
            f"`{field.alias or name}`",
            "○" if str(field.description).startswith("Must be") else "●",
            translate(field.description or ""),
        )
        for name, field in body.model_fields.items()
    ]
    return rows + [(f"`{name}`", "○", translate(reason)) for name, reason in body.NOT_SUPPORTED.items()]


def fields_page(english: str, chinese: str, page: str, bodies: Callable[[], Mapping[str, Any]]) -> Callable[[str], str]:
    """A page with every field of an API."""

    def write(language: str) -> str:
        if language == "zh":
            parts = [
                f"# {chinese}的字段",
                NOTE,
                f"[{chinese}]({page})的每个字段：● 生效；○ 被拒绝，并在错误中指出名称（使用 `llmasos serve --lenient` 时"
                "忽略，并在响应头中列出）。表中没有的字段是未知字段，同样会被拒绝。",
            ]
            heads = ("字段", "", "说明")
        else:
            parts = [
                f"# Fields of {english}",
                NOTE,
                f"Every field of [{english}]({page}): ● is honoured; ○ is refused with an error that names it "
                "(`llmasos serve --lenient` ignores it and names it in a header). A field that is not listed is unknown, and "
                "refused as well.",
            ]
            heads = ("Field", "", "Meaning")
        for route, body in bodies().items():
            parts += [
                f"## {route}" if " " in route or "/" not in route else f"## `{route}`",
                table(heads, field_rows(body)),
            ]
        return "\n\n".join(parts) + "\n"

    return write


def ollama_bodies() -> Mapping[str, Any]:
    from llmasos.server.ollama.routes import BODIES

    return BODIES


def openai_bodies() -> Mapping[str, Any]:
    from llmasos.server.openai.routes import BODIES

    return BODIES


def responses_bodies() -> Mapping[str, Any]:
    from llmasos.server.openai.responses.routes import BODIES

    return BODIES


def anthropic_bodies() -> Mapping[str, Any]:
    from llmasos.server.anthropic.routes import BODIES

    return BODIES


def configuration_page(language: str) -> str:
    """Every key of a server's configuration."""
    from llmasos.i18n import translate
    from llmasos.server.configuration import ServerConfiguration, UpstreamConfiguration

    chinese = language == "zh"
    parts = [
        "# 服务器的配置" if chinese else "# Configuration of the server",
        NOTE,
        "`llmasos serve --config FILE` 的 YAML 文件（`kind: serve`）中的键。未知的键和不允许的值一次全部报告。"
        if chinese
        else "Keys of the YAML file (`kind: serve`) for `llmasos serve --config FILE`. Unknown keys and values that are not "
        "allowed are reported all at once.",
    ]
    heads = ("键", "默认", "含义") if chinese else ("Key", "Default", "Meaning")
    for title, model in (("", ServerConfiguration), ("upstreams", UpstreamConfiguration)):
        rows = [
            (
                f"`{name}`",
                ""
                if field.is_required() or field.default in (None, ()) or field.default_factory
                else f"`{field.default}`",
                translate(str(field.description)),
            )
            for name, field in model.model_fields.items()
        ]
        parts += [f"## `{title}`"] if title else []
        parts.append(table(heads, rows))
    return "\n\n".join(parts) + "\n"


def clients_page(language: str) -> str:
    """Which clients are run against the server by its tests, and what they do there."""
    chinese = language == "zh"
    names = ["对话", "流", "工具", "结构化输出", "向量", "错误", "取消"] if chinese else list(ABILITIES)
    parts = [
        "# 经过测试的客户端" if chinese else "# Clients that are tested",
        NOTE,
        "每个客户端都在测试中对真实的服务器和真实的模型运行；● 表示有测试证明。Responses 和 Anthropic 接口没有向量。"
        if chinese
        else "Each client is run by the tests against a real server with a real model; ● is shown by a test. Responses and "
        "Anthropic's API have no embeddings.",
        table(["客户端" if chinese else "Client", *names], table_rows()),
    ]
    return "\n\n".join(parts) + "\n"
