"""test: does it behave: golden outputs, determinism, batches, abnormal inputs, corruptions, your own tests?"""

from __future__ import annotations

from collections.abc import Mapping

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.outcome import Outcome
from gradatim.candidate.sharding import forget, parts
from gradatim.files import digest_of, sha256_file
from gradatim.shard import Shard


def depends_on(candidate: Candidate) -> Mapping[str, str]:
    from gradatim.checks.user_tests import digest_of_tests

    baseline = candidate.replaced.release
    settings = candidate.contract.parts.test
    earlier = {f"golden:{g.path.stem}": sha256_file(g.path) for g in candidate.replaced.golden}
    golden = candidate.rows.golden_file
    own = {"golden": sha256_file(golden)} if golden else {}
    with candidate.contract.blamed("test", "pytest"):
        tests = digest_of_tests(candidate.root, candidate.top, settings.pytest)
    return {
        **{f"variant:{variant.name}": variant.manifest.digest for variant in candidate.forms.all},
        **earlier,
        **own,
        "baseline": baseline.digest if baseline else digest_of(None),
        "evaluation": candidate.digests.data("evaluation"),
        "calibration": candidate.digests.data("calibration") if settings.robustness else digest_of(None),
        "contract": candidate.digests.part("model", "data", "task", "test"),
        "code": candidate.digests.code(
            ("evaluation", "calibration") if settings.robustness else ("evaluation",)
        ),
        "tests": tests,
    }


def run(candidate: Candidate) -> Outcome:
    """Check every variant and hold it against the baseline; the user's own tests run on the preferred one.

    Where shards left answers to corrupted rows in the workspace, those are merged.
    """
    from gradatim.checks.suite import check_release

    outcome = check_release(candidate, parts(candidate, "test", depends_on(candidate)))
    forget(candidate, "test")
    return outcome


def answers(candidate: Candidate) -> int:
    """How many answers to a row it asks models for, in all."""
    from gradatim.checks.robustness import work

    return work(candidate, len(candidate.forms.all) + (candidate.replaced.path is not None))


def run_shard(candidate: Candidate, shard: Shard) -> Outcome:
    """Corrupt one part of the rows for every variant and the baseline, for a later run to merge."""
    from gradatim.checks.robustness import robustness_shard

    return robustness_shard(candidate, shard)
