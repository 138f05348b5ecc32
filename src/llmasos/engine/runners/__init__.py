"""Runners: ways to compute a batch, behind :class:`~llmasos.engine.runner.ModelRunner`."""
