"""The main job does what it is for, over three seeds: full trainings, a minute each."""

import json

import pytest

from train import main


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_adap_lpn_keeps_its_ap_under_attack_where_ce_loses_it(tmp_path, seed):
    out = tmp_path / "run"
    assert main.main(["--seed", str(seed), "--out", str(out)]) == 0
    robust, plain = (json.loads((folder / "results.json").read_text())["test"] for folder in (out, tmp_path / "run-ce"))
    assert plain["clean"]["ap"] >= 0.95
    assert robust["pgd"]["ap"] >= plain["pgd"]["ap"] + 0.15
