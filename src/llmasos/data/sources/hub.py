"""Data sets of the Hugging Face hub, read through the package datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmasos.data.sources.config import HubSource
from llmasos.data.sources.planning import Found
from llmasos.errors import InvalidRecipe, MissingDependency, NotFound, Unavailable
from llmasos.i18n import t


def find_hub_data_set(source: HubSource, folder: Path) -> Found:
    """Fetch a data set into the cache of the package datasets and return its Arrow files.

    Raises:
        NotFound: there is no such data set, subset or split.
        Unavailable: the hub cannot be reached.
        MissingDependency: the package datasets is not installed.
    """
    if "[" in source.split:
        raise InvalidRecipe(
            t("slices of splits are not supported: {split}", split=source.split),
            hint=t("Read the whole split and use split or mix of the recipe."),
        )
    data = _load(source, folder)
    files = [Path(item["filename"]) for item in data.cache_files]
    if not files:
        raise NotFound(
            t("the data set {name} has no files", name=source.dataset), hint=t("Check its name, subset and split.")
        )
    class_names = {
        column: tuple(feature.names)
        for column, feature in (data.features or {}).items()
        if type(feature).__name__ == "ClassLabel"
    }
    reference = "/".join(filter(None, (source.dataset, source.subset, source.split)))
    if source.revision:
        reference += f"@{source.revision}"
    return Found(files, files[0].parent, reference=f"hf:{reference}", class_names=class_names)


def _load(source: HubSource, folder: Path) -> Any:
    try:
        import datasets
        from datasets.exceptions import DatasetNotFoundError
    except ImportError as error:
        raise MissingDependency(
            t("reading data sets of the hub needs the package datasets"), hint='pip install "llmasos[data]"'
        ) from error
    local = folder / Path(source.dataset).expanduser()
    name = str(local) if local.is_dir() else source.dataset
    try:
        return datasets.load_dataset(name, source.subset, split=source.split, revision=source.revision)
    except (DatasetNotFoundError, FileNotFoundError, ValueError) as error:
        raise NotFound(
            t("there is no data set {name}: {problem}", name=source.dataset, problem=str(error).splitlines()[0]),
            hint=t("Check its name, subset and split."),
        ) from error
    except (ConnectionError, OSError) as error:
        raise Unavailable(
            t("the data set {name} cannot be fetched: {problem}", name=source.dataset, problem=error),
            hint=t("Check the network, or name a local folder."),
        ) from error
