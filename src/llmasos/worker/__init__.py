"""The worker: a process of its own that does the work of one run. ``python -m llmasos.worker RUN``"""
