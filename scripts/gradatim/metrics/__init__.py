"""Metrics: per task, from predictions on disk to measurements with intervals and samples that can be paired.

Import from the modules: ``catalogue`` (names only, light), ``task``, ``predictions``, ``outputs``,
``evaluation``, ``measure``.
"""
