"""TRL's SFTTrainer on samples that are tokens already.

Settings: ``config``, arguments of SFTConfig beside those that make the work the same for all; else its defaults hold.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
import transformers
from datasets import Dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from trainers.clock import Clock
from trainers.protocol import Job, Report, Stopwatch, main


def run(job: Job) -> Report:
    torch.set_num_threads(job.threads)
    torch.manual_seed(0)
    rows = [sample for step in job.samples for sample in step]
    data = Dataset.from_dict({
        "input_ids": [row["ids"] for row in rows],
        "labels": [[i if t else -100 for i, t in zip(row["ids"], row["trained"], strict=True)] for row in rows],
    })  # fmt: skip
    batch = len(job.samples[0])
    with tempfile.TemporaryDirectory() as folder:
        same: dict[str, Any] = {
            "output_dir": folder, "use_cpu": True, "max_steps": len(job.samples), "learning_rate": job.learning_rate,
            "lr_scheduler_type": "constant", "per_device_train_batch_size": batch, "logging_steps": 1,
            "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "weight_decay": 0.0,
            "train_sampling_strategy": "sequential", "dataloader_pin_memory": False,
        }  # fmt: skip
        given = {**same, **job.setting.get("config", {})}
        given["gradient_accumulation_steps"] = batch // given["per_device_train_batch_size"]
        watch = Stopwatch(job)
        trainer = SFTTrainer(
            model=transformers.AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32),
            args=SFTConfig(**given),
            train_dataset=data,
            processing_class=transformers.AutoTokenizer.from_pretrained(job.model),
            callbacks=[Clock(watch)],
            peft_config=None if job.full else LoraConfig(
                r=job.rank, lora_alpha=2 * job.rank, lora_dropout=0.0, target_modules="all-linear",
                task_type="CAUSAL_LM",
            ),
        )  # fmt: skip
        trainer.train()
    return watch.report


if __name__ == "__main__":
    main(run)
