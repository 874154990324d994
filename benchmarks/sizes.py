"""Lengths of the built-in tasks' prompts, for the `planning` of a study file."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from pas.data.examples import Example
from pas.data.prompts import encode, full_prompt
from pas.data.splits import split
from pas.datasets import benchmarks
from pas.engine.trie import packs, trie_size
from pas.intake.items import parse_rows
from pas.intake.sources import Source, read_rows
from pas.methods.contrast import possible_texts
from pas.models.loading import ModelInfo, load_model_info
from pas.models.spec import ModelSpec
from storage.settings import settings

# What is absent is left out. Several files of one task are taken together.
FILES = {
    "bbq_disability_status": ["bbq/Disability_status.jsonl"],
    "bbq_gender_identity": ["bbq/Gender_identity.jsonl"],
    "bbq_nationality": ["bbq/Nationality.jsonl"],
    "bbq_physical_appearance": ["bbq/Physical_appearance.jsonl"],
    "bbq_race_ethnicity": ["bbq/Race_ethnicity.jsonl"],
    "bbq_race_x_gender": ["bbq/Race_x_gender.jsonl"],
    "bbq_race_x_ses": ["bbq/Race_x_SES.jsonl"],
    "bbq_religion": ["bbq/Religion.jsonl"],
    "bbq_ses": ["bbq/SES.jsonl"],
    "bbq_sexual_orientation": ["bbq/Sexual_orientation.jsonl"],
    "ethics_commonsense": ["ethics/cm_test.csv"],
    "ethics_deontology": ["ethics/deontology_test.csv"],
    "ethics_justice": ["ethics/justice_test.csv"],
    "sycophancy_agree": [
        "sycophancy/sycophancy_on_nlp_survey.jsonl",
        "sycophancy/sycophancy_on_political_typology_quiz.jsonl",
    ],
    "truthfulqa": ["truthfulqa/TruthfulQA.csv"],
    "openbookqa": ["openbookqa/dev_complete.jsonl", "openbookqa/test_complete.jsonl"],
    "arc_challenge": ["arc/ARC-Challenge-test.jsonl"],
    "lsat": ["lsat/lsat-ar.jsonl", "lsat/lsat-lr.jsonl", "lsat/lsat-rc.jsonl"],
    "mmlu": [
        f"mmlu/{subject}.jsonl"
        for subject in (
            "business_ethics",
            "high_school_mathematics",
            "high_school_physics",
            "philosophy",
            "sociology",
        )
    ],
}
_METHODS = ("pasf", "ipasa", "ipaswo")
_PACK = 2048


def read(task: str, files: Sequence[Path]) -> list[Example]:
    """Read files of one task; items of the second get ids of their own."""
    parse = benchmarks()[task].parse
    assert parse is not None
    return [
        example.__class__(**{**example.__dict__, "id": f"{file.stem}-{example.id}"})
        for file in files
        for example in parse_rows(read_rows(Source(str(file))), parse, task)
    ]


def measure(info: ModelInfo, examples: Sequence[Example]) -> dict[str, float]:
    """Means over the training items of the paper's split of seed 0, in tokens.

    `shared_tokens` are the tokens of an item that its neighbours in a pack have too.
    """
    train = split(examples, 0, "paper", 4000).train
    prompts = [encode(info, full_prompt(e, "letter")).token_ids for e in train]
    units = [
        [encode(info, text).token_ids for text in possible_texts(_METHODS, e, "letter")]
        for e in train
    ]
    alone = sum(map(trie_size, units))
    laid_out = sum(cut.tokens for cut in packs(units, _PACK))
    choices = fmean(len(e.choices) for e in train)
    said = [alone_of - len(p) for alone_of, p in zip(map(trie_size, units), prompts, strict=True)]
    return {
        "items": len(examples),
        "choices": round(choices, 2),
        "prompt_tokens": round(fmean(map(len, prompts)), 1),
        "choice_tokens": round(fmean(said) / choices, 1),
        "shared_tokens": round((alone - laid_out) / len(train), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sizes",
        description=__doc__,
        epilog="example:\n  python -m benchmarks.sizes --data ../shared/data",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the upstream files")
    options = parser.parse_args()
    info = load_model_info(ModelSpec("demo"), settings().cache_dir)
    for task, names in FILES.items():
        files = [options.data / name for name in names if (options.data / name).is_file()]
        if not files:
            print(f"# {task}: there is no file for this task")
            continue
        facts = measure(info, read(task, files))
        print(f"{task}: {{{', '.join(f'{name}: {value}' for name, value in facts.items())}}}")


if __name__ == "__main__":
    main()
