"""The commands "investigate …"."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson

from telemetry_server.cli.case_export import export
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.cli.pivot import pivot
from telemetry_server.cli.session import ask
from telemetry_server.durable import whole
from telemetry_server.errors import OperatorError
from telemetry_server.investigate import store
from telemetry_server.investigate.figures import measured, tally
from telemetry_server.investigate.measuring import Truth, read_truth
from telemetry_server.investigate.rule_files import all_rules
from telemetry_server.investigate.rules import FAMILIES, Asked, Rule
from telemetry_server.investigate.score import Tally, read_ratios, write_ratios
from telemetry_server.settings import Settings
from telemetry_server.store.database import Connection
from telemetry_server.store.registry.products import product_by_slug

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_PRODUCT = click.option("--product", "slug", required=True, metavar="SLUG", help="The product.")
_NOTE = (
    "Counts of simulated owners by what the rules found: [misuse, honest].\n"
    'Written by "telemetry-server investigate fit"; docs/detection.md says from which fleets.'
)


class TruthFile(click.ParamType[Truth]):
    """A file that "simulate --truth" wrote."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Truth:
        try:
            return read_truth(orjson.loads(Path(value).read_bytes()))
        except OSError as error:
            self.fail(f"{value} cannot be read: {error.strerror}.", param, ctx)
        except (KeyError, ValueError, TypeError):
            self.fail(
                f'{value} is no truth of a world: "simulate --world first --truth FILE" writes one.',
                param,
                ctx,
            )


_PRODUCTS = click.option(
    "--product", "slugs", multiple=True, required=True, metavar="SLUG", help="A simulated product."
)
_TRUTHS = click.option(
    "--truth",
    "truths",
    type=TruthFile(),
    multiple=True,
    required=True,
    help='What "simulate --truth" wrote of it; with several products in their order.',
)


@click.group(cls=Group)
def investigate() -> None:
    """Leads to copies that should not exist, and their cases.

    The job "find suspicions" finds them. Nothing here acts on a customer. docs/detection.md describes the
    rules, the score and its figures.
    """


investigate.add_command(export)
investigate.add_command(pivot)


@investigate.command("rules")
@as_json
@click.pass_obj
def list_rules(invocation: Invocation, as_json: bool) -> None:
    """List the rules that run, with what they mean and do not mean."""
    rules = all_rules(invocation.settings().own_rules)
    if as_json:
        print_json({"rules": [_about(rule) for rule in rules]})
    else:
        rows = ((rule.name, rule.family, rule.subject, rule.status, rule.title) for rule in rules)
        print_table(("rule", "family", "subject", "status", "finds"), rows)


@investigate.command("cases")
@_PRODUCT
@as_json
@click.pass_obj
def list_cases(invocation: Invocation, slug: str, as_json: bool) -> None:
    """List the cases with open findings, those with the highest score first.

    The score is the share of misuse among simulated cases with the same evidence: it accuses no one.
    """

    async def look(connection: Connection) -> list[store.Row]:
        return await store.queue(connection, (await product_by_slug(connection, slug)).id)

    cases = ask(invocation.settings(), look)
    if as_json:
        print_json({"cases": [_case(row) for row in cases]})
        return
    rows = (
        (
            f"{round(100 * row['score'])} of 100",
            row["name"],
            row["state"],
            ", ".join(row["rules"]),
            row["case_id"],
        )
        for row in cases
    )
    print_table(("simulated misuse", "subject", "state", "rules", "case"), rows)


@investigate.command("try")
@click.argument("name", metavar="RULE")
@_PRODUCT
@click.option("--set", "given", multiple=True, metavar="NAME=NUMBER", help="Another value of a parameter.")
@as_json
@click.pass_obj
def try_rule(invocation: Invocation, name: str, slug: str, given: tuple[str, ...], as_json: bool) -> None:
    """Run RULE now, also with other parameters, and keep nothing."""
    settings = invocation.settings()
    rule = _rule(settings, name)
    parameters = dict(map(_number, given))

    async def run(connection: Connection) -> list[store.Seen]:
        product = await product_by_slug(connection, slug)
        allowed = settings.detection_allowed_networks
        asked = Asked(product_id=product.id, now=datetime.now(UTC), since=_BEGINNING, allowed=allowed)
        return await store.run_rule(connection, rule, asked, parameters)

    seen = ask(settings, run)
    if as_json:
        names = ("subject_id", "first_seen", "last_seen", "strength", "unscored", "evidence")
        print_json({"findings": [{each: getattr(one, each) for each in names} for one in seen]})
    else:
        rows = ((one.subject_id, one.first_seen, one.last_seen, one.strength, one.unscored) for one in seen)
        print_table((rule.subject, "first seen", "last seen", "strength", "does not count"), rows)


@investigate.command("measure")
@_PRODUCTS
@_TRUTHS
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    help="Measure with that share of the misuse, and leave the rest out.",
)
@as_json
@click.pass_obj
def measure_cases(
    invocation: Invocation, slugs: tuple[str, ...], truths: tuple[Truth, ...], share: float, as_json: bool
) -> None:
    """Measure rules and cases of simulated products against their truth, with Wilson's 95 % bounds.

    Run "find suspicions" before.
    """
    settings, pairs = invocation.settings(), _pairs(slugs, truths)

    async def look(connection: Connection) -> dict[str, Any]:
        fleets = [(await product_by_slug(connection, slug), truth) for slug, truth in pairs]
        return await measured(connection, fleets, settings.base_rate, share)

    figures = ask(settings, look)
    if as_json:
        print_json(figures)
        return
    names = ("precision", "recall", "recall_of_lasting", "recall_in_queue", "precision_of_first")
    print_table(
        ("cases from 0.9 on", "true", "of", "share", "at least", "at most"),
        ((name, *figures["cases"][name].values()) for name in names),
    )
    print_table(
        ("rule", "true", "false"),
        ((rule, each["true_positives"], each["false_positives"]) for rule, each in figures["rules"].items()),
    )


@investigate.command("fit")
@_PRODUCTS
@_TRUTHS
@click.option(
    "--to",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file of ratios to write.",
)
@click.option("--add", is_flag=True, help="Add to the counts that the file has.")
@click.pass_obj
def fit(
    invocation: Invocation, slugs: tuple[str, ...], truths: tuple[Truth, ...], to: Path, add: bool
) -> None:
    """Count what the rules found in simulated products, and write the ratios that scores are made of.

    Run "find suspicions" before. Never fit on fleets whose figures you report.
    """
    pairs, into = _pairs(slugs, truths), Tally(FAMILIES)
    if add:
        into.add_counts(read_ratios(to.read_text("utf-8")))

    async def count(connection: Connection) -> None:
        for slug, truth in pairs:
            await tally(connection, (await product_by_slug(connection, slug)).id, truth, into)

    ask(invocation.settings(), count)
    with whole(to) as part:
        part.write_text(write_ratios(into.ratios(), _NOTE), "utf-8")
    say(f"Wrote {to}.")


def _pairs(slugs: tuple[str, ...], truths: tuple[Truth, ...]) -> list[tuple[str, Truth]]:
    if len(slugs) != len(truths):
        raise OperatorError("Give as many files of --truth as products, in the same order.")
    return list(zip(slugs, truths, strict=True))


def _about(rule: Rule) -> dict[str, Any]:
    names = ("name", "id", "title", "status", "means", "does_not_mean", "falsepositives", "family", "subject")
    return {name: getattr(rule, name) for name in names} | {"parameters": rule.defaults}


def _case(row: store.Row) -> dict[str, Any]:
    return {
        "id": row["case_id"],
        "score": row["score"],
        "in_100_simulated": round(100 * row["score"]),
        "subject": {"kind": row["subject_kind"], "id": row["subject_id"], "name": row["name"]},
        "rules": row["rules"],
        "installations": row["installations"],
        **{
            name: row[name]
            for name in ("state", "owner", "first_seen", "last_seen", "opened_at", "waterfall")
        },
    }


def _rule(settings: Settings, name: str) -> Rule:
    rules = {rule.name: rule for rule in all_rules(settings.own_rules)}
    if name not in rules:
        raise OperatorError(f'There is no rule {name}; "investigate rules" lists them.')
    return rules[name]


def _number(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        raise OperatorError(f"{text!r} is not NAME=NUMBER.") from None
    return name, int(number) if number.is_integer() else number
