"""gradatim schema: the contract's JSON Schema."""

from __future__ import annotations

import json

import click


@click.command("schema", short_help="The contract's JSON Schema, for editors.")
@click.argument("contracts", nargs=-1, metavar="[CONTRACT]...")
@click.option("--check", is_flag=True, help="Check these contracts instead, or the one found here.")
@click.option(
    "--corruptions", is_flag=True, help="List the corruptions that `test.robustness` may name instead."
)
@click.option("--metrics", metavar="TASK", help="List the metrics that gates may name for a task instead.")
@click.option("--markdown", is_flag=True, help="Print the reference page of every key instead.")
@click.option("--lineage", is_flag=True, help="Print the JSON Schema of lineage.json instead.")
def command(
    contracts: tuple[str, ...],
    check: bool,
    corruptions: bool,
    metrics: str | None,
    markdown: bool,
    lineage: bool,
) -> None:
    """Print the JSON Schema of gradatim.yml, so that editors complete and check it.

    \b
    Examples:
      gradatim schema > gradatim.schema.json
      gradatim schema --check gradatim.yml
      gradatim schema --corruptions
      gradatim schema --metrics classification

    With the YAML language server, begin gradatim.yml with:

      # yaml-language-server: $schema=gradatim.schema.json
    """
    if check or contracts:
        from gradatim.contract.reading import find_contract, read_contract

        for given in contracts or (None,):
            path = find_contract(given)
            read_contract(path)
            click.echo(f"{path.name}: well written")
    elif corruptions:
        from gradatim.perturb.catalogue import NAMES

        for modality, names in NAMES.items():
            click.echo(f"{modality:9} {' '.join(names)}")
    elif metrics:
        from gradatim.contract.rules import unknown
        from gradatim.errors import UsageError
        from gradatim.metrics.catalogue import TASKS, known

        if metrics not in TASKS:
            raise UsageError(unknown("task", metrics, TASKS))
        for name, metric in known(metrics).items():
            click.echo(f"{name:20} {metric.description}")
    elif markdown:
        from gradatim.contract.documentation import reference_page

        click.echo(reference_page())
    elif lineage:
        from gradatim.lineage.schema import json_schema as lineage_schema

        click.echo(json.dumps(lineage_schema(), indent=2, ensure_ascii=False))
    else:
        from gradatim.contract.reading import json_schema

        click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
