"""The paper's numbers as they were copied: complete, and those that contradict others are marked."""

import itertools

import numpy as np
import pytest

from experiments import published
from experiments.entries import ENTRIES
from experiments.measures import MEASURES

MEANS = {
    "table10": ("table2", "CIFAR-10 (average)"),
    "table11": ("table2", "CIFAR-100 (average)"),
    "table12": ("table3", "CIFAR-10 (average)"),
    "table13": ("table3", "CIFAR-100 (average)"),
    "table14": ("table4", "CIFAR-10 (average)"),
}
"""Tables by class, and where their means stand."""

SAME_CLEAN = (("table10", "table12", "table14"), ("table11", "table13"), ("table2", "table3", "table4", "table5"))
ROUNDING = 1e-4  # of a mean of ten rounded numbers, against a rounded one


def marked(name):
    return {key[1:] for key, number in published.read(name).items() if number.mark not in ("", published.ABSENT)}


def rows_off(name):
    """The rows and parts whose means over the classes are not what the paper gives as the mean, or its deviation."""
    table, (means, column) = published.read(name), MEANS[name]
    for row, part in itertools.product(dict.fromkeys(key[1] for key in table), ("Robust", "Clean")):
        numbers = [table["", row, f"class_{k}", part] for k in range(10)]
        if any(number.mark == published.ABSENT for number in numbers):
            continue
        mean = published.read(means)["", row, column, part]
        off = abs(np.mean([number.mean for number in numbers]) - mean.mean)
        spread_off = abs(np.mean([number.std for number in numbers]) - mean.std)
        if max(off, spread_off) > ROUNDING + 1e-9:
            yield row, part


def test_a_number_by_hand():
    table = published.read("table2")
    assert str(table["", "AdAP_LPN", "CIFAR-10 (average)", "Robust"]) == "0.3301(0.0022)"
    assert table["", "CE Min.", "BDD100K(tunnel)", "Clean"][:2] == ("0.6289", 0.0215)
    assert published.read("table9")["CIFAR100(cls_2)", "AdAP_LPN", "λ = 1", "Robust"].mean == 0.3859
    assert published.read("table8")["BDD100K(rainy)", "γ1 = 0.9", "γ2 = 0.1", "Robust"].mean == 0.2522
    assert str(published.read("table15")["", "PGD", "class_3", "Clean"]) == "absent"
    assert published.read("table1")["", "AdAP_LN", "Optimization", ""].mean is None
    assert published.read("figure4") == {}


@pytest.mark.parametrize(
    ("number", "count"), [(2, 112), (3, 112), (4, 96), (5, 40), (6, 48), (7, 28), (8, 50), (9, 224)]
)
def test_tables_are_whole(number, count):
    found = published.read(f"table{number}")
    assert len(found) == count
    assert published.ABSENT not in {each.mark for each in found.values()}


@pytest.mark.parametrize("name", [f"table{number}" for number in range(2, 16) if number != 6])
def test_an_entry_has_the_cells_that_the_paper_prints(name):
    entry = ENTRIES[name]
    parts = MEASURES[entry.measure].parts
    cells = {(cell.block, cell.row, cell.column, part) for cell in entry.cells for part in parts}
    assert cells == set(published.read(name))


def test_what_our_copy_lacks_is_absent():
    lacking = [key[1:] for key, number in published.read("table14").items() if number.mark == published.ABSENT]
    after = [
        (row, f"class_{k}", part) for row in ("MART", "AdAP_LN", "AdAP_LPN") for k in range(5, 10) for part in "RC"
    ]
    assert len(lacking) == 5 + len(after)
    assert ("TRADES", "class_7", "Clean") in lacking
    assert ("TRADES", "class_7", "Robust") not in lacking
    assert all(number.mark == published.ABSENT and number.mean is None for number in published.read("table15").values())


@pytest.mark.parametrize("name", MEANS)
def test_rows_whose_mean_is_another_have_a_marked_cell(name):
    means, column = MEANS[name]
    told = {(row, part) for row, _, part in marked(name)}
    told |= {(row, part) for row, where, part in marked(means) if where == column}
    assert set(rows_off(name)) <= told


def test_the_rows_that_contradict_their_means():
    assert {name: sorted(rows_off(name)) for name in MEANS} == {
        "table10": [("AdAP_LN", "Clean")],
        "table11": [
            ("AP Max.", "Robust"),
            ("AdAP_LN", "Clean"),
            ("AdAP_LPN", "Clean"),
            ("PGD", "Clean"),
            ("PGD", "Robust"),
            ("TRADES", "Clean"),
        ],
        "table12": [
            ("AdAP_LPN", "Robust"),
            ("MART", "Clean"),
            ("MART", "Robust"),
            ("PGD", "Clean"),
            ("PGD", "Robust"),
            ("TRADES", "Clean"),
        ],
        "table13": [
            ("AP Max.", "Robust"),
            ("AdAP_LPN", "Robust"),
            ("MART", "Robust"),
            ("PGD", "Clean"),
            ("PGD", "Robust"),
            ("TRADES", "Clean"),
        ],
        "table14": [("PGD", "Clean"), ("PGD", "Robust")],
    }


@pytest.mark.parametrize("names", SAME_CLEAN)
def test_a_network_has_one_clean_ap_unless_that_is_marked(names):
    tables = [published.read(name) for name in names]
    for key in {key for table in tables for key in table if key[3] == "Clean"}:
        there = {name: table[key] for name, table in zip(names, tables, strict=True) if key in table}
        printed = {name: number[:2] for name, number in there.items() if number.mark != published.ABSENT}
        if len(set(printed.values())) > 1:
            assert any(there[name].mark for name in printed), key


def test_robust_ap_above_clean_ap_is_marked():
    for name in ("table2", "table3", "table4", "table5", *MEANS):
        table = published.read(name)
        for (_, row, column, _), robust in ((key, x) for key, x in table.items() if key[3] == "Robust"):
            clean = table["", row, column, "Clean"]
            if robust.mean is not None and clean.mean is not None and robust.mean > clean.mean:
                assert robust.mark or clean.mark, (name, row, column)


def test_averages_of_seconds_are_those_of_the_runs():
    table = published.read("table7")
    for row, average in published.seconds().items():
        assert average == pytest.approx(
            np.mean([table["", row, f"Run {k}", "Seconds"].mean for k in (1, 2, 3)]), abs=0.005
        )
