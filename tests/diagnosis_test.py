"""Each sign of a weak attack, alone, and a sound result without any."""

import pytest

from adap_tf import doubts

SOUND = {"clean": 0.9, "fgsm": 0.62, "pgd": 0.6, "apgd": 0.59, "square": 0.7, "transfer": 0.8}


def signs(ap=SOUND, **others):
    return [doubt.sign for doubt in doubts(ap, **others)]


def test_a_sound_result_has_no_sign():
    assert signs(zero_gradients=0.0, doubled={"apgd": 0.581}) == []
    assert signs({"clean": 0.9}) == []
    assert signs({}) == []


@pytest.mark.parametrize("threat", ["square", "transfer"])
def test_a_black_box_threat_that_is_stronger(threat):
    assert signs({**SOUND, threat: 0.586}) == []
    (doubt,) = doubts({**SOUND, threat: 0.5})
    assert doubt.sign == "black_box_stronger"
    assert doubt.text.startswith(f"{threat}, without the gradient, gives a lower AP (0.5000) than apgd (0.5900)")


def test_a_single_step_that_is_stronger():
    assert signs({**SOUND, "fgsm": 0.586}) == ["single_step_stronger"]
    (doubt,) = doubts({**SOUND, "fgsm": 0.586})
    assert doubt.text.startswith("fgsm, a single step, gives a lower AP (0.5860) than pgd (0.6000): ")
    (doubt,) = doubts({**SOUND, "fgsm": 0.55})
    assert "than pgd (0.6000) and apgd (0.5900): " in doubt.text


def test_black_box_threats_are_measured_by_a_single_step_where_there_is_no_other():
    assert signs({"clean": 0.9, "fgsm": 0.6, "square": 0.5}) == ["black_box_stronger"]
    assert signs({"clean": 0.9, "fgsm": 0.6, "square": 0.6}) == []
    assert signs({"clean": 0.9, "square": 0.5}) == []


@pytest.mark.parametrize("threat", ["surrogate", "listwise"])
def test_an_attack_on_the_ranking_that_is_stronger(threat):
    assert signs({**SOUND, threat: 0.586}) == []
    (doubt,) = doubts({**SOUND, threat: 0.58})
    assert doubt.sign == "ranking_attack_stronger"
    assert "(0.5800) than apgd (0.5900): " in doubt.text
    assert signs({"clean": 0.9, threat: 0.5}) == []


def test_gradients_that_are_zero():
    (doubt,) = doubts(SOUND, zero_gradients=0.25)
    assert doubt.sign == "zero_gradients"
    assert doubt.text.startswith("25.0% of the examples")


def test_an_attack_that_has_not_come_to_its_end():
    (doubt,) = doubts(SOUND, doubled={"apgd": 0.579})
    assert doubt.sign == "still_falling"
    assert "from 0.5900 to 0.5790" in doubt.text


def test_all_at_once():
    found = signs({**SOUND, "fgsm": 0.1, "square": 0.1}, zero_gradients=1.0, doubled={"pgd": 0.1})
    assert found == ["zero_gradients", "black_box_stronger", "single_step_stronger", "still_falling"]
