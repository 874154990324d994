"""Where a study cell's result is kept."""

from pathlib import Path

from pas.recipe import Recipe
from pas.study.plan import StudyCell
from tasks.results import result_stage
from tests.helpers.chat_templates import CHATML
from tests.helpers.data_files import write_toy
from tests.helpers.tiny_models import save_tiny


def test_a_plain_prompt_changes_no_address_and_a_chat_prompt_does(
    home: Path, tmp_path: Path, tiny_folder: Path
) -> None:
    chatty = str(save_tiny("llama", tmp_path / "chat", chat_template=CHATML.text))
    recipe = Recipe(
        task="toy", data=str(write_toy(tmp_path / "toy.jsonl")), model=str(tiny_folder), layers="1"
    )

    def fields(**changes: object) -> set[str]:
        where = result_stage(StudyCell("main", "", recipe.but(**changes)))
        return {*where.ingredients["recipe"]}

    of_prompts = {"prompt", "system", "close_thinking"}
    assert not fields() & of_prompts and not fields(model=chatty, prompt="plain") & of_prompts
    assert not fields(model=chatty, protocol="paper") & of_prompts
    assert fields(model=chatty, system="Be brief.") >= of_prompts
