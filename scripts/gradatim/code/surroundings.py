"""The environment of processes that run the user's code: what a program needs to run, and never a credential."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

NAMED = "GRADATIM_ENV"
"""Carries what the contract adds by name (`env:`) to the processes that gradatim starts."""

_ALLOWED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TEMP|TMP|TERM|COLUMNS|LINES|NO_COLOR|CI"
    r"|PYTHON\w+|VIRTUAL_ENV|CONDA_(?:PREFIX|DEFAULT_ENV)|LD_LIBRARY_PATH|LD_PRELOAD|DYLD_\w+|SOURCE_DATE_EPOCH|XDG_\w+"
    r"|(?:OMP|MKL|OPENBLAS|VECLIB|NUMEXPR|KMP|CUDA|CUBLAS|CUDNN|NVIDIA|NCCL|ROCR|HIP|TORCH|TORCHINDUCTOR|PYTORCH|TF|XLA|ORT)_\w+"
    r"|HF_HOME|HF_(?:HUB|DATASETS)_(?:CACHE|OFFLINE)|HF_DATASETS_CACHE|TRANSFORMERS_(?:CACHE|OFFLINE)|TOKENIZERS_PARALLELISM"
    r"|MPLBACKEND|MPLCONFIGDIR|SSL_CERT_(?:FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|(?i:(?:http|https|all|no)_proxy)"
    r"|COVERAGE_\w+|COV_CORE_\w+|HYPOTHESIS_\w+|GRADATIM_(?:MODEL|BASELINE|DEVICE|PROGRESS|PATIENCE|ENV)"
)
_CREDENTIAL = re.compile(
    r"(?i)TOKEN(?!IZERS)|SECRET|PASSW|PASSPHRASE|CREDENTIAL|PRIVATE|API_?KEY|ACCESS_?KEY|SIGNING|SSH_AUTH|NETRC|COOKIE"
    r"|^AWS_|^AZURE_|^GOOGLE_APPLICATION|^GH_|^GITHUB_|^ACTIONS_|^CI_JOB|^OCI_|_KEY$|_AUTH$|_PAT$"
)
_LOOKS_SECRET = re.compile(
    r"-----BEGIN |://[^/@\s]*:[^/@\s]*@|\b(?:gh[pousr]_|github_pat_|glpat-|hf_|AKIA|ASIA|xox[abp]-|eyJ[\w-]+\.eyJ)"
)


def is_credential(name: str) -> bool:
    """Whether a variable's name says that it holds a credential; no contract hands such a one to the user's code."""
    return _CREDENTIAL.search(name) is not None


def let_through(names: Iterable[str]) -> None:
    """Let every process with the user's code see these variables too, whoever starts it."""
    os.environ[NAMED] = " ".join(names)


def allowed(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """What processes with the user's code may know of an environment, by default of ours.

    That is an allow-list: how programs and libraries are found, language, time zone, threads and devices, caches, and what
    the contract names. A name or a value that looks like a credential is left out even then.
    """
    env = os.environ if environment is None else environment
    named = set(env.get(NAMED, "").split())
    return {
        name: value
        for name, value in env.items()
        if (name in named or _ALLOWED.fullmatch(name))
        and not (is_credential(name) or _LOOKS_SECRET.search(value))
    }
