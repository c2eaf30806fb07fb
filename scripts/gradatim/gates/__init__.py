"""Gates: from measurements and paired samples to verdicts, with the statistics that make them honest.

Import from the modules: ``rule`` and ``verdict`` (light), ``judge``, ``case``, ``planning``, ``budget``,
``reuse``.
"""
