"""Options of a training: values of another kind, out of range, or that do not fit together."""

from tests.helpers.bad_inputs.case import NAME, Case


def option(*options: object, words: tuple[str, ...]) -> Case:
    return Case(lambda p: p.option(*options), words)


CASES: dict[str, Case] = {
    "an unknown option": option("--layer", "1", words=("--layer",)),
    "an option without its value": option("--layers", words=("--layers",)),
    "a layer that is not there": option("--layers", "1,77", words=("layer 77", "0 to 3")),
    "a layer below 0": option("--layers=-1", words=("--layers -1", "0 to 3")),
    "a layer that is half": option("--layers", "1.5", words=("--layers 1.5",)),
    "a layer beyond all numbers": option("--layers", "9" * 400, words=("--layers", "0 to 3")),
    "a layer of 9,000 digits": option("--layers", "9" * 9000, words=("--layers", "auto")),
    "no layer": option("--layers", "", words=("--layers",)),
    "layers with a space": option("--layers", "1 2", words=("--layers",)),
    "strengths in words": option("--strengths", "strong", words=("--strengths strong",)),
    "a strength that is no number": option("--strengths", "nan", words=("--strengths",)),
    "a strength without end": option("--strengths", "1,inf", words=("--strengths",)),
    "a strength beyond all numbers": option("--strengths", "1e999", words=("--strengths",)),
    "no strengths": option("--strengths", ",", words=("--strengths", "auto")),
    "an unknown method": option("--methods", "pas", words=("--methods", "ipaswo")),
    "the control alone": option("--methods", "random", words=("--methods",)),
    "no method": option("--methods", "", words=("--methods", "caa")),
    "an unknown protocol": option(
        "--protocol", "fast", words=("--protocol fast", "sound", "paper")
    ),
    "an unknown scoring": option("--scoring", "logit", words=("--scoring", "letter")),
    "an unknown style of prompts": option("--prompt", "html", words=("--prompt", "chat")),
    "an unknown site": option("--site", "head", words=("--site head", "mlp_norm")),
    "a seed that is half": option("--seed", "0.5", words=("--seed",)),
    "a seed that is none": option("--seed", "none", words=("--seed",)),
    "an unknown rule of splits": option("--split-rule", "fair", words=("--split-rule", "stable")),
    "too few items": option("--max-items", "4", words=("--max-items", "5")),
    "items below 0": option("--max-items=-5", words=("--max-items",)),
    "items in words": option("--max-items", "many", words=("--max-items", "none")),
    "no training items": option("--train-items", "0", words=("--train-items",)),
    "more training items than there are": option(
        "--train-items", "1000", words=("--train-items 1000", "only 36")
    ),
    "shots below 0": option("--shots=-1", words=("--shots",)),
    "more shots than items": option("--shots", "500", words=("--shots 500", "Use fewer"))._replace(
        begins=True
    ),
    "an unknown rule of selection": option("--select", "worst", words=("--select", "one-se")),
    "an instruction without a word": option("--instruction", " ", words=("--instruction",)),
    "worked examples below 0": option("--asked-examples=-1", words=("--asked-examples",)),
    "no damage allowed": option("--max-kl", "0", words=("--max-kl 0", "none")),
    "damage that is no number": option("--max-kl", "nan", words=("--max-kl",)),
    "an unknown dtype": option("--dtype", "float8", words=("--dtype", "bfloat16")),
    "an unknown device": option("--device", "tpu", words=("tpu", "cuda or mps")),
    "a device that is not there": option("--device", "cuda:99", words=("cuda:99", "cpu")),
    "an unknown quantization": option("--quantization", "2bit", words=("--quantization", "4bit")),
    "a system message for a model without chat": option(
        "--system", "Be brief.", words=("--system",)
    ),
    "thinking of a model without chat": option("--close-thinking", words=("--close-thinking",)),
    "chat with a model without chat": option("--prompt", "chat", words=("--prompt plain",)),
    "no workers": option("--workers", "0", words=("--workers",)),
    "keeping splits of a file": option("--keep-splits", words=("--keep-splits",)),
    "no task": Case(lambda p: ["train", "--data", p.toy(), "--model", p.model], ("--task",)),
    "an empty task": Case(lambda p: ["train", "--task", "", "--data", p.toy()], ("--task",)),
    "a task that is a path": Case(
        lambda p: ["train", "--task", "../x", "--data", p.toy()], ("--task",)
    ),
    "a task with half a character": Case(
        lambda p: ["train", "--task", "to\udcffy", "--data", p.toy()], ("UTF-8",)
    ),
    "a misspelt task": Case(lambda p: ["train", "--task", "bqq_age"], ("not built in", "bbq_age")),
    "a task that needs data": Case(
        lambda p: ["train", "--task", "truthfulqa", "--data", p.toy(), "--model", p.model],
        ("row 1", "Question"),
    ),
    "data of another task": Case(
        lambda p: ["train", "--task", "bbq_age", "--data", p.toy(), "--model", p.model],
        ("row 1", "category"),
    ),
    "an unknown command": Case(lambda p: ["trian"], ("trian",)),
    "a word too many": Case(lambda p: ["rollback", NAME, "now"], ("now",)),
    "epochs below 0": Case(lambda p: ["finetune", *p.option()[1:], "--epochs=-1"], ("--epochs",)),
    "a rate that is no number": Case(
        lambda p: ["finetune", *p.option()[1:], "--learning-rate", "nan"], ("--learning-rate",)
    ),
    "a rank of 0": Case(lambda p: ["finetune", *p.option()[1:], "--rank", "0"], ("--rank",)),
}
