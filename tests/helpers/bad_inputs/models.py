"""Models: folders with damaged or missing files, and names of none."""

import json
from collections.abc import Callable
from pathlib import Path

from safetensors.numpy import load_file, save_file

from tests.helpers.bad_inputs.case import Case, Place

Change = Callable[[Path], object]


def model(change: Change, words: tuple[str, ...], *options: object) -> Case:
    """A copy of the model with a change; the data are good."""

    def command(p: Place) -> list[object]:
        folder = p.copy_of_model()
        change(folder)
        return p.option("--model", folder, "--layers", "1", "--strengths", "1", *options)

    return Case(command, words)


def at_work(case: Case) -> Case:
    """The same case, noticed when the weights are loaded."""
    return case._replace(begins=True)


def named(name: str, words: tuple[str, ...]) -> Case:
    return Case(lambda p: p.option("--model", name), words)


def without(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def put(name: str, content: str | bytes) -> Change:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def cut(name: str, share: float) -> Change:
    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return change


def facts(name: str, **fields: object) -> Change:
    def change(folder: Path) -> None:
        held = json.loads((folder / name).read_text()) | fields
        (folder / name).write_text(json.dumps({k: v for k, v in held.items() if v is not ...}))

    return change


def weights(edit: Callable[[dict], object]) -> Change:
    def change(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return change


def lost(tensors: dict) -> None:
    del tensors["model.layers.1.mlp.up_proj.weight"]


def narrowed(tensors: dict) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name] = tensors[name][:, :7].copy()


def unfinished(tensors: dict) -> None:
    name = "model.layers.0.mlp.down_proj.weight"
    tensors[name] = tensors[name] * float("nan")


def sharded(index: object) -> Change:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(
            index if isinstance(index, str) else json.dumps(index)
        )

    return change


def tokens(edit: Callable[[dict], object]) -> Change:
    def change(folder: Path) -> None:
        held = json.loads((folder / "tokenizer.json").read_text())
        edit(held)
        (folder / "tokenizer.json").write_text(json.dumps(held))

    return change


CONFIG, TOKENS, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
CASES: dict[str, Case] = {
    "no folder": named("./nowhere", ("--model ./nowhere",)),
    "no name": named("", ("--model",)),
    "a blank name": named("  ", ("--model",)),
    "an endless name": named("x" * 5000, ("--model",)),
    "a home of nobody": named("~nobody-at-all/model", ("--model",)),
    "a name that is a path upwards": named("../../etc", ("--model",)),
    "a name with half a character": named("mo\udcffdel", ("UTF-8",)),
    "a GGUF file that is not there": named("none.gguf", ("none.gguf",)),
    "a file": Case(lambda p: p.option("--model", p.toy()), ("--model",)),
    "an empty folder": Case(lambda p: p.option("--model", p.folder), ("config.json",)),
    "a GGUF file that is text": Case(
        lambda p: p.option("--model", p.write("m.gguf", "hello")), ("--model", "m.gguf")
    ),
    "a GGUF file that is its start": Case(
        lambda p: p.option("--model", p.write("m.gguf", b"GGUF\3\0\0\0" + bytes(16))),
        ("--model", "m.gguf"),
    ),
    "a GGUF file that is empty": Case(
        lambda p: p.option("--model", p.write("m.gguf", "")), ("--model", "m.gguf")
    ),
    "no configuration": model(without(CONFIG), ("config.json",)),
    "an empty configuration": model(put(CONFIG, ""), ("config.json",)),
    "a configuration that is no JSON": model(put(CONFIG, "{nope"), ("config.json",)),
    "a configuration that is a list": model(put(CONFIG, "[]"), ("config.json",)),
    "a configuration that is no text": model(put(CONFIG, b"\xff\xfe\xff"), ("config.json",)),
    "a configuration without end": model(put(CONFIG, '{"a":' * 5000), ("--model",)),
    "a configuration of nothing": model(put(CONFIG, "{}"), ("--model",)),
    "an unknown architecture": model(facts(CONFIG, model_type="llamma"), ("--model",)),
    "an architecture that is a number": model(facts(CONFIG, model_type=7), ("--model",)),
    "an architecture of images": at_work(
        model(facts(CONFIG, model_type="vit", architectures=["ViTModel"]), ("--model",))
    ),
    "a width in words": model(facts(CONFIG, hidden_size="wide"), ("--model",)),
    "a width of 0": at_work(model(facts(CONFIG, hidden_size=0), ("--model",))),
    "a width below 0": at_work(model(facts(CONFIG, hidden_size=-48), ("--model",))),
    "another width": at_work(model(facts(CONFIG, hidden_size=64), ("--model",))),
    "no layers": model(facts(CONFIG, num_hidden_layers=0), ("--model",)),
    "layers in words": model(facts(CONFIG, num_hidden_layers="four"), ("--model",)),
    "more layers than weights": at_work(model(facts(CONFIG, num_hidden_layers=5), ("--model",))),
    "heads that do not fit": model(facts(CONFIG, num_attention_heads=5), ("--model",)),
    "a window in words": model(facts(CONFIG, max_position_embeddings="long"), ("--model",)),
    "a window of 8 tokens": model(facts(CONFIG, max_position_embeddings=8), ("window of 8",)),
    "a window of 0": model(facts(CONFIG, max_position_embeddings=0), ("window",)),
    "an unknown dtype": model(facts(CONFIG, dtype="float7"), ("--model",)),
    "a dtype that is no float": model(facts(CONFIG, dtype="int64"), ("--model",)),
    "a dtype that is a number": model(facts(CONFIG, dtype=16), ("--model",)),
    "an unknown activation": at_work(model(facts(CONFIG, hidden_act="swish9"), ("--model",))),
    "code of its own": model(
        facts(
            CONFIG,
            auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"},
            model_type="own",
        ),
        ("--model",),
    ),
    "no tokenizer": model(lambda f: [p.unlink() for p in f.glob("token*")], ("--model",)),
    "a tokenizer that is no JSON": model(put(TOKENS, "{nope"), ("--model",)),
    "a tokenizer that is empty": model(put(TOKENS, ""), ("--model",)),
    "a tokenizer that is cut": model(cut(TOKENS, 0.5), ("--model",)),
    "a tokenizer of nothing": model(put(TOKENS, "{}"), ("--model",)),
    "a tokenizer of an unknown kind": model(
        tokens(lambda t: t["model"].update(type="XYZ")), ("--model",)
    ),
    "a tokenizer with more words than the model": model(
        tokens(
            lambda t: t["model"]["vocab"].update(
                {k: v + 400 for k, v in t["model"]["vocab"].items() if v > 50}
            )
        ),
        ("--model",),
    ),
    "a configuration of the tokenizer that is a list": model(
        put("tokenizer_config.json", "[]"), ("--model",)
    ),
    "a configuration of the tokenizer that is no JSON": model(
        put("tokenizer_config.json", "{"), ("--model",)
    ),
    "a chat template that is none": model(
        facts("tokenizer_config.json", chat_template="{% for m in %}"), ("template",)
    ),
    "a chat template that fails": model(
        facts("tokenizer_config.json", chat_template="{{ 1 / 0 }}"), ("template",)
    ),
    "a chat template of an unknown name": model(
        facts("tokenizer_config.json", chat_template="{{ messages.nope.nope }}"), ("template",)
    ),
    "a chat template that is a number": model(
        facts("tokenizer_config.json", chat_template=7), ("template",)
    ),
    "a chat template that leaves the question out": model(
        facts("tokenizer_config.json", chat_template="hello"), ("--prompt chat", "--prompt plain")
    ),
    "no weights": model(without(WEIGHTS), ("--model", "no weights")),
    "empty weights": model(put(WEIGHTS, b""), ("--model",)),
    "weights that are text": model(put(WEIGHTS, "hello, this is no file of weights"), ("--model",)),
    "weights that are cut": model(cut(WEIGHTS, 0.9), ("--model",)),
    "weights whose head is cut": model(cut(WEIGHTS, 0.001), ("--model",)),
    "a lost tensor": at_work(model(weights(lost), ("--model", "up_proj"))),
    "a tensor of another shape": at_work(model(weights(narrowed), ("--model",))),
    "a tensor that is not finite": at_work(model(weights(unfinished), ("finite",))),
    "a pickle of something else": at_work(
        model(
            lambda f: (without(WEIGHTS)(f), put("pytorch_model.bin", b"\x80\x04cos\nsystem\n.")(f)),
            ("--model",),
        )
    ),
    "an index that is no JSON": model(sharded("{nope"), ("index.json",)),
    "an index that is a list": model(sharded([]), ("index.json",)),
    "an index without places": model(sharded({}), ("index.json",)),
    "an index whose places are a list": model(sharded({"weight_map": [1]}), ("index.json",)),
    "an index whose places are numbers": model(sharded({"weight_map": {"a": 1}}), ("index.json",)),
    "an index of files elsewhere": model(
        sharded({"weight_map": {"a": "../../other.safetensors"}}), ("index.json",)
    ),
    "an index of files that are missing": model(
        sharded({"weight_map": {"a": "model-00001.safetensors"}}), ("missing", "model-00001")
    ),
    "a folder in place of weights": model(
        lambda f: (without(WEIGHTS)(f), (f / WEIGHTS).mkdir()), ("--model",)
    ),
    "a folder in place of the configuration": model(
        lambda f: (without(CONFIG)(f), (f / CONFIG).mkdir()), ("config.json",)
    ),
}
