"""Times the steps of trainers that are built on that of transformers."""

from __future__ import annotations

from typing import Any

import transformers

from trainers.protocol import Stopwatch


class Clock(transformers.TrainerCallback):
    """Notes when a step is done and its loss, and ends training when time is over."""

    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._watch.start()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in logs and self._watch.step(float(logs["loss"])):
            control.should_training_stop = True
