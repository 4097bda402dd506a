"""The documentation's settings: `make docs`. Every warning is an error there, a broken link among them."""

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Any

from sphinx.util.inspect import signature, stringify_signature

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(ROOT))  # this checkout, whatever is installed

project, author, language = "AdAP-TF", "the authors of AdAP-TF", "en"
release = importlib.metadata.version("adap-tf")
html_title, html_theme = f"{project} {release}", "furo"
html_copy_source = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3  # for links such as fidelity.md#evaluation
suppress_warnings = ["misc.highlighting_failure"]  # an example may leave out something, "…"
napoleon_use_ivar = True  # attributes are a list in their class, and no entries of the index
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
highlight_language = "none"  # most examples are commands and what they print

# What stands in backticks becomes a link where it names something on these pages, and is code elsewhere.
default_role = "py:obj"
nitpicky = True
OTHERS = r"(collections|keras|np|numpy|pathlib|tensorflow|tf|typing)\..*"
nitpick_ignore_regex = [("py:obj", r".*"), ("py:class", OTHERS), ("py:exc", OTHERS)]

FROM_README = {"](docs/": "](", "](CONTRIBUTING.md": "](contributing.md", "](notebooks/": "](../notebooks/"}
"""Where README.md's links lead to from this folder."""


def put_readme_first(app: Any, page: str, source: list[str]) -> None:
    """The first page is README.md."""
    if page == "index":
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        for there, here in FROM_README.items():
            text = text.replace(there, here)
        source[0] = text + "\n" + source[0]


def arguments_of(
    app: Any, what: str, name: str, value: Any, options: Any, found: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """The arguments of a Keras model, which its base class hides behind `__new__`."""
    if what == "class" and found == "(*args, **kwargs)":
        found = stringify_signature(signature(value.__init__, bound_method=True), unqualified_typehints=True)
    return found, returned


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", put_readme_first)
    app.connect("autodoc-process-signature", arguments_of)
