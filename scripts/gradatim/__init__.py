"""Release machine-learning models stage by stage, inside the CI you already have."""

__version__ = "0.1.0"
