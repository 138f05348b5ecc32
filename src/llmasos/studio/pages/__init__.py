"""The pages, in the order of the navigation."""

from __future__ import annotations

from llmasos.studio.page import Page
from llmasos.studio.pages import (
    compare,
    data,
    data_look,
    data_prepare,
    evaluate,
    evaluation,
    explain,
    home,
    leaderboard,
    model,
    model_compare,
    models,
    playground,
    run,
    runs,
    runs_compare,
    serve,
    settings,
    train,
)

PAGES: tuple[Page, ...] = (
    home.PAGE, models.PAGE, model_compare.PAGE, model.PAGE, playground.PAGE, data.PAGE,
    data_look.PAGE, data_prepare.PAGE, train.PAGE, evaluate.PAGE,
    leaderboard.PAGE, compare.PAGE, evaluation.PAGE, explain.PAGE,
    runs.PAGE, runs_compare.PAGE, run.PAGE, serve.PAGE, settings.PAGE,
)  # fmt: skip
