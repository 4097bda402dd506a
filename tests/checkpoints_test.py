"""Checkpoints: whole or not there, and what is done about damaged ones and full disks."""

import resource

import numpy as np
import pytest
import tensorflow as tf

from train.checkpoints import Checkpoints
from train.errors import UsageError


@pytest.fixture
def variables():
    return [tf.Variable(tf.zeros([1000])), tf.Variable(0, dtype=tf.int64)]


def save(checkpoints, variables, *steps):
    """Checkpoints in which every number is the step's."""
    for step in steps:
        for variable in variables:
            variable.assign(tf.fill(variable.shape, tf.cast(step, variable.dtype)))
        checkpoints.save(step)


def values(variables):
    return [set(np.ravel(variable.numpy()).tolist()) for variable in variables]


def test_the_newest_comes_back(tmp_path, variables):
    checkpoints = Checkpoints(tmp_path / "checkpoints", variables)
    assert str(checkpoints) == "none"
    assert checkpoints.restore() == 0
    assert values(variables) == [{0}, {0}]
    save(checkpoints, variables, 5, 9, 10)
    assert str(checkpoints) == str(tmp_path / "checkpoints" / "step-10")  # 10 is after 9, whatever their names' order
    for variable in variables:
        variable.assign(tf.zeros_like(variable))
    assert Checkpoints(tmp_path / "checkpoints", variables).restore() == 10
    assert values(variables) == [{10}, {10}]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-10", "step-9"]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [flip, cut, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("file", ["state.index", "state.data-00000-of-00001"])
def test_a_damaged_one_falls_back_to_the_one_before_and_says_so(tmp_path, variables, capsys, damage, file):
    checkpoints = Checkpoints(tmp_path, variables)
    save(checkpoints, variables, 1, 2)
    damage(tmp_path / "step-2" / file)
    assert checkpoints.restore() == 1
    assert values(variables) == [{1}, {1}]
    assert str(tmp_path / "step-2") + " is damaged (" in capsys.readouterr().err
    save(checkpoints, variables, 2)  # the place is free for the step when it comes again
    assert checkpoints.restore() == 2
    assert capsys.readouterr().err == ""


def test_without_a_readable_one_the_variables_stay_as_they_are(tmp_path, variables, capsys):
    checkpoints = Checkpoints(tmp_path, variables)
    save(checkpoints, variables, 1, 2)
    for step in (1, 2):
        flip(tmp_path / f"step-{step}" / "state.data-00000-of-00001")
    variables[0].assign(tf.ones_like(variables[0]))
    assert checkpoints.restore() == 0
    assert values(variables) == [{1}, {2}]
    assert capsys.readouterr().err.count("is damaged") == 2


def test_a_full_disk_is_one_line_and_leaves_the_last_good_one(tmp_path, variables):
    checkpoints = Checkpoints(tmp_path, variables)
    save(checkpoints, variables, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as if there were room for no more
    try:
        with pytest.raises(UsageError) as caught:
            save(checkpoints, variables, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value).startswith(f"cannot write {tmp_path / 'step-2'}: ")
    assert str(caught.value).endswith(f"last good checkpoint: {tmp_path / 'step-1'}")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert checkpoints.restore() == 1


def test_what_a_killed_call_left_half_written_is_no_checkpoint(tmp_path, variables):
    checkpoints = Checkpoints(tmp_path, variables)
    save(checkpoints, variables, 1)
    (tmp_path / ".part").mkdir()
    (tmp_path / ".part" / "state.index").write_bytes(b"half")
    assert checkpoints.restore() == 1
    save(checkpoints, variables, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-1", "step-2"]


def test_one_is_due_when_the_last_is_old(tmp_path, variables):
    assert not Checkpoints(tmp_path, variables, minutes=60).due
    assert Checkpoints(tmp_path, variables, minutes=0).due
    assert not Checkpoints(tmp_path, variables).due
