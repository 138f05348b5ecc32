"""Commands of the model library: list, show, rm, tag, verify, gc, card, lineage, diff."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from llmasos.cli import library_text as text
from llmasos.cli.completion import complete_library
from llmasos.cli.output import Output
from llmasos.i18n import t
from llmasos.library.kind import Kind
from llmasos.units import format_bytes

if TYPE_CHECKING:
    from llmasos.library.store import Library, Version

DAMAGE_EXIT_CODE = 4  # that of IntegrityError

app = typer.Typer()


@app.command("list")
def list_versions(
    pattern: Annotated[
        str | None, typer.Argument(metavar="[PATTERN]", help=t("Only names that match, with * and ?: 'smol*'."))
    ] = None,
    kind: Annotated[Kind | None, typer.Option(help=t("Only this kind of artefact."))] = None,
    all_: Annotated[bool, typer.Option("--all", "-a", help=t("Also versions that have lost their name."))] = False,
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """List what is in the library, the newest first."""
    from llmasos.library.store import Library

    out = Output(json=json)
    found = Library().versions(kind=kind.value if kind else None, pattern=pattern)
    rows = [row for row in found if all_ or row.names]
    if kind is None and pattern is None and not all_:  # evaluations would outnumber models soon
        shown = [row for row in rows if row.kind != Kind.REPORT.value]
        if len(shown) < len(rows) and not json:
            out.note(t("{count} evaluation(s) are left out; --kind report lists them", count=len(rows) - len(shown)))
        rows = shown
    out.result([text.row_json(row) for row in rows], lambda: text.print_list(out, rows, filtered=bool(pattern or kind)))


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help=t("A name or digest."), autocompletion=complete_library)],
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """Describe a version: architecture, parameters, context, languages, licence, size, origin, metrics and files."""
    from llmasos.library.scores import attached_scores
    from llmasos.library.store import Library

    out = Output(json=json)
    library = Library()
    version = library.resolve(name)
    scores = attached_scores(library, version.digest)
    source = _source(library, version)
    files = [
        {"path": path, "size": file.size, "digest": file.digest, "media_type": file.media_type}
        for path, file in version.manifest.files.items()
    ]
    data = {
        "names": list(version.names),
        "digest": version.digest,
        "size": version.size,
        **version.metadata.model_dump(mode="json"),
        "created": version.created,
        "published": version.published,
        "source": source,
        "scores": [asdict(entry) for entry in scores],
        "files": files,
    }

    def human() -> None:
        text.print_version(out, library, version, source)
        text.print_scores(out, scores)

    out.result(data, human)


def _source(library: Library, version: Version) -> str | None:
    """Where the version came from, by the last step that says so."""
    from llmasos.library.metadata import Lineage

    steps = [Lineage.model_validate_json(step.document, extra="ignore") for step in library.lineage(version)]
    return next((step.source for step in reversed(steps) if step.source), None)


@app.command("tag")
def tag(
    source: Annotated[str, typer.Argument(help=t("A name or digest."), autocompletion=complete_library)],
    target: Annotated[str, typer.Argument(help=t("The new name; one that is in use moves."))],
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """Give a version another name."""
    from llmasos.library.reference import Reference
    from llmasos.library.store import Library

    out = Output(json=json)
    version = Library().tag(source, target)
    name = str(Reference.parse(target))
    out.result(
        {"name": name, "digest": version.digest, "names": list(version.names)},
        lambda: out.print(f"{name} -> {version.digest}"),
    )


@app.command("rm")
def remove(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help=t("Names or digests."), autocompletion=complete_library)
    ],
    force: Annotated[bool, typer.Option("--force", "-f", help=t("Even if adapters need it as their base."))] = False,
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """Remove names, and each version with its blobs when its last name goes."""
    from llmasos.library.store import Library

    out = Output(json=json)
    library = Library()
    for name in names:
        library.digest_of(name)  # an unknown name stops the command before anything is removed
    removals = [library.remove(name, force=force) for name in names]
    gone = [name for removal in removals for name in removal.names]
    versions = [digest for removal in removals for digest in removal.versions]
    freed = sum(removal.freed for removal in removals)

    def human() -> None:
        for removal in removals:
            for name in removal.names:
                out.print(t("removed {name}", name=name))
            for digest in removal.versions:
                out.print(t("deleted {digest}, {size} freed", digest=digest, size=format_bytes(removal.freed)))

    out.result({"names": gone, "versions": versions, "freed": freed}, human)


@app.command("verify")
def verify(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help=t("A name or digest; the whole library when left out."),
            autocompletion=complete_library,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """Check every stored byte against its digest. Exit code 4 if something is damaged."""
    from llmasos.library.store import Library

    out = Output(json=json)
    with out.progress():
        report = Library().verify(name)

    out.result(
        {
            "ok": report.ok,
            "versions": report.versions,
            "blobs": report.blobs,
            "bytes": report.bytes,
            "unneeded": report.unneeded,
            "problems": report.problems,
        },
        lambda: text.print_verification(out, report),
    )
    if not report.ok:
        raise typer.Exit(DAMAGE_EXIT_CODE)


@app.command("gc")
def collect(
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help=t("Only tell what would be removed."))] = False,
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """Free the space of versions without a name, of blobs without a version and of drafts whose process has died."""
    from llmasos.library.store import Library

    out = Output(json=json)
    report = Library().gc(dry_run=dry_run)

    out.result(report, lambda: text.print_collection(out, report, dry_run=dry_run))


@app.command("card")
def card(
    name: Annotated[str, typer.Argument(help=t("A name or digest."), autocompletion=complete_library)],
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """Show a version's card: Markdown with a YAML head."""
    from llmasos.library.card import split_card
    from llmasos.library.store import Library

    out = Output(json=json)
    library = Library()
    version = library.resolve(name)
    card_text = library.card(version)
    head, body = split_card(card_text) if json else ({}, card_text)
    out.result({"digest": version.digest, "head": head, "body": body}, lambda: out.print(card_text, end=""))


@app.command("lineage")
def lineage(
    name: Annotated[str, typer.Argument(help=t("A name or digest."), autocompletion=complete_library)],
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """Show what a version was made from, and what was made from it."""
    from llmasos.library.lineage import ancestors, descendants
    from llmasos.library.store import Library

    out = Output(json=json)
    library = Library()
    digest = library.digest_of(name)
    up, down = ancestors(library, digest), descendants(library, digest)

    out.result({"digest": digest, "inputs": up, "users": down}, lambda: text.print_lineage(out, up, down))


@app.command("diff")
def diff(
    before: Annotated[str, typer.Argument(help=t("A name or digest."), autocompletion=complete_library)],
    after: Annotated[str, typer.Argument(help=t("A name or digest."), autocompletion=complete_library)],
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """Compare two versions: metadata, files, and the tensors of safetensors files."""
    from llmasos.library.diff import compare
    from llmasos.library.store import Library

    out = Output(json=json)
    library = Library()
    with out.progress():
        result = compare(library, library.resolve(before), library.resolve(after))

    out.result(result, lambda: text.print_difference(out, result))
