"""Options that several commands take: what data, and what model."""

from typing import Annotated

import typer

TaskName = Annotated[str, typer.Option(help="Built-in task (see pas tasks) or your own name.")]
DataSource = Annotated[
    str | None, typer.Option(help="csv, json, jsonl or parquet file, folder, or hub id.")
]
ModelName = Annotated[str, typer.Option(help="demo, hub id, local folder or GGUF file.")]
QuestionCol = Annotated[str, typer.Option(help="Column of the question.")]
ChoicesCol = Annotated[
    str, typer.Option(help="One list column, or several columns separated by commas.")
]
LabelCol = Annotated[
    str, typer.Option(help="Column of the right choice: index from 0, letter or text.")
]
GroupCol = Annotated[
    str | None, typer.Option(help="Rows of equal value stay on one side of the split.")
]
IdCol = Annotated[str | None, typer.Option(help="Column of unique ids.")]
DataSplit = Annotated[str | None, typer.Option(help="Split of the source to read.")]
DataConfig = Annotated[str | None, typer.Option(help="Hub configuration (subset).")]
DataRevision = Annotated[str | None, typer.Option(help="Hub revision of the data.")]
Revision = Annotated[str | None, typer.Option(help="Hub revision of the model.")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
]
