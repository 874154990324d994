"""Answer the prompts of a table with a champion: a flow of another team's, downstream of ours.

It needs MLflow and its MLFLOW_TRACKING_URI alone; the version brings its code with it. The
deployment in examples/prefect.yaml starts it whenever a vector has a new champion.
"""

import mlflow
import pandas as pd
from prefect import flow


@flow(name="downstream", flow_run_name="answer {table} with {name}")
def answer(name: str, table: str) -> str:
    """Add the column `reply` to a CSV file with the column `prompt`; return the new file."""
    champion = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    rows = pd.read_csv(table)
    rows["reply"] = champion.predict(rows[["prompt"]], params={"max_new_tokens": 20})
    answered = table.removesuffix(".csv") + "-answered.csv"
    rows.to_csv(answered, index=False)
    return answered
