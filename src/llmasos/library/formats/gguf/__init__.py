"""GGUF, the file format of llama.cpp: reading headers, and importing models into safetensors."""

from llmasos.library.formats.gguf.convert import GGUFInfo, convert_gguf, describe_header, read_parts
from llmasos.library.formats.gguf.header import Header, is_gguf, read_header

__all__ = ["GGUFInfo", "Header", "convert_gguf", "describe_header", "is_gguf", "read_header", "read_parts"]
