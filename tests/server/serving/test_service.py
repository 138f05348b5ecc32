"""Loading on first use, the memory budget, idle models, adapters and names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from llmasos.errors import NotFound, OutOfMemory, TooManyRequests, Unsupported
from llmasos.library import acquire
from llmasos.library.store import Library
from llmasos.server.configuration import ServerConfiguration
from llmasos.server.serving.job import Job, finish
from llmasos.server.serving.service import ModelService
from tiny_models import build

Scenario = Callable[[ModelService], Coroutine[Any, Any, None]]


@pytest.fixture
def library(home: Path, tmp_path: Path) -> Library:
    library = Library(home)
    for name in ("llama", "qwen2", "sentence_transformer", "bert_classifier"):
        acquire.import_path(build(name, tmp_path / name), name=name.replace("_", "-"), library=library)
    return library


def play(library: Library, scenario: Scenario, **configuration: Any) -> None:
    async def main() -> None:
        values = {"threads": 1, "cache_bytes": 2**22, **configuration}
        service = ModelService(ServerConfiguration.model_validate(values), library)
        await service.start()
        try:
            await scenario(service)
        finally:
            await service.close()

    asyncio.run(main())


async def ask(service: ModelService, model: str, **job: Any) -> str:
    generation = await service.generate(Job(model, prompt="The quick", options={"max_tokens": 4}, **job))
    try:
        return (await finish(generation)).outputs[0].text
    finally:
        generation.close()


def test_models_load_on_first_use_once_for_all(library: Library) -> None:
    async def scenario(service: ModelService) -> None:
        assert service.ready and service.loaded() == []
        answers = await asyncio.gather(*(ask(service, "llama") for _ in range(5)))
        assert len(set(answers)) == 1
        assert [item.name for item in service.loaded()] == ["llama"]
        assert service.metrics.registry.get_sample_value("llmasos_model_loads_total", {"model": "llama"}) == 1
        assert service.loaded()[0].users == 0

    play(library, scenario)


def test_a_digest_and_a_tag_name_the_same_model(library: Library) -> None:
    async def scenario(service: ModelService) -> None:
        await ask(service, "llama")
        await ask(service, "llama:latest")
        await ask(service, f"llama@{library.digest_of('llama')}")
        assert len(service.loaded()) == 1

    play(library, scenario)


def test_the_longest_unused_model_makes_room(library: Library) -> None:
    async def scenario(service: ModelService) -> None:
        await ask(service, "llama")
        size = service.loaded()[0].bytes
        service.memory_budget = int(1.5 * size)
        await ask(service, "qwen2")
        assert [item.name for item in service.loaded()] == ["qwen2"]

    play(library, scenario)


def test_a_model_in_use_is_not_unloaded_for_another(library: Library) -> None:
    async def scenario(service: ModelService) -> None:
        generation = await service.generate(Job("llama", prompt="a", options={"max_tokens": 100, "ignore_eos": True}))
        service.memory_budget = service.loaded()[0].bytes
        with pytest.raises(OutOfMemory, match="qwen2 needs"):
            await ask(service, "qwen2")
        assert (await finish(generation)).usage.completion_tokens == 100
        generation.close()

    play(library, scenario)


def test_an_idle_model_is_unloaded_and_comes_back(library: Library) -> None:
    async def scenario(service: ModelService) -> None:
        await ask(service, "llama", keep_alive=0.0)
        async with asyncio.timeout(10):
            while service.loaded():
                await asyncio.sleep(0.05)
        await ask(service, "llama", keep_alive=-1)
        assert service.loaded()[0].expires_in is None
        assert await service.unload("llama") and not service.loaded()
        assert not await service.unload("llama")

    play(library, scenario)


def test_configured_models_stay(library: Library) -> None:
    async def scenario(service: ModelService) -> None:
        assert [item.name for item in service.loaded()] == ["llama"]
        assert service.loaded()[0].expires_in is None

    play(library, scenario, models=("llama",), keep_alive=0.0)


def test_only_what_is_named(library: Library) -> None:
    async def scenario(service: ModelService) -> None:
        with pytest.raises(NotFound, match="'qwen2'"):
            await ask(service, "qwen2")
        assert [item.name for item in service.names.listing()] == ["llama"]

    play(library, scenario, models=("llama",), only=True)


def test_unknown_names_get_near_ones(library: Library) -> None:
    async def scenario(service: ModelService) -> None:
        with pytest.raises(NotFound, match="'lama'") as caught:
            await ask(service, "lama")
        assert "llama" in (caught.value.hint or "")
        for odd in ("", "a b", "../x", "pypi:x", "x" * 500, "+", "llama+", "sha256:00"):
            with pytest.raises(NotFound):
                await ask(service, odd)

    play(library, scenario)


def test_vectors_and_labels(library: Library) -> None:
    async def scenario(service: ModelService) -> None:
        vectors = await service.embed("sentence-transformer", ["a", "b"])
        assert len(vectors) == 2
        labels = await service.classify("bert-classifier", ["great", "bad"])
        assert len(labels) == 2
        with pytest.raises(Unsupported, match="cannot embed"):
            await service.embed("llama", ["a"])
        with pytest.raises(Unsupported, match="cannot generate"):
            await ask(service, "bert-classifier")
        assert all(item.users == 0 for item in service.loaded())

    play(library, scenario)


def test_a_full_queue_refuses_with_a_time(library: Library) -> None:
    async def scenario(service: ModelService) -> None:
        job = Job("llama", prompt="a", options={"max_tokens": 200, "ignore_eos": True})
        held = [await service.generate(job) for _ in range(3)]
        with pytest.raises(TooManyRequests, match="takes 3") as caught:
            await service.generate(job)
        assert caught.value.retry_after >= 1
        for generation in held:
            generation.close()
            generation.close()  # twice does no harm
        assert service.loaded()[0].local.outputs == 0 and service.loaded()[0].users == 0
        assert await ask(service, "llama")

    play(library, scenario, max_sequences=2, max_queue=1)


def test_refused_jobs_hold_nothing(library: Library) -> None:
    async def scenario(service: ModelService) -> None:
        for bad in (
            Job("llama", prompt=[10**9], options={}), Job("llama", prompt="a", options={"temperature": -1}),
            Job("llama", prompt="word " * 5000), Job("llama", prompt="a", options={"nonsense": 1}),
            Job("llama", messages=[{"role": "assistant", "content": "x"}]),
        ):  # fmt: skip
            with pytest.raises(ValueError):
                await service.generate(bad)
        assert service.loaded()[0].local.outputs == 0 and service.loaded()[0].users == 0

    play(library, scenario)


def test_deadlines_end_requests(library: Library) -> None:
    from llmasos.errors import DeadlineExceeded

    async def scenario(service: ModelService) -> None:
        job = Job("llama", prompt="a", options={"max_tokens": 250, "ignore_eos": True}, deadline_seconds=1e-6)
        generation = await service.generate(job)
        with pytest.raises(DeadlineExceeded):
            await finish(generation)
        generation.close()

    play(library, scenario)
