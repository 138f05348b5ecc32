"""Where models and packages come from: pip's indexes, the Hugging Face hub, registries, proxies."""

from __future__ import annotations

import os
import time
import urllib.request

from llmasos.cli.checks import Problem, Section
from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.library.sources.masking import mask_url
from llmasos.settings import get_settings
from llmasos.units import format_duration


def check(*, network: bool) -> Section:
    """The configured sources; with ``network`` each address is asked whether it answers."""
    section = Section("sources", t("Sources"))
    addresses = _package_indexes(section)
    addresses += _hub(section)
    registries = get_settings().registries
    section.facts.append((t("registries"), ", ".join(registries) or t("none are searched")))
    proxies = {scheme: mask_url(url) for scheme, url in urllib.request.getproxies().items() if scheme != "no"}
    section.facts.append((t("proxies"), ", ".join(f"{key} {url}" for key, url in proxies.items()) or t("none")))
    section.data.update(registries=list(registries), proxies=proxies)
    if network:
        section.data["reachable"] = {mask_url(url): _ask(section, url) for url in addresses}
    return section


def _package_indexes(section: Section) -> list[str]:
    from llmasos.library.sources.pip_configuration import read_pip_configuration

    try:
        pip = read_pip_configuration()
    except LLMasOSError as error:
        section.problems.append(Problem("advice", error.message, error.hint))
        return []
    indexes = [mask_url(url) for url in pip.indexes]
    links = [mask_url(link) for link in pip.find_links]
    section.facts.append((t("PyPI (as pip is configured)"), ", ".join(indexes) or t("no index")))
    if links:
        section.facts.append((t("folders of wheels"), ", ".join(links)))
    section.data["pip"] = {"indexes": indexes, "find_links": links}
    if pip.certificates:
        section.facts.append((t("certificates"), pip.certificates))
    return [url for url in pip.indexes if url.startswith(("http://", "https://"))]


def _hub(section: Section) -> list[str]:
    from llmasos.library.sources.hub import endpoint, has_token

    address = endpoint()
    token = has_token()
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
    text = mask_url(address) + (" (HF_ENDPOINT)" if os.environ.get("HF_ENDPOINT") else "")
    text += ", " + (t("signed in") if token else t("not signed in"))
    section.facts.append(("Hugging Face", text + (", HF_HUB_OFFLINE" if offline else "")))
    section.data["hub"] = {"endpoint": mask_url(address), "signed_in": token, "offline": offline}
    return [] if offline else [address]


def _ask(section: Section, url: str) -> bool:
    """Whether anything answers at ``url`` within five seconds; an answer that refuses is still an answer."""
    import httpx

    began = time.monotonic()
    try:
        answer = httpx.head(url, timeout=5.0, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        section.facts.append((mask_url(url), t("does not answer: {error}", error=mask_url(str(error)))))
        section.problems.append(
            Problem(
                "advice",
                t("{url} cannot be reached", url=mask_url(url)),
                t("a mirror helps: `pip config set global.index-url URL`, `export HF_ENDPOINT=URL`"),
            )
        )
        return False
    took = format_duration(time.monotonic() - began)
    section.facts.append((mask_url(url), t("answers with {status} after {time}", status=answer.status_code, time=took)))
    return True
