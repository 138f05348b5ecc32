"""Checkpoints that ``torch.save`` has written (``pytorch_model.bin``, ``*.pt``), read without running them."""

from llmasos.library.formats.torch_checkpoint.convert import Conversion, convert_checkpoint

__all__ = ["Conversion", "convert_checkpoint"]
