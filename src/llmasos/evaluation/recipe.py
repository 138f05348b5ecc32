"""An evaluation written down: what a run in the background is made from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.task import ChatUse, word_of
from llmasos.evaluation.tasks.find import file_of
from llmasos.modeling.finding import as_folder
from llmasos.recipe.loading import Recipe


class Endpoint(BaseModel):
    """A server that answers instead of a model in this process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="Address of an API like OpenAI's, up to and including /v1.")
    key_variable: str | None = Field(None, description="Environment variable that holds its key.")
    concurrency: int = Field(8, ge=1, description="Calls to the endpoint at the same time.")


class EvaluateRecipe(Recipe):
    """A model, the tasks that it does, and the choices for all of them."""

    kind: Literal["evaluate"] = "evaluate"
    name: str | None = Field(None, description="What the run is called; default: the model's name.")
    model: str = Field(description="A model by name, source or folder; with an endpoint its name there.")
    tasks: list[str | dict[str, Any]] = Field(
        min_length=1, description="Built-in tasks by name, task files, or the contents of such files."
    )
    changes: list[str] = Field([], description="Changes to all tasks, such as few_shot.seed=7.")
    limit: int | None = Field(None, ge=1, description="Most samples of each task, spread over its rows.")
    few_shot: int | None = Field(None, ge=0, description="Solved examples before each question.")
    chat: Annotated[ChatUse | None, BeforeValidator(word_of)] = Field(
        None, description="Whether prompts go through the model's chat template."
    )
    seed: int | None = Field(None, ge=0, description="Seed of examples and of sampled answers.")
    max_tokens: int | None = Field(None, ge=1, description="Most tokens of an answer.")
    sample: bool = Field(False, description="Use the few made-up rows that come with a task, to try it out.")
    data: Path | None = Field(None, description="Folder in which the data is looked for first.")
    unchecked_data: bool = Field(False, description="Take files there whose checksum is not that of the task.")
    unsafe_code: bool = Field(False, description="Run generated programs without isolation if there is none here.")
    endpoint: Endpoint | None = Field(None, description="Ask a server instead of a model in this process.")
    dtype: str | None = Field(None, description="Number format of the weights.")
    device: str | None = Field(None, description="Torch device; default: a GPU if there is one.")
    threads: int | None = Field(None, ge=1, description="CPU threads; default: the usable cores.")

    @property
    def options(self) -> RunOptions:
        """The choices that hold for all tasks."""
        return RunOptions(
            limit=self.limit, few_shot=self.few_shot, chat=self.chat, seed=self.seed, sample=self.sample,
            data=self.data, unchecked_data=self.unchecked_data, max_tokens=self.max_tokens,
            unsafe_code=self.unsafe_code,
        )  # fmt: skip


def with_absolute_paths(recipe: EvaluateRecipe, folder: Path) -> EvaluateRecipe:
    """The same with every path starting from the root, for a process that works in another folder."""

    def absolute(task: str | dict[str, Any]) -> str | dict[str, Any]:
        path = file_of(task) if isinstance(task, str) else None
        return task if path is None else str(folder / path)

    changes: dict[str, Any] = {"tasks": [absolute(task) for task in recipe.tasks]}
    if recipe.data is not None:
        changes["data"] = folder / recipe.data.expanduser()
    model = as_folder(recipe.model) if recipe.endpoint is None else None
    if model is not None:
        changes["model"] = str(folder / model)
    return recipe.model_copy(update=changes)
