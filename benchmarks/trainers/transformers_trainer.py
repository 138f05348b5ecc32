"""transformers' Trainer on a classifier, with samples that are tokens already.

Settings: ``config``, arguments of TrainingArguments beside those that make the work the same for all.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
import transformers
from datasets import Dataset

from trainers.clock import Clock
from trainers.protocol import Job, Report, Stopwatch, main


def run(job: Job) -> Report:
    torch.set_num_threads(job.threads)
    torch.manual_seed(0)
    rows = [sample for step in job.samples for sample in step]
    data = Dataset.from_dict({"input_ids": [row["ids"] for row in rows], "labels": [row["label"] for row in rows]})
    with tempfile.TemporaryDirectory() as folder:
        same: dict[str, Any] = {
            "output_dir": folder, "use_cpu": True, "max_steps": len(job.samples), "learning_rate": job.learning_rate,
            "lr_scheduler_type": "constant", "per_device_train_batch_size": len(job.samples[0]), "logging_steps": 1,
            "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "weight_decay": 0.0,
            "train_sampling_strategy": "sequential", "dataloader_pin_memory": False,
        }  # fmt: skip
        watch = Stopwatch(job)
        tokenizer = transformers.AutoTokenizer.from_pretrained(job.model)
        trainer = transformers.Trainer(
            model=transformers.AutoModelForSequenceClassification.from_pretrained(job.model, dtype=torch.float32),
            args=transformers.TrainingArguments(**{**same, **job.setting.get("config", {})}),
            train_dataset=data,
            processing_class=tokenizer,
            data_collator=transformers.DataCollatorWithPadding(tokenizer),
            callbacks=[Clock(watch)],
        )
        trainer.train()
    return watch.report


if __name__ == "__main__":
    main(run)
