"""test: does it behave: golden outputs, determinism, batches, abnormal inputs, corruptions, your own tests?"""

from __future__ import annotations

from collections.abc import Mapping

from gradatim.candidate.candidate import Outcome, Release
from gradatim.candidate.sharding import forget, parts
from gradatim.files import digest_of, sha256_file
from gradatim.shard import Shard


def depends_on(release: Release) -> Mapping[str, str]:
    from gradatim.checks.user_tests import digest_of_tests

    baseline = release.baseline()
    settings = release.contract.parts.test
    earlier = {f"golden:{path.stem}": sha256_file(path) for path in release.earlier_golden()}
    golden = release.golden_file()
    own = {"golden": sha256_file(golden)} if golden else {}
    return {
        **{f"variant:{variant.name}": variant.manifest.digest for variant in release.variants()},
        **earlier,
        **own,
        "baseline": baseline.digest if baseline else digest_of(None),
        "evaluation": release.data_digest("evaluation"),
        "calibration": release.data_digest("calibration") if settings.robustness else digest_of(None),
        "contract": release.part_digest("model", "data", "task", "test"),
        "code": release.code_digest(
            ("evaluation", "calibration") if settings.robustness else ("evaluation",)
        ),
        "tests": digest_of_tests(release.root, release.top, settings.pytest),
    }


def run(release: Release) -> Outcome:
    """Check every variant and hold it against the baseline; the user's own tests run on the preferred one.

    Where shards left answers to corrupted rows in the workspace, those are merged.
    """
    from gradatim.checks.suite import check_release

    outcome = check_release(release, parts(release, "test", depends_on(release)))
    forget(release, "test")
    return outcome


def run_shard(release: Release, shard: Shard) -> Outcome:
    """Corrupt one part of the rows for every variant and the baseline, for a later run to merge."""
    from gradatim.checks.stress import robustness_shard

    return robustness_shard(release, shard)
