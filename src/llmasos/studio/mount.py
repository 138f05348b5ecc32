"""The Studio in a server's application."""

from __future__ import annotations

from fastapi import FastAPI, Request
from nicegui import app, ui

from llmasos.i18n import speaking
from llmasos.server.serving.service import ModelService
from llmasos.studio import address, preferences, shell
from llmasos.studio.context import Context, Platform
from llmasos.studio.guard import StudioGuard
from llmasos.studio.pages import PAGES


def mount(application: FastAPI, service: ModelService) -> Platform:
    """Put the Studio under ``/studio`` beside the APIs. NiceGUI knows one application in a process, so call it once."""
    platform = Platform(service)

    def root(request: Request) -> None:
        chosen = preferences.read(request)
        platform.address = platform.address or str(request.base_url).rstrip("/").removesuffix(address.ROOT)
        with speaking(chosen.language):
            shell.build(Context(platform, chosen), PAGES)

    ui.run_with(
        application, root=root, mount_path=address.ROOT, title="LLMasOS", tailwind=False, show_welcome_message=False,
        reconnect_timeout=30.0, favicon=FAVICON,
    )  # fmt: skip
    app.config.quasar_config["loadingBar"]["skipHijack"] = True  # a bar without a name, which tells nothing of our work
    application.add_middleware(StudioGuard, root=address.ROOT, configuration=service.configuration)

    return platform


FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#4338ca"/>'
    '<path d="M9 7v18h14v-4H13V7z" fill="#fff"/><circle cx="22" cy="11" r="3.5" fill="#5fd0c2"/></svg>'
)
