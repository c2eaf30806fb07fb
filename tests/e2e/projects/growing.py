"""A project whose label list, heads and inputs change from release to release: a linear model on 900 rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from projects.graphs import node, write_graph
from projects.repository import Project, Run
from projects.small import Copy

ANIMALS = ("ape", "bee", "cat", "dog", "eel")
CONTRACT = """\
model: {{name: animals, path: model.onnx{model}}}
data: {{evaluation: data/test.npz, slices: site{data}}}
task: {{type: classification, labels: [{labels}]{task}}}
test: {{robustness: [feature_noise], items: 300, examples: 8, regression: {regression}, abnormal: skip}}
gates:
  accuracy: {{not_worse_than: baseline, by: 5%}}
  recall: {{not_worse_than: baseline, by: 20%, slices: every class}}
  negative_flips: {{at_most: 5%}}
  robustness: {{not_worse_than: baseline, by: 20%}}
benchmark: {{rounds: 3}}
stages:
  production: {{branch: main}}
publish:
  - folder: releases
"""


def table() -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.int64]]:
    """Weights [8, 5], rows [n, 8], and which of five animals each row is."""
    draw = np.random.default_rng(2)
    weights, rows = draw.normal(size=(8, 5)) * 3, draw.normal(size=(900, 8)).astype(np.float32)
    return weights, rows, (rows @ weights).argmax(axis=1)


class Growing(Copy):
    """A copy of the project at its first release, ``v1.0.0``: apes and bees."""

    def candidate(
        self,
        animals: Sequence[str],
        *,
        names: Mapping[str, str] | None = None,
        nodes: Sequence[Any] | None = None,
        inputs: Sequence[Any] = (),
        outputs: Sequence[Any] | None = None,
        columns: Mapping[str, NDArray[Any]] | None = None,
        **contract: str,
    ) -> None:
        """Commit the next candidate."""
        lay_down(self, animals, names or {}, nodes, inputs, outputs, columns or {}, contract)

    def judged(self) -> Run:
        """Everything up to the gate."""
        return self.call("run", "--json", "--until", "gate")

    def coming(self) -> tuple[str, list[str]]:
        """The version that the candidate would get, and why."""
        said = self.call("tag", "--dry-run", "--json")
        assert said.code == 0, said.said
        return said.record["version"], said.record["because"].split("; ")

    def told(self, step: str) -> str:
        """The line of a step."""
        return str(self.evidence(step)["predicate"]["details"]["summary"])

    def gate(self, name: str) -> dict[str, Any]:
        """What a gate said."""
        found = {gate["gate"]: gate for gate in self.evidence("gate")["predicate"]["gates"]}
        assert name in found, list(found)
        return dict(found[name])


def lay_down(
    project: Project,
    animals: Sequence[str],
    names: Mapping[str, str],
    nodes: Sequence[Any] | None,
    inputs: Sequence[Any],
    outputs: Sequence[Any] | None,
    columns: Mapping[str, NDArray[Any]],
    contract: Mapping[str, str],
) -> None:
    """Write a model that scores ``animals`` in this order, the rows of those animals, and the contract; commit all."""
    weights, rows, truth = table()
    places = [ANIMALS.index(animal) for animal in animals]
    kept = np.isin(truth, places)
    labels = [names.get(animal, animal) for animal in ANIMALS]
    np.savez(
        project.path("data/test.npz"),
        **{
            "x": rows[kept],
            "label": np.array(labels)[truth[kept]],
            "site": np.array(["north", "south"])[np.arange(kept.sum()) % 2],
            **{name: values[kept] for name, values in columns.items()},
        },
    )
    write_graph(
        project.path("model.onnx"),
        [("x", "float32", ["batch", 8]), *inputs],
        outputs or [("scores", "float32", ["batch", len(places)])],
        nodes or [node("MatMul", ["x", "w"], ["scores"])],
        {
            "w": weights[:, places] * (1.001 if names or contract else 1)
        },  # bytes of its own, or it would be the release itself
    )
    told = {"model": "", "data": "", "task": "", "regression": "strict", **contract}
    text = CONTRACT.format(labels=", ".join(labels[place] for place in places), **told)
    project.write("gradatim.yml", text)
    project.commit(f"Knows {', '.join(animals)}")


def release_two_animals(folder: Path) -> None:
    """Lay the project down and release it."""
    project = Project(folder)
    lay_down(project, ANIMALS[:2], {}, None, (), None, {}, {})
    run = project.run()
    assert run.code == 0, run.said
