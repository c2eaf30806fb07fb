"""The robustness catalogue: what happens to inputs in the world, at five severities, and inputs that are not
normal.

Kept free of imports: the names in :mod:`gradatim.perturb.catalogue` are read where no array is near.
"""
