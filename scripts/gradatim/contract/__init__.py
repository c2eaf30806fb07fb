"""The contract, ``gradatim.yml``: read, checked, and typed."""
