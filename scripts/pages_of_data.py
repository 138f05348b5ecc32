"""The page about the steps of data preparation."""

# ruff: noqa: E501 - sources with their addresses

from __future__ import annotations

from pathlib import Path
from typing import Any

from page_markup import NOTE, table

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
