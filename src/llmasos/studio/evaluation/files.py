"""Files of finished evaluations: the report as a page that runs nothing, and what one downloads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse

from llmasos.errors import LLMasOSError, NotFound
from llmasos.evaluation.finished import Finished
from llmasos.evaluation.reports.page import Scheme, page
from llmasos.evaluation.reports.rows import as_csv, as_markdown
from llmasos.evaluation.runs import Run
from llmasos.i18n import speaking, t
from llmasos.studio import address, preferences

if TYPE_CHECKING:
    from llmasos.studio.context import Platform

#: A report shows what a model wrote: no script, no form, no request, in an origin of its own, in our frames alone.
REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"


def router(platform: Platform) -> APIRouter:
    """Answers the addresses of :func:`llmasos.studio.address.evaluation_file`."""
    found = APIRouter()

    @found.get(address.evaluation_file("{key}", "{name}"), include_in_schema=False)
    def file(request: Request, key: str, name: str) -> Response:
        with speaking(preferences.read(request).language):
            try:
                if name not in _FILES:
                    raise NotFound(
                        t("there is no file {path}", path=name), hint=t("There are {names}.", names=", ".join(_FILES))
                    )
                return _FILES[name](platform.evaluations.get(key), request)
            except LLMasOSError as error:
                return PlainTextResponse(f"{error.message}\n{error.hint or ''}".strip(), error.http_status)

    return found


def _report(found: Finished, request: Request) -> Response:
    asked = request.query_params.get("scheme")
    scheme: Scheme = "light" if asked == "light" else "dark" if asked == "dark" else "auto"
    content = page([found.run()], scheme=scheme)
    headers = {"content-security-policy": REPORT_POLICY}
    if "download" in request.query_params:
        headers |= _attached(found, "html")
    return Response(content, media_type="text/html", headers=headers)


def _samples(found: Finished, request: Request) -> Response:
    return FileResponse(found.samples().path, media_type="application/vnd.apache.parquet",
                        headers=_attached(found, "parquet"))  # fmt: skip


def _of_run(ending: str, media: str, content: Callable[[Run], str | bytes]) -> Callable[[Finished, Request], Response]:
    def respond(found: Finished, request: Request) -> Response:
        return Response(content(found.run()), media_type=media, headers=_attached(found, ending))

    return respond


def _json(run: Run) -> bytes:
    return orjson.dumps(run.evaluation.as_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)


def _attached(found: Finished, ending: str) -> dict[str, str]:
    """Makes a browser keep the file; the name of a task has plain letters alone."""
    return {"content-disposition": f'attachment; filename="{found.evaluation.task}-{found.key}.{ending}"'}


_FILES: dict[str, Callable[[Finished, Request], Response]] = {
    "report.html": _report,
    "report.md": _of_run("md", "text/markdown", lambda run: as_markdown([run.evaluation])),
    "scores.csv": _of_run("csv", "text/csv", lambda run: as_csv([run.evaluation])),
    "evaluation.json": _of_run("json", "application/json", _json),
    "samples.parquet": _samples,
}
