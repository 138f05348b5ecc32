"""The Studio in a server's application."""

from __future__ import annotations

from fastapi import FastAPI, Request
from nicegui import app, ui

from llmasos.i18n import speaking
from llmasos.server.serving.service import ModelService
from llmasos.studio import address, preferences, receiving, shell
from llmasos.studio.accounts.routes import routes
from llmasos.studio.accounts.visitor import Visitor
from llmasos.studio.context import Context, Platform
from llmasos.studio.evaluation import files as evaluation_files
from llmasos.studio.favicon import FAVICON
from llmasos.studio.guard import VISITOR, StudioGuard
from llmasos.studio.pages import PAGES


def mount(application: FastAPI, service: ModelService) -> Platform:
    """Put the Studio under ``/studio`` beside the APIs. NiceGUI knows one application in a process, so call it once."""
    platform = Platform(service)

    def root(request: Request) -> None:
        chosen = preferences.read(request)
        visitor: Visitor = request.scope[VISITOR]
        platform.address = platform.address or str(request.base_url).rstrip("/").removesuffix(address.ROOT)
        with speaking(chosen.language):
            shell.build(Context(platform, chosen, visitor), PAGES)
        if visitor.session is not None:
            _leave_with_the_session(platform, visitor)

    application.include_router(routes(platform.door))  # before NiceGUI, which takes every address below its own
    application.include_router(receiving.router(service.library), prefix=address.ROOT)
    application.include_router(evaluation_files.router(platform), prefix=address.ROOT)
    ui.run_with(
        application, root=root, mount_path=address.ROOT, title="LLMasOS", tailwind=False, show_welcome_message=False,
        reconnect_timeout=30.0, favicon=FAVICON,
    )  # fmt: skip
    app.config.quasar_config["loadingBar"]["skipHijack"] = True  # a bar without a name, which tells nothing of our work
    application.add_middleware(StudioGuard, root=address.ROOT, configuration=service.configuration, door=platform.door)

    return platform


def _leave_with_the_session(platform: Platform, visitor: Visitor) -> None:
    """Whoever opens the page anew after its session finds it empty, and the browser goes to where one signs in."""
    client = ui.context.client
    client.on_delete(platform.door.when_gone(visitor, client.remove_all_elements))
    ui.add_head_html(f"""<script>
    addEventListener("load", function wait() {{
      if (!window.socket) return setTimeout(wait, 100);
      window.socket.on("disconnect", async () => {{
        const answer = await fetch("{address.ROOT}{address.session()}").catch(() => null);
        if (answer && !(await answer.json()).signed_in) location.reload();
      }});
    }});
    </script>""")
