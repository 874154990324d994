"""`pas sql` and `pas cache`."""

import sys
from typing import Annotated

import typer

from flows.cli.display import Json, print_json, print_table, say

BROKEN = 1


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("sql", help=sql.__doc__)(sql)
    cache = typer.Typer(help="Inspect and clean the lake.", no_args_is_help=True)
    cache.command("stats", help=stats.__doc__)(stats)
    cache.command("why", help=why.__doc__)(why)
    cache.command("verify", help=verify.__doc__)(verify)
    cache.command("gc", help=gc.__doc__)(gc)
    cache.command("compact", help=compact.__doc__)(compact)
    app.add_typer(cache, name="cache")


def sql(
    query: Annotated[
        str | None, typer.Argument(help="One SELECT; without it the views are described.")
    ] = None,
    json: Json = False,
) -> None:
    """Query the lake's tables, read-only; see docs/catalogue.md for their columns.

    pas sql "SELECT method, layer, max(accuracy) FROM sweeps GROUP BY ALL ORDER BY 3 DESC"
    """
    from storage.catalogue.views import query_rows
    from storage.lake.tables import describe_tables
    from storage.settings import settings

    if query is None:
        sys.stdout.write(describe_tables())
        return
    lake, limit = settings().open_lake(reading=True), settings().memory_limit
    names, rows = query_rows(lake, query, memory_limit=limit)
    if json:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        print_table(f"{len(rows)} rows", names, rows)


def stats(json: Json = False) -> None:
    """Count the cached activations by model and site."""
    from storage.catalogue.views import cache_stats
    from storage.settings import settings

    lake = settings().open_lake(reading=True)
    found = cache_stats(lake)
    if json:
        print_json([entry._asdict() for entry in found])
        return
    rows = [
        (
            e.model_id,
            e.fingerprint[:12],
            e.site,
            e.shards,
            e.prompts,
            ",".join(map(str, e.layers)),
            f"{e.bytes / 1e6:.1f} MB",
        )
        for e in found
    ]
    header = ("model", "fingerprint", "site", "shards", "prompts", "layers", "size")
    print_table(f"Activations in {lake.name}", header, rows)


def why(
    address: Annotated[
        str,
        typer.Argument(
            help="Address of a file in the lake, such as stages/sweeps/1f0c....parquet."
        ),
    ],
    json: Json = False,
) -> None:
    """Say what a stored result was made from, to see why a later run did not reuse it.

    pas cache why stages/sweeps/0123456789abcdef0123456789abcdef.parquet
    """
    from storage.lake.stages import read_ingredients
    from storage.settings import settings

    ingredients = read_ingredients(settings().open_lake(reading=True), address)
    if json:
        print_json(ingredients)
    elif ingredients:
        print_table(address, ("ingredient", "value"), [(k, str(v)) for k, v in ingredients.items()])
    else:
        say(f"{address}: the file does not keep its ingredients")


def verify(json: Json = False) -> None:
    """Read every file and check it (exit code 1 if one is damaged; `pas cache gc` removes it).

    A training does so with each file before it first uses it.
    """
    from tasks.upkeep import verify_files

    reports = verify_files()
    damaged = [report for report in reports if not report.ok]
    if json:
        print_json([report._asdict() for report in reports])
    else:
        if damaged:
            rows = [(report.address, report.reason) for report in damaged]
            print_table("Damaged files", ("file", "reason"), rows)
        say(f"{len(reports) - len(damaged)} of {len(reports)} files are intact")
    if damaged:
        sys.exit(BROKEN)


def gc(
    older_than: Annotated[
        float | None,
        typer.Option(help="Also remove shards not written for so many days.", min=0, max=36500),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be removed.")
    ] = False,
    json: Json = False,
) -> None:
    """Remove unfinished files, damaged files, and on request old shards.

    Removed activations are extracted again when a training needs them.
    """
    from tasks.upkeep import collect_garbage

    removed = collect_garbage(older_than, dry_run=dry_run)
    if json:
        print_json([entry._asdict() for entry in removed])
        return
    if removed:
        print_table("Garbage", ("file", "reason", "bytes"), removed)
    freed = sum(entry.bytes for entry in removed) / 1e6
    say(f"{'would free' if dry_run else 'freed'} {freed:.1f} MB in {len(removed)} files")


def compact(
    target: Annotated[
        float, typer.Option(help="Size of a merged file, in MB.", min=0.001, max=2000)
    ] = 64,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be merged.")
    ] = False,
    json: Json = False,
) -> None:
    """Merge small files of activations and answers, which makes every later look faster.

    Trainings may run meanwhile. Files of the last ten minutes and large ones stay as they are.
    """
    from tasks.upkeep import compact as merge

    merged = merge(round(target * 1e6), dry_run=dry_run)
    if json:
        print_json([entry._asdict() for entry in merged])
        return
    files, size = sum(len(m.addresses) for m in merged), sum(m.bytes for m in merged) / 1e6
    verb = "would become" if dry_run else "became"
    say(f"{files} files of {size:.1f} MB {verb} {len(merged)}")
