"""Our engine beside llama.cpp, OpenVINO GenAI and transformers, on the same prompts.

    python benchmarks/setup_peers.py                                   # once: builds and installs the peers
    python benchmarks/engine.py --model smollm2:135m-instruct          # everything, several repetitions
    python benchmarks/engine.py --model ./folder --gguf model.gguf --quick --scenario unrelated-16

Every engine runs in a process of its own, one after the other: for each scenario and repetition all of them, so that a
machine whose speed drifts treats them alike. Each is tried with the settings that may suit it; from the second
repetition on, only with its best. What is compared is the median. Results go to ``benchmarks/results``: raw values and
settings as JSON, and a picture.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
from pathlib import Path
from typing import Any

from comparison import chart
from comparison.adapters import make_adapters
from comparison.contestants import ENGINES, Contestant, Engine, EngineError, Workplace, contestants, run_once
from comparison.figures import Row, Sample, ratios, reference_of
from comparison.model_files import ModelFiles, prepare
from comparison.prompts import PromptSource, copied_share
from comparison.scenarios import SCENARIOS, SCHEMA, Scenario, shortened
from comparison.table import scenario_table

from llmasos import hardware

HERE = Path(__file__).parent
BUILD = HERE.parent / "build"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2:135m-instruct", help="name in the library, or a model's folder")
    parser.add_argument("--gguf", type=Path, help="GGUF file of the same model; default: what it was imported from")
    parser.add_argument("--text", type=Path, help="file that prompts are cut from; default: invented sentences")
    parser.add_argument("--peers", type=Path, default=BUILD / "peers", help="environment of setup_peers.py")
    parser.add_argument("--cache", type=Path, default=BUILD / "benchmarks", help="for quantised files and adapters")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--engines", help="of: " + ", ".join(engine.name for engine in ENGINES))
    parser.add_argument("--scenario", help="of: " + ", ".join(scenario.name for scenario in SCENARIOS))
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of everything (default: 3)")
    parser.add_argument("--quick", action="store_true", help="short outputs, one repetition, one setting each")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one process (default: 1800)")
    options = parser.parse_args()
    options.engines = chosen(parser, "--engines", options.engines, {engine.name: engine for engine in ENGINES})
    options.scenario = chosen(parser, "--scenario", options.scenario, {item.name: item for item in SCENARIOS})
    if options.repeat < 1:
        parser.error("--repeat: at least 1")
    return options


def chosen(parser: argparse.ArgumentParser, option: str, text: str | None, known: dict[str, Any]) -> list[Any]:
    """The named things of a list with commas; all without one."""
    if text is None:
        return list(known.values())
    unknown = [name for name in text.split(",") if name not in known]
    if unknown:
        parser.error(f"{option}: {', '.join(unknown)} is not known; allowed: {', '.join(known)}")
    return [known[name] for name in text.split(",")]


def check_outputs(
    scenario: Scenario, report: dict[str, Any], prompts: list[list[list[int]]], source: PromptSource
) -> list[list[list[int]]]:
    """Replace the outputs of each run by what they show, and return them."""
    all_outputs = []
    for run, run_prompts in zip(report["runs"], prompts, strict=True):
        outputs: list[list[int]] = run.pop("outputs")
        all_outputs.append(outputs)
        if scenario.kind == "json":
            valid = sum(is_valid(source.text(ids)) for ids in outputs)
            run["valid_json"], run["documents_per_second"] = valid / len(outputs), valid / run["seconds"]
        if scenario.kind == "copy":
            shares = [copied_share(prompt, ids) for prompt, ids in zip(run_prompts, outputs, strict=True)]
            run["copied"] = sum(shares) / len(shares)
    return all_outputs


def is_valid(text: str) -> bool:
    import jsonschema

    try:
        jsonschema.validate(json.loads(text), SCHEMA)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


def compare(
    place: Workplace, scenario: Scenario, engines: list[Engine], source: PromptSource, *, repeat: int, quick: bool
) -> tuple[list[Row], dict[str, Any]]:
    """All engines in one scenario, and the versions and settings that they reported."""
    rows = [Row(contestant, scenario) for engine in engines for contestant in contestants(engine, scenario)]
    engines_seen: dict[str, Any] = {}
    runs = 1 if quick or scenario.streams > 4 else 3
    for repetition in range(repeat):
        prompts = [source.prompts(scenario) for _ in range(runs)]
        for row in rows:
            if row.error is not None:
                continue
            contestant: Contestant = row.contestant
            settings = contestant.settings[:1] if quick else contestant.settings
            for setting in row.worth_repeating() if repetition else settings:
                try:
                    report = run_once(place, contestant.engine, setting, scenario, prompts)
                except EngineError as failure:
                    row.error = str(failure)
                    print(f"    {contestant.label} {setting}: {failure}", flush=True)
                    break
                outputs = check_outputs(scenario, report, prompts, source)
                engines_seen[contestant.engine.name] = {
                    "version": f"{report['engine']} {report['version']}", "settings": report["settings"],
                }  # fmt: skip
                row.samples.append(Sample(repetition, setting, report, outputs))
                rates = ", ".join(f"{value:.0f}" for value in row.samples[-1].rates(scenario))
                print(
                    f"    {scenario.name} {repetition + 1}/{repeat}  {contestant.label} {setting}: {rates}", flush=True
                )
    return rows, engines_seen


def machine() -> dict[str, Any]:
    cpu = hardware.processor()
    return {
        "processor": cpu.model,
        "cores": cpu.usable,
        "instruction_sets": cpu.instruction_sets,
        "memory_bytes": hardware.memory().total,
        "memory_bandwidth_bytes_per_second": hardware.memory_bandwidth(refresh=True),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def main() -> None:
    options = arguments()
    threads = hardware.choose_threads()
    peers_python = str((options.peers / "bin" / "python").absolute())
    if any(engine.form != "folder" for engine in options.engines) and not Path(peers_python).exists():
        raise SystemExit(f"{peers_python} is not there: run benchmarks/setup_peers.py, or name its folder with --peers")
    forms = {engine.form for engine in options.engines}
    files: ModelFiles = prepare(
        options.model, options.gguf, forms, cache=options.cache.absolute(), peers_python=peers_python, threads=threads
    )
    source = PromptSource(files.folder / "tokenizer.json", options.text)
    scenarios = [shortened(item) if options.quick else item for item in options.scenario]
    adapters = []
    if any(item.kind == "adapters" for item in scenarios):
        most = max(item.streams for item in scenarios if item.kind == "adapters")
        adapters = make_adapters(files.config, options.cache.absolute() / "adapters" / files.name, most)
    # The virtual environment's own python, not what it links to: that one does not see the packages.
    own_python = str(Path(sys.executable).absolute())
    place = Workplace(
        own_python=own_python,
        peers_python=peers_python,
        forms=files.forms,
        adapters=adapters,
        threads=threads,
        values_per_token=files.values_per_token,
        read_share=files.read_share,
        warm_up=source.take(16),
        timeout=options.timeout,
    )
    facts = machine()
    result: dict[str, Any] = {
        "model": files.name, "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "quick": options.quick,
        "repetitions": 1 if options.quick else options.repeat, "threads": threads,
        "text": options.text.name if options.text else "invented", "machine": facts, "engines": {},
    }  # fmt: skip
    done: list[tuple[Scenario, list[Row]]] = []
    name = f"engine-{files.name}" + ("-quick" if options.quick else "")
    options.results.mkdir(parents=True, exist_ok=True)
    for scenario in scenarios:
        rows, seen = compare(
            place, scenario, options.engines, source, repeat=result["repetitions"], quick=options.quick
        )
        done.append((scenario, rows))
        result["engines"] |= seen
        bandwidth = facts["memory_bandwidth_bytes_per_second"] = hardware.memory_bandwidth(refresh=True)
        print(scenario_table(scenario, rows, bandwidth), flush=True)
        # Written after each scenario: a long comparison that is interrupted keeps what it has.
        result["scenarios"] = [
            {
                **vars(item),
                "rows": [row.as_dict(bandwidth, reference_of(found)) for row in found],
                "ratios": ratios(found),
            }
            for item, found in done
        ]
        (options.results / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        subtitle = f"{facts['processor']}, {threads} threads; medians of {result['repetitions']} repetitions"
        (options.results / f"{name}.svg").write_text(
            chart.draw(f"Inference engines with {files.name}", subtitle, done), encoding="utf-8"
        )
    print(f"\n{options.results / name}.json and .svg are written")


if __name__ == "__main__":
    main()
