"""The image holds what it runs and no more; manifests start workers that find each other, with commands as accepted."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from train.options import parse
from train.workers import cluster

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy"
INDEX = "$(INDEX)"  # Kubernetes puts the pod's number there


def configs(name):
    """TF_CONFIG of every worker that a manifest starts."""
    text = re.sub(r"\s+", " ", (FOLDER / name).read_text())
    found = re.findall(r'{"cluster".*?}}', text)
    return [one.replace(INDEX, str(number)) for one in found for number in range(2 if INDEX in one else 1)]


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml"])
def test_workers_know_each_other(monkeypatch, name):
    found = []
    for config in configs(name):
        monkeypatch.setenv("TF_CONFIG", config)
        found.append(cluster())
    addresses, others = (each for each, _ in found)
    assert addresses == others
    assert [own for _, own in found] == list(addresses) == [("worker", 0), ("worker", 1)]


def test_the_containers_and_pods_have_the_names_in_tf_config():
    compose, kubernetes = ((FOLDER / name).read_text() for name in ("compose.yaml", "kubernetes.yaml"))
    for address in json.loads(configs("compose.yaml")[0])["cluster"]["worker"]:
        assert f"\n  {address.partition(':')[0]}:\n" in compose
    for number, address in enumerate(json.loads(configs("kubernetes.yaml")[0])["cluster"]["worker"]):
        assert address.startswith(f"adap-{number}.adap:")  # of an Indexed Job: its name, the number, its subdomain
    assert "subdomain: adap\n" in kubernetes
    assert "completions: 2\n" in kubernetes


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml"])
def test_the_commands_are_accepted(name):
    (words,) = re.findall(r"(?:command|args): \[(--.*?)\]", (FOLDER / name).read_text())
    assert parse(words.split(", "))


def test_the_linter_finds_nothing_in_the_dockerfile():
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if (hadolint := shutil.which("hadolint", path=places)) is None:
        pytest.skip("without hadolint")
    found = subprocess.run([hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "")


def test_an_image_gets_what_is_named_and_nothing_else():
    first, *others = re.findall(r"^[^#].*", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    named = {line.removeprefix("!") for line in others if line.startswith("!")}
    assert first == "*"
    assert named >= {
        "adap_tf",
        "train",
        *re.findall(r"^COPY (.*) /app/$", (ROOT / "Dockerfile").read_text(), re.M)[0].split(),
    }
    assert all((ROOT / each).exists() for each in named)


def test_no_service_is_open_to_others():
    texts = [path.read_text() for path in (ROOT / "Dockerfile", *FOLDER.iterdir())]
    assert not re.findall(r"^\s*(?:EXPOSE|ports:|hostNetwork:|network_mode:|privileged:).*", "\n".join(texts), re.M)
    assert "kind: NetworkPolicy\n" in (FOLDER / "kubernetes.yaml").read_text()
