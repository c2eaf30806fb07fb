"""The contract, ``gradatim.yml``: read, checked, and typed."""

from gradatim.contract.reading import ReadContract, find_contract, json_schema, read_contract

__all__ = ["ReadContract", "find_contract", "json_schema", "read_contract"]
