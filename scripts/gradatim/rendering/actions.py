"""What the composite actions take and give: the one source of their inputs, outputs and documentation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gradatim.contract.stores import STORES
from gradatim.pipeline.graph import GRAPH, STEPS, Step

CONTRACT = "gradatim.yml"
PLANNED = "fromJSON(inputs.plan || '{}')"
"""What the action `plan` said, as the expressions of an action read it."""


@dataclass(frozen=True)
class Input:
    """An input of an action.

    Attributes:
        name: kebab-case, as a workflow spells it.
        description: what it does, in a line.
        default: its value when left out; None where it must be given.
        argument: how the shell puts it on the command line, with ``$VARIABLE`` for the value; empty when an earlier
            step of the action consumes it.
        carried_as: the environment variable that programs expect it in, where it never stands on the command line.
        planned_as: the key of a plan that says it for all jobs of a workflow.
        read_as: the expression for it, where that is not the input itself.
    """

    name: str
    description: str
    default: str | None = ""
    argument: str = ""
    carried_as: str = ""
    planned_as: str = ""
    read_as: str = ""

    @property
    def variable(self) -> str:
        """The environment variable that carries it into the step."""
        return self.carried_as or self.name.upper().replace("-", "_")

    def value(self, given: Collection[str]) -> str:
        """The expression for it in an action that takes so many inputs, by name."""
        own = self.read_as or f"inputs.{self.name}"
        return f"{PLANNED}.{self.planned_as} || {own}" if self.planned_as and "plan" in given else own

    @property
    def carried(self) -> bool:
        """Whether the step itself sees it."""
        return bool(self.argument or self.carried_as)


@dataclass(frozen=True)
class Output:
    """An output of an action."""

    name: str
    description: str

    def value(self, step: str) -> str:
        """The expression for it, out of what a step of the action said."""
        said = f"steps.{'leave' if self.name == 'workspace' else step}.outputs"
        if self.name == "report":
            return f"{said}.report && format('gradatim-{{0}}+{step}', {PLANNED}.name || 'model') || ''"
        return f"toJSON({said})" if self.name == "held" else f"{said}.{self.name}"


_CONTRACT = Input(
    "contract", "Path of the contract.", CONTRACT, '--contract "$CONTRACT"', planned_as="contract"
)
_STAGE = Input(
    "stage",
    "The stage. Left out: the one whose branch is checked out.",
    argument='${STAGE:+--stage "$STAGE"}',
    planned_as="stage",
)
_VERSION = Input(
    "version",
    "The version to give; only ever above what the models ask for.",
    argument='${VERSION:+--version "$VERSION"}',
)
_SHARD = Input(
    "shard",
    "One part of the rows, as in `2-of-4`. Left out: all of them, or what such parts left, merged.",
    argument='${SHARD:+--shard "$SHARD"}',
)
_EXTRAS = Input(
    "extras", "Extras of the kit to install, as in `onnx,test`.", "onnx,test", planned_as="extras"
)
_NO_EXTRAS = Input("extras", "Extras of the kit to install, as in `onnx,test`.", planned_as="publishers")
_REQUIREMENTS = Input(
    "requirements",
    "Your own requirements file, for code that the contract names.",
    planned_as="requirements",
)
_PLAN = Input(
    "plan", "What the action `plan` said: contract, stage, extras and requirements are taken from it."
)
_NEEDS = Input(
    "needs",
    "`toJSON(needs)` of the job: takes over what those jobs left, checked against their digests, and leaves its own. "
    "Left out: the workspace is this job's alone.",
)
_BEFORE = Input("before", "`toJSON(needs)` of the job that called this job's workflow, to the same end.")
_TOKEN = Input(
    "token",
    "Token for git's remote and for GitHub's releases.",
    "${{ github.token }}",
    carried_as="GITHUB_TOKEN",
)
CREDENTIALS = tuple(
    Input(given.secret, given.meaning, carried_as=given.variable)
    for store in STORES.values()
    for given in store.credentials
)
"""What publishers need, in the environment of the steps that get it; jobs that run code of the repository never do."""

SIGNING = (
    Input(
        "signing-key",
        "Private key (PEM) that signs releases, where the contract's `signing` names its public half.",
        carried_as="GRADATIM_SIGNING_KEY",
    ),
    Input("signing-password", "Its password, if it has one.", carried_as="GRADATIM_SIGNING_PASSWORD"),
)
"""What signs a release; the jobs that make one get it, and no other."""

_VERDICT = Output("verdict", "PASS, FAIL, INCONCLUSIVE or INVALID.")
_WORKSPACE = Output("workspace", "SHA-256 of what this step leaves for later jobs; empty without `needs`.")
_TAG = Output("tag", "The tag, as in `v1.4.0-beta.2`.")
_VERSION_OUT = Output("version", "The version without its `v`.")

_REPORT = Output("report", "The artifact that holds the report which the release carries.")
_HELD_WHOLE = Output("held", "All of this, as JSON.")
HELD = (
    _VERSION_OUT,
    _TAG,
    Output("stage", "The stage that holds it now."),
    Output("previous-version", "The version before, empty for the first."),
    Output("is-prerelease", "Whether the version has a suffix."),
    Output("manifest", "SHA-256 of the release's manifest, its identity."),
)
"""What whoever deploys must know, whichever verb changed what a stage holds."""

_OUTPUTS: dict[str, tuple[Output, ...]] = {
    "tag": (*HELD, Output("commit-sha", "The commit that is tagged.")),
    "publish": (_TAG, Output("released", "`true` once the release is public."), _REPORT),
    "promote": (*HELD, _REPORT),
    "rollback": (*HELD, _REPORT),
}


def runs_user_code(step: Step) -> bool:
    """Whether a step may run code of the repository: such a job gets no token that can write."""
    return not step.outward


def inputs_of(step: Step) -> tuple[Input, ...]:
    """The inputs of a step's action, in the order they are shown."""
    if step.name == "promote":
        stage = Input("stage", "The stage to promote to.", "", '-- "$STAGE"', planned_as="stage")
        version = Input(
            "version",
            "The release to promote. Left out: what the stage below holds.",
            "",
            '${VERSION:+"$VERSION"}',
        )
        return (_CONTRACT, stage, version, _NO_EXTRAS, _PLAN, _TOKEN, *SIGNING)
    if step.name == "rollback":
        reason = Input("reason", "Why, for the history.", None, '--reason "$REASON"')
        version = Input(
            "version",
            "The release to return to. Left out: the last good one.",
            "",
            '${VERSION:+--to "$VERSION"}',
        )
        stage = Input("stage", "The stage to put back.", "", '-- "$STAGE"', planned_as="stage")
        return (_CONTRACT, reason, version, stage, _NO_EXTRAS, _PLAN, _TOKEN)
    version_too = (_VERSION,) if step.name == "tag" else (_SHARD,) if step.shared else ()
    mine = (_EXTRAS, _REQUIREMENTS) if runs_user_code(step) else (_NO_EXTRAS,)
    before = () if step.outward else (_BEFORE,)
    return (
        _CONTRACT,
        _STAGE,
        *version_too,
        *mine,
        _PLAN,
        _NEEDS,
        *before,
        _TOKEN,
        *(SIGNING if step.signs else ()),
    )


_PART = "fromJSON(inputs.part || '{}')"
STEP = Input("step", "The check, as in `evaluate`.", None, '"$STEP"', read_as=f"{_PART}.step || inputs.step")
PART = Input(
    "part",
    "In a matrix of shards `toJSON(matrix)`, which says `step` and `shard`.",
    argument=_SHARD.argument,
    carried_as="SHARD",
    read_as=f"{_PART}.shard",
)
CHECK = "Run one of the checks."
"""One action for any of them: what the jobs of a workflow have in common stands in it once."""


def outputs_of(step: Step) -> tuple[Output, ...]:
    """What a step tells the jobs after it."""
    verdict = () if step.asked else (_VERDICT,)
    workspace = (_WORKSPACE,) if leaves(step) else ()
    return (*verdict, *_OUTPUTS.get(step.name, ()), *workspace)


def outputs_of_action(step: Step) -> tuple[Output, ...]:
    """The outputs of a step's action: what it tells, and at once what a stage holds now."""
    told = outputs_of(step)
    return (*told, _HELD_WHOLE) if set(HELD) <= set(told) else told


def leaves(step: Step) -> bool:
    """Whether a later step reads what this one leaves in the workspace."""
    return any(step.name in other.needs for other in GRAPH)


def all_needs(step: Step) -> tuple[str, ...]:
    """Every step that this one rests on, directly or not, in the graph's order."""
    found: set[str] = set()
    waiting = list(step.needs)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += STEPS[name].needs
    return tuple(other.name for other in GRAPH if other.name in found)


@dataclass(frozen=True)
class Verb:
    """An action that is no step: something that the workflows need around them.

    Attributes:
        name: of the action, and of its command under ``gradatim ci``.
        description: what it does, in a line.
        inputs: what it takes.
        outputs: what it gives.
        takes_over: whether it reads what earlier jobs left.
        leaves: whether later jobs read what it leaves.
        trusted: whether its job may push or holds credentials, and so uses nothing that another run cached.
    """

    name: str
    description: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...] = ()
    takes_over: bool = False
    leaves: bool = False
    trusted: bool = False


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            "plan",
            "Read event and contract: what is to be done, for which stage, on which runner.",
            (
                _CONTRACT,
                Input(
                    "runner",
                    "The runner where the contract declares none.",
                    "ubuntu-latest",
                    '--runner "$RUNNER"',
                ),
                Input("jobs", "`split` or `folded`, as the caller wishes.", "split", '--jobs "$JOBS"'),
                Input(
                    "requirements",
                    "Your own requirements file, for the plan to hand on.",
                    argument='--requirements "$REQUIREMENTS"',
                ),
                _TOKEN,
            ),
            (
                Output(
                    "plan",
                    "As JSON: `kind` (check, release, publish, promote, rollback, report or nothing), whether to make the `checks`, "
                    "how (`jobs`), for which `name`, `stage` and `environment`, on which runners, with which extras, in which `shards`.",
                ),
            ),
        ),
        Verb(
            "baseline",
            "Fetch the release that would be replaced, where credentials are needed to read it.",
            (_CONTRACT, _STAGE, _NO_EXTRAS, _PLAN, _NEEDS, _TOKEN),
            (_WORKSPACE,),
            leaves=True,
            trusted=True,
        ),
        Verb(
            "count",
            "Count a use of the evaluation data, before it is evaluated (`data.uses`).",
            (_CONTRACT, _PLAN, _NEEDS, _TOKEN),
            (Output("number", "Which use of the data this is."),),
            takes_over=True,
            trusted=True,
        ),
        Verb(
            "models",
            "Find the contracts of the repository, and say which models the event touches.",
            (
                Input(
                    "requirements",
                    "Your own requirements file, for models without one in their folder.",
                    "",
                    '--requirements "$REQUIREMENTS"',
                ),
            ),
            (
                Output("models", "One entry a touched model, as JSON: `name`, `contract`, `requirements`."),
                Output("any", "Whether any model was touched: `true` or `false`."),
            ),
        ),
        Verb(
            "held",
            "Say what each model's stage holds, where this event puts something into one.",
            (
                Input("models", "What the action `models` said.", None, '--models "$MODELS"'),
                _TOKEN,
            ),
            (
                Output(
                    "releases",
                    "By model, as JSON: `stage`, `environment`, `tag`, `version`, `previous-version`, "
                    "`is-prerelease`, `manifest`, `report`.",
                ),
            ),
        ),
        Verb(
            "comment",
            "Say the result in one comment of the pull request, updated in place.",
            (_CONTRACT, _PLAN, _NEEDS, _TOKEN),
            takes_over=True,
        ),
        Verb(
            "report",
            "Show what every stage holds and what happened to it.",
            (_CONTRACT, _PLAN, _TOKEN),
            (
                Output(
                    "report",
                    "The artifact that holds the report of the iteration with its pictures; empty without `iteration`.",
                ),
            ),
        ),
    )
}
