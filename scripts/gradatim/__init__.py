"""Release machine-learning models stage by stage, inside the CI you already have."""

import os

__version__ = "0.1.0"

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # since 1.31 ONNX Runtime reports on Linux, too
