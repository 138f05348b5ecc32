"""The pages, in the order of the navigation."""

from __future__ import annotations

from llmasos.studio.page import Page
from llmasos.studio.pages import home, model, models, playground, run, runs, serve

PAGES: tuple[Page, ...] = (home.PAGE, models.PAGE, model.PAGE, playground.PAGE, runs.PAGE, run.PAGE, serve.PAGE)
