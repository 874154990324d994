"""The run tables: what a training run writes to the lake besides its activations.

One Parquet file per run and table. `TABLES` is the single description of their columns, used to
write, to check, to build the catalogue's views and to print the documentation.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from storage.lake.files import Lake

TABLES_FOLDER = "tables"

_ARROW = {
    "VARCHAR": "string",
    "BOOLEAN": "bool",
    "SMALLINT": "int16",
    "INTEGER": "int32",
    "FLOAT": "float32",
    "DOUBLE": "float64",
}


class Column(NamedTuple):
    """One column: its SQL type, what it holds, and whether NULL is allowed."""

    name: str
    type: str
    text: str
    nullable: bool = False

    @property
    def field(self) -> pa.Field:
        """The column in an Arrow schema, with its description as metadata."""
        import pyarrow as pa

        kind = pa.type_for_alias(_ARROW[self.type.removesuffix("[]")])
        if self.type.endswith("[]"):
            kind = pa.list_(kind)
        return pa.field(self.name, kind, self.nullable, metadata={"description": self.text})


class RunTable(NamedTuple):
    """One view: what a row is, and its columns in order."""

    name: str
    text: str
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema with each column's description as field metadata."""
        import pyarrow as pa

        fields = [column.field for column in self.columns]
        return pa.schema(fields, metadata={"description": self.text})


_RUN = Column("run_id", "VARCHAR", "run that wrote the row (MLflow run id)")
_ITEM = Column("item_id", "VARCHAR", "id of the example")
_SPLIT = Column("split", "VARCHAR", "train, val or test")
_METHOD = Column("method", "VARCHAR", "pasf, ipasa, ipaswo, caa, or random for the control")
_LAYER = Column("layer", "SMALLINT", "decoder block whose output is steered")
_STRENGTH = Column("strength", "DOUBLE", "factor on the vector; 0 is no steering")
_CONFIGURATION = (_METHOD, _LAYER, _STRENGTH)

TABLES: dict[str, RunTable] = {
    table.name: table
    for table in (
        RunTable(
            "items",
            "One example of a run's data, with the unsteered answer.",
            (
                _RUN,
                _ITEM,
                _SPLIT,
                Column("prompt", "VARCHAR", "rendered prompt, as the model reads it"),
                Column("choices", "VARCHAR[]", "choice texts in the order shown"),
                Column("label", "INTEGER", "index of the correct choice in choices"),
                Column("n_choices", "INTEGER", "number of choices"),
                Column("group_id", "VARCHAR", "items of one group are never split apart"),
                Column(
                    "baseline_choice",
                    "INTEGER",
                    "index of the choice the unsteered model answers; NULL if not asked",
                    nullable=True,
                ),
            ),
        ),
        RunTable(
            "predictions",
            "One answer of the model to one item in one configuration.",
            (
                _RUN,
                _ITEM,
                _SPLIT,
                _METHOD._replace(text="contrast method; 'none' is the unsteered model"),
                _LAYER._replace(text="steered block; NULL for the unsteered model", nullable=True),
                _STRENGTH,
                Column(
                    "choice", "INTEGER", "index of the answered choice; -1 if a score is not finite"
                ),
                Column("correct", "BOOLEAN", "choice equals the item's label"),
                Column("scores", "DOUBLE[]", "score of each choice (log units)"),
            ),
        ),
        RunTable(
            "sweeps",
            "Validation accuracy of one configuration of the sweep.",
            (
                _RUN,
                *_CONFIGURATION,
                Column("n", "INTEGER", "validation items"),
                Column("correct", "INTEGER", "items answered correctly"),
                Column("accuracy", "DOUBLE", "correct / n"),
            ),
        ),
        RunTable(
            "evaluations",
            "Steered against unsteered accuracy of one configuration on one split.",
            (
                _RUN,
                *_CONFIGURATION,
                _SPLIT,
                Column("selected", "BOOLEAN", "the configuration chosen by the sweep"),
                Column("control", "VARCHAR", "none, random (direction) or reshuffled (choices)"),
                Column("n", "INTEGER", "items"),
                Column("baseline_accuracy", "DOUBLE", "accuracy without steering"),
                Column("steered_accuracy", "DOUBLE", "accuracy with steering"),
                Column("delta", "DOUBLE", "steered minus baseline accuracy"),
                Column("ci_low", "DOUBLE", "lower end of the 95 % bootstrap interval of delta"),
                Column("ci_high", "DOUBLE", "upper end of that interval"),
                Column("p_value", "DOUBLE", "exact McNemar test of the flips"),
                Column("w2r", "INTEGER", "items flipped from wrong to right"),
                Column("r2w", "INTEGER", "items flipped from right to wrong"),
            ),
        ),
        RunTable(
            "vectors",
            "One estimated direction.",
            (
                _RUN,
                _METHOD,
                _LAYER,
                Column("site", "VARCHAR", "where it is read and written, such as residual"),
                Column("direction", "FLOAT[]", "unscaled vector, d_model values"),
                Column("norm", "DOUBLE", "its L2 norm"),
            ),
        ),
    )
}


ACTIVATIONS = RunTable(
    "activations",
    "Last-token activations of every model and site; a prompt may be in several shards.",
    (
        Column("prompt_key", "BLOB", "identity of the prompt: model and token ids"),
        Column("layer", "SMALLINT", "decoder block whose output was read; -1 the embedding"),
        Column("vector", "FLOAT[]", "d_model values"),
    ),
)


def table_folder(lake: Lake, name: str) -> str:
    """Return the folder of the files of all runs of one table."""
    return lake.address(TABLES_FOLDER, name)


def table_address(lake: Lake, name: str, run_id: str) -> str:
    """Return the address of a run's table."""
    if name not in TABLES:
        raise ValueError(f"no run table {name!r}; there are {', '.join(TABLES)}")
    return lake.address(TABLES_FOLDER, name, f"run_id={run_id}.parquet")


def write_run_table(lake: Lake, name: str, run_id: str, table: pa.Table) -> str:
    """Write a run's rows of one table, replacing what the run wrote there before.

    Args:
        lake: Where to.
        name: One of `TABLES`.
        run_id: The run; added as a column unless the table has it.
        table: Exactly the table's columns in any order; types are cast where nothing is lost.

    Returns:
        The address.

    Raises:
        ValueError: For missing or extra columns, NULLs, lossy casts or another run's rows.
        UserError: If the run id cannot name a file.
    """
    import pyarrow as pa

    address = table_address(lake, name, run_id)
    schema = TABLES[name].schema
    if "run_id" not in table.column_names:
        run_column = pa.array([run_id] * table.num_rows, pa.string())
        table = table.append_column("run_id", run_column)
    missing = [column for column in schema.names if column not in table.column_names]
    extra = [column for column in table.column_names if column not in schema.names]
    if missing or extra or len(table.column_names) != len(schema):
        raise ValueError(f"table {name}: missing columns {missing}, extra columns {extra}")
    arrays = [_cast(name, table[field.name], field) for field in schema]
    checked = pa.table(arrays, schema=schema)
    if set(checked["run_id"].unique().to_pylist()) - {run_id}:
        raise ValueError(f"table {name}: rows of another run than {run_id}")
    return lake.write_table(address, checked)


def check_run_table(address: str, parquet: pq.ParquetFile, *, values: bool) -> None:
    """Check that a file's rows are those of the run that its address names.

    Args:
        address: Where the file is stored.
        parquet: The file.
        values: Decode all columns, not the run's alone.

    Raises:
        ValueError: With the reason.
    """
    runs = parquet.read(None if values else ["run_id"])["run_id"].unique().to_pylist()
    name = PurePosixPath(address).stem.removeprefix("run_id=")
    if runs not in ([], [name]):
        raise ValueError(f"the run {name} is not that of the rows")


def _cast(name: str, column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    from pyarrow import ArrowException

    try:
        column = column.cast(field.type)
    except ArrowException as error:
        raise ValueError(f"table {name}: column {field.name}: {error}") from error
    if column.null_count and not field.nullable:
        raise ValueError(f"table {name}: column {field.name} holds {column.null_count} NULLs")
    return column


def describe_tables() -> str:
    """Return the views and their columns as Markdown."""
    lines: list[str] = []
    for table in (*TABLES.values(), ACTIVATIONS):
        lines += [f"### `{table.name}`", "", table.text, "", "| column | type | |", "|---|---|---|"]
        for column in table.columns:
            null = ", or NULL" if column.nullable else ""
            lines.append(f"| `{column.name}` | {column.type}{null} | {column.text} |")
        lines.append("")
    return "\n".join(lines)
