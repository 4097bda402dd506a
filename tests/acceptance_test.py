"""The main job does what it is for, over three seeds, one of them at full length; all ten methods do."""

import json

import numpy as np
import pytest

from adap_tf import METHODS
from train import main


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "length"), [(0, []), (1, ["--epochs", "20"]), (2, ["--epochs", "20"])])
def test_adap_lpn_keeps_its_ap_under_attack_where_ce_loses_it(tmp_path, seed, length):
    out = tmp_path / "run"
    assert main.main(["--seed", str(seed), *length, "--out", str(out)]) == 0
    robust, plain = (json.loads((folder / "results.json").read_text())["test"] for folder in (out, tmp_path / "run-ce"))
    assert plain["clean"]["ap"] >= 0.95
    assert robust["pgd"]["ap"] >= plain["pgd"]["ap"] + 0.15


@pytest.mark.slow
def test_all_ten_methods_end_and_those_of_the_paper_survive_where_ce_and_ap_do_not(tmp_path):
    found = {}
    for method in METHODS:
        out = tmp_path / method
        assert main.main(["--method", method, "--baseline", "none", "--epochs", "20", "--out", str(out)]) == 0
        found[method] = json.loads((out / "results.json").read_text())["test"]
    assert all(np.isfinite(test[threat]["ap"]) for test in found.values() for threat in ("clean", "pgd"))
    undefended = max(found[method]["pgd"]["ap"] for method in ("ce", "ap"))
    ours = {method: test["pgd"]["ap"] for method, test in found.items() if method.startswith("adap")}
    assert len(ours) == 5
    assert min(ours.values()) >= undefended + 0.3
