"""The documentation builds without a warning and has every public name."""

import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import adap_tf

ROOT = Path(__file__).resolve().parents[1]
NAMES = [
    f"{module.__name__}.{name}"
    for module in (adap_tf, adap_tf.data)
    for name, line in re.findall(r"^from \S+ import (\w+) as (\w+)$", Path(module.__file__).read_text(), re.MULTILINE)
]


def command():
    """What `make docs` calls, but for the folder that it writes."""
    makefile = (ROOT / "Makefile").read_text()
    (arguments,) = re.findall(r"^\t\$\(BIN\)/python (-m sphinx .*) site$", makefile, re.MULTILINE)
    return [sys.executable, *arguments.split()]


def documented(inventory):
    """The names of Python objects, from the `objects.inv` of a site: four lines of header, then compressed lines."""
    text = zlib.decompress(inventory.read_bytes().split(b"\n", 4)[4]).decode()
    return {line.split()[0] for line in text.splitlines() if line.split()[1].startswith("py:")}


@pytest.mark.slow
def test_docs_build_and_hold_every_public_name(tmp_path):
    done = subprocess.run([*command(), str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING: " not in re.sub(r"WARNING: All log messages before absl.*", "", done.stderr)
    assert len(NAMES) > 40
    assert not set(NAMES) - documented(tmp_path / "objects.inv")
    pages = {path.stem for path in tmp_path.glob("*.html")}
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} <= pages
    assert "https://" not in "".join(re.findall(r"<(?:script|link)[^>]*>", (tmp_path / "index.html").read_text()))
