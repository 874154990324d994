"""What a pass over the model leaves in the lake, while other trainings fill it too."""

from pathlib import Path

from storage.lake.stages import read_split
from tasks import resources
from tasks.extract import extract_shard, plan, run_shard
from tasks.load import load
from tasks.shares import Unit
from tests.helpers.recipes import toy


def test_answers_of_another_training_do_not_stand_for_activations(
    home: Path, tmp_path: Path, tiny_folder: Path
) -> None:
    """Two trainings of the same items at other layers plan at once, and one is faster."""
    del home
    slower, faster = toy(tmp_path, tiny_folder), toy(tmp_path, tiny_folder, layers="0,3")
    train = read_split(resources.lake(), load.fn(slower)).train
    todo, ahead = plan(slower, train), plan(faster, train)
    answers = [shard.addresses[-1] for shard in todo.shards if shard.texts and shard.items]
    assert answers and {*answers} <= {shard.addresses[-1] for shard in ahead.shards}
    for shard in ahead.shards:
        run_shard(faster, shard)
    units = [Unit(shard.addresses, (), ()) for shard in todo.shards]
    assert all(resources.lake().exists(address) for address in answers)
    assert not any(unit.is_filled for unit in units if len(unit.addresses) == 2)
    for number, shard in enumerate(todo.shards, start=1):
        extract_shard.fn(slower, shard, number, len(units), 1, addresses=shard.addresses)
    assert all(unit.is_filled for unit in units)
    assert plan(slower, train).shards == []
