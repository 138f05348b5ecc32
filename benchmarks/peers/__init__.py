"""Engines that are compared, each a program of its own: a JSON job on standard input, a JSON result on standard output.

The programs use the standard library, numpy and the engine they drive, so that each runs in the environment in which
its engine is installed. Start them as modules (``python -P -m peers.llama_cpp`` with this folder's parent on
``PYTHONPATH``): several have the name of the package that they drive.
"""
