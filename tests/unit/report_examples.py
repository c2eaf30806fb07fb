"""Reports as real runs make them: a classifier refused, one passed, a regression, the least, the worst."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np

from gradatim.evidence.found import Check
from gradatim.evidence.manifest import FileEntry
from gradatim.evidence.trial import Sensitivity
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.metrics.diagnostics import CalibrationBin
from gradatim.report.model import (
    Calibration,
    Confusion,
    Curve,
    Estimate,
    Latency,
    ModelSummary,
    Provenance,
    Report,
    Severity,
    Slice,
    StepSummary,
    TimedModel,
    VariantRow,
)

CLASSES = (60, 62, 59, 61, 60, 61, 60, 60, 44, 70)
WRONG = (0, 2, 0, 1, 1, 1, 0, 1, 9, 2)
BEFORE = (1, 3, 1, 3, 2, 2, 1, 1, 4, 4)
SHA = "5f0c1be2a9d84c7f93e1d6b2a0f4c3d8e7b6a59483726150fedcba9876543210"


def wilson(right: int, n: int) -> tuple[float, float]:
    z, p = 1.96, right / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def recall_gate(digit: int, wrong: int) -> GateResult:
    n = CLASSES[digit]
    low, high = wilson(n - wrong, n)
    fails = wrong == 9
    gate = f"recall[class={digit}]"
    text = (
        "recall[class=8] 79.5 % (67.0 .. 88.9), wanted at least 90 %.\n"
        "9 of 44 images of class 8 were missed, 7 of them taken for 1.\n"
        "With 44 samples only 44 right would prove 90 %: 150 samples would forgive 8 misses."
        if fails
        else f"{gate} {1 - wrong / n:.1%}, wanted at least 85 %."
    )
    return GateResult(
        gate,
        "recall",
        Verdict.FAIL if fails else Verdict.PASS,
        "int8-mixed",
        "at least 90 %" if fails else "at least 85 %",
        text,
        (n - wrong) / n,
        low,
        high,
        0.9 if fails else 0.85,
        n=n,
        detectable=0.093,
        needed=150 if fails else None,
        line=19,
    )


def gates(*, failing: bool) -> tuple[GateResult, ...]:
    wrong = WRONG if failing else (0, 1, 0, 1, 1, 1, 0, 1, 0, 1)
    total = 597 - sum(wrong)
    difference = total / 597 - (597 - sum(BEFORE)) / 597
    return (
        GateResult(
            "accuracy",
            "accuracy",
            Verdict.PASS,
            "int8-mixed",
            "not worse than the baseline by more than 1 point",
            "accuracy is not worse than v1.0.0.",
            difference,
            difference - 0.0078,
            difference + 0.0092,
            -0.01,
            n=597,
            baseline=575 / 597,
            candidate=total / 597,
            detectable=0.0091,
            line=18,
        ),
        *(recall_gate(digit, missed) for digit, missed in enumerate(wrong)),
        GateResult(
            "negative_flips",
            "negative_flips",
            Verdict.PASS,
            "int8-mixed",
            "at most 1 %",
            "2 of 597 flipped.",
            2 / 597,
            0.0009,
            0.0098,
            0.01,
            n=597,
            detectable=0.0067,
            line=20,
        ),
        GateResult(
            "latency_p50",
            "latency_p50",
            Verdict.PASS,
            "int8-mixed",
            "not slower than the baseline by more than 3 %",
            "58.3 % faster.",
            -0.583,
            -0.591,
            -0.574,
            0.03,
            n=10,
            baseline=1.21e-3,
            candidate=5.05e-4,
            detectable=0.008,
            line=21,
        ),
        GateResult(
            "size",
            "size",
            Verdict.PASS,
            "int8-mixed",
            "at most 5 MB",
            "101 kB.",
            101_362.0,
            threshold=5e6,
            unit="B",
            line=22,
        ),
    )


def sensitivities() -> tuple[Sensitivity, ...]:
    """Of thirty layers, one with a name of many folders and one that is destroyed."""
    draw = np.random.default_rng(3)
    found = [Sensitivity("/embeddings/word/Gather", "Gather", {"rows8": 3e-5, "rows16": 0.0})]
    for layer in range(29):
        name = f"/model/encoder/layer.{layer}/attention/self/{'query' if layer % 2 else 'value'}/MatMul"
        losses = draw.lognormal((-7, -8, -11, -5), 1).clip(0, 0.5).tolist()
        found.append(
            Sensitivity(
                name, "MatMul", dict(zip(("static", "dynamic", "blocks8", "blocks4"), losses, strict=True))
            )
        )
    return (*found, Sensitivity("head", "Gemm", {"static": 1e9, "blocks8": 2e-4}))


def variants() -> tuple[VariantRow, ...]:
    return (
        VariantRow(
            "baseline",
            381_204,
            {"accuracy": 0.9632, "f1_macro": 0.9629},
            Estimate(1.0),
            1.21e-3,
            94_410,
            baseline=True,
        ),
        VariantRow(
            "fp32",
            381_412,
            {"accuracy": 0.9732, "f1_macro": 0.9728},
            Estimate(0.994, 0.985, 1.003),
            1.2e-3,
            94_410,
            accepted=True,
            reason="the candidate itself",
        ),
        VariantRow(
            "fp16",
            191_870,
            {"accuracy": 0.9732, "f1_macro": 0.9728},
            Estimate(1.182, 1.166, 1.199),
            1.43e-3,
            94_410,
            accepted=True,
            reason="smaller, but slower on this processor",
        ),
        VariantRow(
            "int8-dynamic",
            103_015,
            {"accuracy": 0.9715, "f1_macro": 0.9711},
            Estimate(0.688, 0.676, 0.701),
            8.3e-4,
            94_410,
            accepted=True,
        ),
        VariantRow(
            "int8-static",
            99_704,
            {"accuracy": 0.9514, "f1_macro": 0.9502},
            Estimate(0.402, 0.394, 0.411),
            4.87e-4,
            94_410,
            accepted=False,
            reason="keeps 97.8 % of the accuracy, wanted 99 %",
        ),
        VariantRow(
            "int8-mixed",
            101_362,
            {"accuracy": 0.9715, "f1_macro": 0.9706},
            Estimate(0.417, 0.409, 0.426),
            5.05e-4,
            94_410,
            accepted=True,
            reason="smallest within the budget",
            chosen=True,
        ),
        VariantRow(
            "int8-weights",
            104_220,
            {"accuracy": 0.9732, "f1_macro": 0.9728},
            Estimate(0.981, 0.97, 0.993),
            1.19e-3,
            94_410,
            accepted=True,
        ),
        VariantRow(
            "pruned-50",
            201_118,
            {"accuracy": 0.9598, "f1_macro": 0.9588},
            Estimate(0.962, 0.95, 0.975),
            1.16e-3,
            47_205,
            accepted=False,
            reason="keeps 98.6 % of the accuracy, wanted 99 %",
        ),
    )


def slices(wrong: tuple[int, ...]) -> tuple[Slice, ...]:
    found = []
    for digit, missed in enumerate(wrong):
        n = CLASSES[digit]
        low, high = wilson(n - missed, n)
        failed = missed == 9
        found.append(
            Slice(
                "recall",
                "class",
                str(digit),
                (n - missed) / n,
                low,
                high,
                n,
                baseline=(n - BEFORE[digit]) / n,
                threshold=0.9,
                verdict=Verdict.FAIL if failed else Verdict.PASS,
            )
        )
    for name, value, n in (("thin", 0.942, 171), ("regular", 0.981, 312), ("bold", 0.987, 114)):
        low, high = wilson(round(value * n), n)
        found.append(Slice("accuracy", "stroke", name, value, low, high, n, baseline=value - 0.008))
    return tuple(found)


def curve(name: str, fall: float, before: float) -> Curve:
    def value(severity: int, slope: float) -> float:
        return 0.9715 - slope * severity**1.7

    points = []
    for severity in range(6):
        now = value(severity, fall)
        points.append(
            Severity(severity, now, value(severity, before) - 0.008, now - 0.017, min(now + 0.014, 1.0))
        )
    return Curve(name, tuple(points))


def contestant(name: str, median: float, seed: int) -> TimedModel:
    chance = random.Random(seed)
    times = sorted(
        median * math.exp(abs(chance.gauss(0, 0.08)) - 0.054 + chance.expovariate(18) ** 2)
        for _ in range(1440)
    )
    shares = [index / 60 for index in range(61)]
    quantiles = {f"p{q}": times[int(q / 100 * 1439)] for q in (50, 90, 99)}
    return TimedModel(name, quantiles, tuple((times[int(share * 1432)], share) for share in shares), 1440)


def latency() -> Latency:
    chance = random.Random(4)
    return Latency(
        (contestant("int8-mixed", 5.05e-4, 1), contestant("baseline", 1.21e-3, 2)),
        tuple(math.log(0.417) + chance.gauss(0, 0.02) for _ in range(10)),
        Estimate(0.417, 0.409, 0.426),
        0.03,
        "faster",
        "AMD EPYC 7B13, 1 thread, batch 1",
    )


def confusion(wrong: tuple[int, ...]) -> Confusion:
    taken = {1: 8, 3: 5, 4: 9, 5: 9, 7: 9, 8: 1, 9: 3}

    def matrix(missed: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        rows = []
        for digit, n in enumerate(CLASSES):
            row = [0] * 10
            row[digit] = n - missed[digit]
            most = min(missed[digit], 7)
            row[taken.get(digit, (digit + 4) % 10)] += most
            row[(digit + 5) % 10] += missed[digit] - most
            rows.append(tuple(row))
        return tuple(rows)

    return Confusion(tuple(str(digit) for digit in range(10)), matrix(wrong), matrix(BEFORE))


def calibration() -> Calibration:
    bins = (
        (0.38, 0.4, 5),
        (0.52, 0.46, 11),
        (0.65, 0.62, 13),
        (0.75, 0.78, 18),
        (0.86, 0.83, 42),
        (0.98, 0.991, 508),
    )
    before = (
        (0.41, 0.3, 10),
        (0.55, 0.41, 17),
        (0.66, 0.5, 20),
        (0.77, 0.69, 29),
        (0.86, 0.8, 61),
        (0.97, 0.982, 460),
    )
    return Calibration(
        tuple(CalibrationBin(c - 0.02, c + 0.02, n, c, accuracy) for c, accuracy, n in bins),
        tuple(CalibrationBin(c - 0.02, c + 0.02, n, c, accuracy) for c, accuracy, n in before),
        0.0142,
    )


def checks() -> tuple[Check, ...]:
    return (
        *(Check("golden", f"golden[{i}]", Verdict.PASS, "within 1e-4") for i in range(32)),
        *(Check("determinism", f"repeat {i}", Verdict.PASS) for i in range(3)),
        *(Check("batch invariance", f"batch {n}", Verdict.PASS) for n in (1, 7, 32, 64)),
        *(
            Check("abnormal inputs", name, Verdict.PASS)
            for name in ("empty batch", "NaN", "infinity", "huge")
        ),
        *(
            Check("pytest", f"tests/model/test_digits.py::test_{i}", Verdict.PASS, seconds=0.012)
            for i in range(9)
        ),
    )


def refused() -> Report:
    """The digits classifier of the demo, worse on one digit."""
    return Report(
        "digits",
        Verdict.FAIL,
        version="1.1.0-alpha.3",
        stage="alpha",
        baseline="v1.0.0",
        commit="9f2c41d",
        chosen="int8-mixed",
        outcome="nothing was tagged",
        task="classification",
        samples=597,
        gates=gates(failing=True),
        steps=(
            StepSummary("build", "unchanged", 0.01, None, "skipped"),
            StepSummary("inspect", "done", 0.2, Verdict.PASS, "onnx opset 17, 94 k parameters, no pickle"),
            StepSummary("compress", "done", 41.0, Verdict.PASS, "38 trials, best int8-mixed"),
            StepSummary("test", "done", 6.1, Verdict.PASS, "52 checks, 3 corruptions x 5 severities"),
            StepSummary("evaluate", "done", 0.9, Verdict.PASS, "597 samples"),
            StepSummary(
                "benchmark", "done", 14.0, Verdict.PASS, "paired, 10 rounds, -58.3 % (-59.1 .. -57.4)"
            ),
            StepSummary("gate", "done", 0.1, Verdict.FAIL, "13 PASS, 1 FAIL"),
        ),
        variants=variants(),
        sensitivities=sensitivities(),
        measurements=(
            Measurement("accuracy", "int8-mixed", 0.9715, n=597, low=0.9549, high=0.9822, successes=580),
            Measurement("accuracy", "baseline", 0.9632, n=597, low=0.9448, high=0.9757, successes=575),
            Measurement("log_loss", "int8-mixed", 0.1042, n=597, low=0.081, high=0.131),
            Measurement("latency_p99", "int8-mixed", 7.94e-4, unit="s", n=1440),
            Measurement("energy", "int8-mixed", None, unit="J", reason="no_library"),
        ),
        slices=slices(WRONG),
        robustness=(
            curve("gaussian_noise", 0.0062, 0.0104),
            curve("shot_noise", 0.0118, 0.0131),
            curve("contrast", 0.021, 0.017),
        ),
        latency=latency(),
        confusion=confusion(WRONG),
        calibration=calibration(),
        checks=checks(),
        inspection=ModelSummary(
            "onnx",
            "17",
            ("image: float32[batch, 1, 8, 8]",),
            ("logits: float32[batch, 10]",),
            94_410,
            {"QLinearConv": 2, "QuantizeLinear": 3, "DequantizeLinear": 3, "Relu": 2, "MatMul": 1, "Add": 1},
            (FileEntry("model/digits.onnx", 101_362, SHA),),
        ),
        lineage=Provenance(
            commit="9f2c41d07b3f4f0b8a2d6c1e5f7a9b3c4d5e6f70",
            branch="develop",
            previous="v1.0.0",
            manifest=f"sha256:{SHA}",
            contract=SHA[::-1],
            seed=20,
            data={"data/test.npz": SHA[5:] + SHA[:5], "data/calibration.npz": SHA[9:] + SHA[:9]},
            environment={
                "python": "3.11.9",
                "onnxruntime": "1.23.2",
                "machine": "AMD EPYC 7B13, 2 cores, Linux 6.8",
            },
            evidence={
                "evaluate": SHA[3:] + SHA[:3],
                "benchmark": SHA[4:] + SHA[:4],
                "gate": SHA[7:] + SHA[:7],
            },
        ),
        hints=("stroke=thin: 94.2 % of 171 samples, 3.0 points below the whole.",),
        budget="This test set has judged 3 of the 8 candidates it may judge at this confidence.",
    )


def passed() -> Report:
    """The better candidate of the demo."""
    wrong = (0, 1, 0, 1, 1, 1, 0, 1, 0, 1)
    report = refused()
    steps = (
        *report.steps[:-1],
        StepSummary("gate", "done", 0.1, Verdict.PASS, "14 PASS"),
        StepSummary("tag", "done", 0.4, Verdict.PASS, "v1.1.0"),
    )
    good = tuple(replace(item, threshold=0.85) if item.threshold else item for item in slices(wrong))
    return replace(
        report,
        verdict=Verdict.PASS,
        version="1.1.0",
        stage="production",
        outcome="tagged v1.1.0 and published to releases/",
        gates=gates(failing=False),
        slices=good,
        confusion=confusion(wrong),
        steps=steps,
        hints=(),
    )


def regression() -> Report:
    """House prices: no labels to confuse, errors in plain units, one gate that the data cannot decide."""
    return Report(
        "house-prices",
        Verdict.INCONCLUSIVE,
        version="2.0.0-beta.1",
        stage="beta",
        baseline="v1.3.2",
        task="regression",
        samples=4128,
        chosen="fp32",
        gates=(
            GateResult(
                "rmse",
                "rmse",
                Verdict.INCONCLUSIVE,
                "fp32",
                "not worse than the baseline by more than 0.01",
                "rmse is 0.004 higher than the baseline's (-0.006 .. 0.014): 4128 samples cannot tell "
                "whether it is within 0.01; about 9000 would.",
                0.004,
                -0.006,
                0.014,
                0.01,
                n=4128,
                baseline=0.456,
                candidate=0.46,
                detectable=0.015,
                needed=9000,
                line=12,
            ),
            GateResult(
                "r2",
                "r2",
                Verdict.PASS,
                "fp32",
                "at least 80 %",
                "r2 84.2 %",
                0.842,
                0.829,
                0.855,
                0.8,
                n=4128,
                line=13,
            ),
            GateResult(
                "latency_p50",
                "latency_p50",
                Verdict.INCONCLUSIVE,
                "fp32",
                "at most 2 ms",
                "no clock",
                unit="s",
                threshold=0.002,
                blocking=False,
                line=14,
            ),
        ),
        variants=(VariantRow("fp32", 1_204_331, {"rmse": 0.46, "r2": 0.842}, p50=1.31e-4, chosen=True),),
        slices=tuple(
            Slice("rmse", "region", name, value, value - 0.03, value + 0.03, 1032, higher_is_better=False)
            for name, value in (("north", 0.51), ("south", 0.44), ("coast", 0.39), ("inland", 0.47))
        ),
        warnings=("The benchmark was left out: no baseline bytes on this machine.",),
    )


def least() -> Report:
    """Nothing but what must be there."""
    return Report("tiny", Verdict.PASS)


HOSTILE = (
    "<script>alert('x')</script>|`rm -rf`\n# owned [a](http://evil.example) @everyone \x00\x1b[31m \u202e ]]>"
)


def hostile() -> Report:
    """Names that try to break out, and lists without end."""
    labels = tuple(f"{HOSTILE} {i}" for i in range(200))
    matrix = tuple(tuple((i * j) % 7 if i != j else 50 for j in range(200)) for i in range(200))
    many = tuple(
        Slice(
            HOSTILE,
            "col|umn<b>",
            f"{HOSTILE} {i}",
            i / 1000,
            i / 1000,
            min(i / 1000 + 0.1, 1.0),
            i,
            baseline=0.5,
            threshold=0.4,
            verdict=Verdict.FAIL if i < 400 else Verdict.PASS,
        )
        for i in range(1000)
    )
    wild = tuple(
        GateResult(
            f"{HOSTILE}[{i}]",
            "recall",
            Verdict.FAIL,
            HOSTILE,
            HOSTILE,
            HOSTILE * 50,
            i / 1500,
            0.0,
            1.0,
            0.9,
            n=i,
            line=i,
        )
        for i in range(1000)
    )
    return Report(
        HOSTILE,
        Verdict.INVALID,
        version=HOSTILE,
        stage=HOSTILE,
        baseline=HOSTILE,
        commit=HOSTILE,
        chosen=HOSTILE,
        outcome=HOSTILE,
        task=HOSTILE,
        contract=HOSTILE,
        gates=wild,
        steps=(StepSummary(HOSTILE, HOSTILE, 1.0, Verdict.INVALID, HOSTILE),),
        variants=tuple(
            VariantRow(
                f"{HOSTILE}{i}",
                1000 + i,
                {HOSTILE: 0.5},
                Estimate(1.0 + i / 1000),
                reason=HOSTILE,
                accepted=bool(i % 2),
            )
            for i in range(300)
        ),
        slices=many,
        robustness=tuple(Curve(f"{HOSTILE}{i}", (Severity(0, 0.9), Severity(5, 0.1))) for i in range(60)),
        latency=Latency(
            (TimedModel(HOSTILE, {HOSTILE: 1.0}, ((0.001, 0.0), (0.002, 1.0)), 3),),
            (0.1,) * 500,
            decision=HOSTILE,
        ),
        confusion=Confusion(labels, matrix),
        checks=tuple(Check(HOSTILE, HOSTILE, Verdict.FAIL, HOSTILE) for _ in range(500)),
        inspection=ModelSummary(
            HOSTILE, HOSTILE, (HOSTILE,) * 50, (HOSTILE,), 1, {HOSTILE: 1}, (FileEntry(HOSTILE, 1, SHA),) * 99
        ),
        lineage=Provenance(HOSTILE, HOSTILE, data={f"{HOSTILE}{i}": HOSTILE for i in range(500)}),
        hints=(HOSTILE,) * 100,
        budget=HOSTILE,
        warnings=(HOSTILE,) * 100,
    )


ALL = {"refused": refused, "passed": passed, "regression": regression, "least": least, "hostile": hostile}
