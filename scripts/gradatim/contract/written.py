"""What the contract writes, read without checking the rest of it, which takes longer."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from gradatim.contract.source import ContractText, parse


def written_model_path(contract: Path) -> PurePosixPath | None:
    """The model's path as the contract writes it, relative to the contract's folder; None without one.

    Raises:
        ContractError: the contract cannot be used at all.
        InvalidInput: it cannot be read.
    """
    try:
        source = parse(contract.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        source = None
    if (
        isinstance(source, ContractText)
        and isinstance(source.data, dict)
        and isinstance(source.data.get("model"), dict)
    ):
        written = source.data["model"].get("path")
        if written is None:
            return None
        if (
            isinstance(written, str)
            and written
            and not written.startswith("/")
            and ".." not in Path(written).parts
        ):
            return PurePosixPath(written)
    from gradatim.contract.reading import read_contract  # says what is wrong with it

    checked = read_contract(contract).parts.model.path
    return PurePosixPath(checked) if checked else None
