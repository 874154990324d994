"""What the columns hold: names that are not there, parts that contradict, mapping files."""

import json

from tests.helpers.bad_inputs.case import Case, Place


def column(*options: object, words: tuple[str, ...]) -> Case:
    return Case(lambda p: p.option(*options), words)


def mapping(content: str | bytes, words: tuple[str, ...]) -> Case:
    return Case(lambda p: p.option("--mapping", p.write("m.yaml", content)), words)


def wide(p: Place) -> object:
    rows = [{"a": i, "b": i * i} for i in range(30)]
    return p.lines(*rows)


CASES: dict[str, Case] = {
    "a question that is not there": column(
        "--question-col", "ask", words=("'ask'", "--question-col")
    ),
    "a template with a column that is not there": column(
        "--question-col", "{ask}?", words=("'ask'", "--question-col")
    ),
    "a template without columns": column("--question-col", "{}", words=("'{}'", "--question-col")),
    "an empty column": column("--question-col", "", words=("row 1", "question is empty")),
    "choices that are not there": column("--choices-col", "a,b", words=("'a'", "--choices-col")),
    "one column of choices that are lists and one that is not": column(
        "--choices-col", "choices,topic", words=("label",)
    ),
    "one fixed choice": column("--fixed-choices", "yes", words=("--label-values",)),
    "fixed choices beside choices": column("--fixed-choices", "yes,no", words=("--label-values",)),
    "a label that is not there": column("--label-col", "gold", words=("'gold'", "--label-col")),
    "a label that is the question": column(
        "--label-col", "question", words=("Row 1", "--label-col")
    ),
    "a label of another kind": column("--label-kind", "letter", words=("Row 1", "--label-col")),
    "an unknown kind of label": column("--label-kind", "roman", words=("--label-kind", "letter")),
    "labels from 2": column("--label-base", "2", words=("--label-base",)),
    "labels from 1 that are 0": column("--label-base", "1", words=("row 8", "--label-values")),
    "values of labels that are none": column(
        "--label-values", "yes", words=("--label-values yes", "1=yes")
    ),
    "values of labels that are no choices": column(
        "--label-values", "0=red,1=blue", words=("Row 1", "--label-values")
    ),
    "a group that is not there": column(
        "--group-col", "subject", words=("'subject'", "--group-col")
    ),
    "two groups": column("--group-col", "half", words=("--group-col",)),
    "an id that is not there": column("--id-col", "uid", words=("'uid'", "--id-col")),
    "an id that is not unique": column("--id-col", "topic", words=("--skip-bad-rows",)),
    "a correct text that is not there": column(
        "--correct-col", "best", words=("'best'", "--correct-col")
    ),
    "a correct text without an incorrect one": column(
        "--correct-col", "topic", words=("--incorrect-col",)
    ),
    "incorrect texts without a correct one": column(
        "--incorrect-col", "topic", words=("--correct-col",)
    ),
    "a correct text and a label": column(
        "--correct-col", "topic", "--label-col", "label", words=("--incorrect-col",)
    ),
    "a candidate that is not there": column(
        "--candidate-col", "cand", words=("'cand'", "--candidate-col")
    ),
    "choices in a question without letters": column("--choices-in-question", words=("label",)),
    "letters that are maybe stripped": column(
        "--strip-letters", "maybe", words=("--strip-letters",)
    ),
    "columns that are not recognised": Case(lambda p: p.train(wide(p)), ("--question-col",)),
    "no mapping file": Case(
        lambda p: p.option("--mapping", p.folder / "none.yaml"), ("--mapping", "none.yaml")
    ),
    "a mapping file that is a folder": Case(
        lambda p: p.option("--mapping", p.folder), ("--mapping",)
    ),
    "a mapping file that is empty": mapping("", ("--mapping", "mapping, data")),
    "a mapping file that is a list": mapping("[1, 2]", ("--mapping",)),
    "a mapping file that is no YAML": mapping("a: [b", ("--mapping",)),
    "a mapping file that is no text": mapping(b"\xff\xfe\x00", ("--mapping",)),
    "a mapping file with an unknown field": mapping("mapping: {ask: x}", ("--mapping", "ask")),
    "a mapping file with an unknown part": mapping("columns: {}", ("--mapping", "columns")),
    "a mapping file whose part is a list": mapping(
        "mapping: [question]", ("--mapping", "mapping: give fields")
    ),
    "a mapping file whose part is a number": mapping("data: 7", ("--mapping", "data: give fields")),
    "a mapping file whose part is a text": mapping(
        "mapping: question", ("--mapping", "mapping: give fields")
    ),
    "a mapping file whose column is a list": mapping(
        "mapping: {question: [a]}", ("--question-col",)
    ),
    "a mapping file whose column is not there": mapping(
        "mapping: {question: ask}", ("--question-col", "ask")
    ),
    "a mapping file that names keys by numbers": mapping("1: 2", ("--mapping", "1")),
    "a mapping file whose fields are numbers": mapping("mapping: {1: a, b: c}", ("--mapping",)),
    "a mapping file that runs code": mapping(
        "mapping: !!python/object/apply:os.system ['true']", ("--mapping",)
    ),
    "a mapping file of aliases without end": mapping("a: &a [*a]", ("--mapping",)),
    "a mapping file of a billion laughs": mapping(
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [" + ",".join([f"*{chr(97 + i)}"] * 9) + "]\n"
            for i in range(9)
        ),
        ("--mapping",),
    ),
    "a mapping file with brackets without end": mapping("[" * 9000, ("--mapping",)),
    "a mapping file with a date that is none": mapping("mapping: 2024-99-99", ("--mapping",)),
    "a mapping file with a scoring that is none": mapping("scoring: logit", ("--scoring",)),
    "a mapping file with a scoring that is a list": mapping("scoring: [letter]", ("--scoring",)),
    "a mapping file with half a character": mapping(
        'mapping: {question: "\\ud800"}', ("--mapping", "half a character")
    ),
    "keeping the mapping of a built-in task": Case(
        lambda p: [
            "data",
            p.write("x.jsonl", json.dumps({"a": 1})),
            "--task",
            "mmlu",
            "--save-mapping",
            p.folder / "m.yaml",
        ],
        ("row 1", "question"),
    ),
    "keeping a mapping where it cannot be": Case(
        lambda p: ["data", p.toy(), "--save-mapping", p.folder / "none" / "m.yaml"],
        ("--save-mapping",),
    ),
    "a page where it cannot be": Case(lambda p: ["data", p.toy(), "--html", p.folder], ("--html",)),
}
