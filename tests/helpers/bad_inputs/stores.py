"""Where things are kept: the home, the lake, the registry, Prefect's server, and limits."""

import sqlite3
from collections.abc import Callable, Sequence

from tests.helpers.bad_inputs.case import NAME, Case, Place

STATS = ("cache", "stats")
VECTORS = ("vectors",)
STEER = ("steer", NAME, "Where does the heron")
SQL = ("sql", "SELECT count(*) FROM items")
PROMOTE = ("promote", NAME)


def stored(words: tuple[str, ...], *command: object, **environment: str) -> Case:
    return Case(lambda p: command, words, environment)


def trained(words: tuple[str, ...], *options: object, **environment: str) -> Case:
    return Case(lambda p: p.option(*options), words, environment)


def prepared(
    prepare: Callable[[Place], object], words: tuple[str, ...], *command: object, **env: str
) -> Case:
    def made(p: Place) -> Sequence[object]:
        prepare(p)
        return command

    return Case(made, words, env)


OWN = "sqlite:///{folder}/m.db"
CLOSED = "http://127.0.0.1:1"
CASES: dict[str, Case] = {
    # The lake
    "a blank lake": stored(("lake",), *STATS, PAS_LAKE="  "),
    "a lake of an unknown protocol": stored(
        ("lake", "gopher"), *STATS, PAS_LAKE="gopher://host/lake"
    ),
    "a lake with stars": stored(("lake",), *STATS, PAS_LAKE="/tmp/lake*"),
    "a lake with brackets": stored(("lake",), *SQL, PAS_LAKE="/tmp/[lake]"),
    "a lake that is a file": stored(("lake",), *STATS, PAS_LAKE="{home}/mlflow.db"),
    "a lake in a file": stored(("lake",), *STATS, PAS_LAKE="{home}/mlflow.db/lake"),
    "a lake in a device": trained(("lake",), PAS_LAKE="/dev/null/lake"),
    "an endless lake": stored(("lake",), *STATS, PAS_LAKE="/tmp/" + "x" * 5000),
    "a lake of an address that is none": stored(("lake",), *STATS, PAS_LAKE="s3://[::1/lake"),
    "a lake that is read alone": stored(("lake",), *STATS, PAS_LAKE="https://127.0.0.1:1/lake"),
    "a lake in an archive": trained(("lake",), PAS_LAKE="zip:///none.zip"),
    "a lake in a store that does not answer": trained(
        ("PAS_LAKE", "AWS_ENDPOINT_URL"),
        PAS_LAKE="s3://bucket/lake",
        AWS_ENDPOINT_URL=CLOSED,
        AWS_ACCESS_KEY_ID="a",
        AWS_SECRET_ACCESS_KEY="b",
        AWS_DEFAULT_REGION="us-east-1",
    ),
    "an address in the lake that is a path upwards": stored(
        ("..",), "cache", "why", "../../etc/passwd"
    ),
    "an address in the lake that is a path": stored(("address",), "cache", "why", "/etc/passwd"),
    "an address in the lake that is empty": stored(("address",), "cache", "why", ""),
    "an address in the lake of nothing": stored(
        ("stages/none.parquet",), "cache", "why", "stages/none.parquet"
    ),
    "an age below 0": stored(("--older-than",), "cache", "gc", "--older-than=-1"),
    "an age that is no number": stored(("--older-than",), "cache", "gc", "--older-than", "nan"),
    "an age without end": stored(("--older-than",), "cache", "gc", "--older-than", "inf"),
    "a damaged table": prepared(
        lambda p: next(p.home.rglob("tables/items/*.parquet")).write_bytes(b"x" * 99),
        ("items", "damaged"),
        *SQL,
    ),
    # The registry
    "a registry of an unknown protocol": stored(
        ("MLFLOW_TRACKING_URI",), *VECTORS, MLFLOW_TRACKING_URI="gopher://host"
    ),
    "a registry that does not answer": stored(
        ("MLFLOW_TRACKING_URI", "127.0.0.1:1"), *VECTORS, MLFLOW_TRACKING_URI=CLOSED
    ),
    "a training whose registry does not answer": trained(
        ("MLFLOW_TRACKING_URI", "127.0.0.1:1"), MLFLOW_TRACKING_URI=CLOSED
    ),
    "a registry of an address that is none": stored(
        ("MLFLOW_TRACKING_URI",), *VECTORS, MLFLOW_TRACKING_URI="http://[::1"
    ),
    "a registry with a port in words": stored(
        ("MLFLOW_TRACKING_URI",), *VECTORS, MLFLOW_TRACKING_URI="http://127.0.0.1:port"
    ),
    "a registry that is a folder": stored(
        ("MLFLOW_TRACKING_URI",), *VECTORS, MLFLOW_TRACKING_URI="/tmp/mlruns"
    ),
    "a registry in a file that is none": prepared(
        lambda p: p.write("m.db", "hello, this is no database" * 9),
        ("m.db",),
        *VECTORS,
        MLFLOW_TRACKING_URI=OWN,
    ),
    "a registry in PostgreSQL that does not answer": stored(
        ("MLFLOW_TRACKING_URI",), *VECTORS, MLFLOW_TRACKING_URI="postgresql://a:b@127.0.0.1:1/m"
    ),
    "a registry of an unknown driver": stored(
        ("MLFLOW_TRACKING_URI",), *VECTORS, MLFLOW_TRACKING_URI="oracle://a@b/c"
    ),
    "a registry whose database is damaged": prepared(
        lambda p: p.write("m.db", (p.home / "mlflow.db").read_bytes()[:40_000] + b"x" * 40_000),
        ("m.db", "backup"),
        *VECTORS,
        MLFLOW_TRACKING_URI=OWN,
    ),
    "a registry whose database is cut": prepared(
        lambda p: p.write("m.db", (p.home / "mlflow.db").read_bytes()[:9000]),
        ("m.db", "backup"),
        *STEER,
        MLFLOW_TRACKING_URI=OWN,
    ),
    "a registry whose database is empty": prepared(
        lambda p: p.write("m.db", ""), ("m.db", "backup"), *STEER, MLFLOW_TRACKING_URI=OWN
    ),
    "a training whose registry is damaged": Case(
        lambda p: (p.write("m.db", b"x" * 5000), p.option())[1],
        ("m.db",),
        {"MLFLOW_TRACKING_URI": OWN},
    ),
    "a registry whose database is a folder": prepared(
        lambda p: (p.folder / "m.db").mkdir(), ("m.db",), *VECTORS, MLFLOW_TRACKING_URI=OWN
    ),
    "a registry without tables": prepared(
        lambda p: sqlite3.connect(p.folder / "m.db").executescript(
            "CREATE TABLE a (b); INSERT INTO a VALUES (1)"
        ),
        ("m.db",),
        *VECTORS,
        MLFLOW_TRACKING_URI=OWN,
    ),
    # The home and its server
    "a home that is a file": stored(("home",), *VECTORS, PAS_HOME="{home}/mlflow.db"),
    "a home in a file": trained(("home",), PAS_HOME="{home}/mlflow.db/home"),
    "a home in a device": trained(("home",), PAS_HOME="/dev/null/home"),
    "a home where nothing can be made": trained(
        ("PAS_HOME", "may write"), PAS_HOME="/proc/home", PAS_LAKE="{folder}/lake"
    ),
    "a home of nobody": stored(("PAS_HOME",), *VECTORS, PAS_HOME="~nobody-at-all/home"),
    "an endless home": stored(("PAS_HOME",), *VECTORS, PAS_HOME="/tmp/" + "x" * 5000),
    "a home of stars": trained(("lake",), PAS_HOME="/tmp/no*home"),
    "a cache folder that is a file": Case(
        lambda p: p.option("--model", p.write("m.gguf", b"GGUF")),
        ("PAS_CACHE_DIR",),
        {"PAS_CACHE_DIR": "{home}/mlflow.db"},
    ),
    # Limits
    "a shard of no tokens": stored(("PAS_SHARD_TOKENS",), *STATS, PAS_SHARD_TOKENS="0"),
    "a shard of words": stored(("PAS_SHARD_TOKENS",), *STATS, PAS_SHARD_TOKENS="many"),
    "a batch below 0": stored(("PAS_BATCH_TOKENS",), *STATS, PAS_BATCH_TOKENS="-3"),
    "rows in halves": stored(("PAS_BATCH_ROWS",), *STATS, PAS_BATCH_ROWS="0.5"),
    "an unknown engine": stored(("PAS_TASK_RUNNER",), *STATS, PAS_TASK_RUNNER="spark"),
    "a limit of memory in words": stored(("PAS_MEMORY_LIMIT",), *SQL, PAS_MEMORY_LIMIT="much"),
    "a limit of memory that is too small": stored(
        ("PAS_MEMORY_LIMIT",),
        "sql",
        "SELECT a.item_id, b.item_id, c.item_id FROM items a, items b, items c ORDER BY ALL",
        PAS_MEMORY_LIMIT="1MB",
    ),
    "trust in words": stored(("PAS_TRUST_REMOTE_CODE",), *STATS, PAS_TRUST_REMOTE_CODE="maybe"),
    "an experiment without a name": trained(("PAS_EXPERIMENT",), PAS_EXPERIMENT=""),
    # Queries
    "no query": stored(("SELECT",), "sql", ""),
    "a query that is none": stored(("sql",), "sql", "hello"),
    "a query that writes": stored(("read-only",), "sql", "DROP VIEW items"),
    "two queries": stored(("one SELECT",), "sql", "SELECT 1; SELECT 2"),
    "a query of a file": stored(("sql",), "sql", "SELECT * FROM read_text('/etc/passwd')"),
    "a query of a file upwards": stored(
        ("sql",), "sql", "SELECT * FROM '{home}/lake/../mlflow.db'"
    ),
    "a query of an unknown view": stored(("nothing_here",), "sql", "SELECT * FROM nothing_here"),
    "a query of an unknown column": stored(("nonsense",), "sql", "SELECT nonsense FROM items"),
    "a query that copies": stored(("read-only",), "sql", "COPY items TO '/tmp/items.csv'"),
    "a query with half a character": stored(("UTF-8",), "sql", "SELECT '\udcff'"),
    "a query with NUL": stored(("sql",), "sql", "SELECT '\0' FROM"),
    "a query without end": stored(("sql",), "sql", "SELECT " + "(" * 3000 + "1" + ")" * 3000),
    "a query that divides texts": stored(("sql",), "sql", "SELECT 'a'::INTEGER"),
    # References and pages
    "a page where it cannot be": Case(lambda p: ["status", "--html", p.folder], ("--html",)),
    "metrics where they cannot be": Case(
        lambda p: ["metrics", "--file", p.folder / "none" / "m.prom"], ("--file",)
    ),
    "a port that is none": stored(("--port",), "metrics", "--port", "99999999"),
    "a host that is none": stored(
        ("--host",), "metrics", "--port", "1", "--host", "no.such.host.invalid"
    ),
}
