"""Figures as SVG that stands within a page: in the page's colours and font, without names that could clash."""

import re
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

SVG, LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a name with a dollar is no formula
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
}
VARIABLES = {"#000000": "currentColor"} | {to_hex(f"C{n}"): f"var(--c{n}, {to_hex(f'C{n}')})" for n in range(10)}
DROPPED = ("metadata", "style", "title")
REFERENCE = re.compile(r"url\(#([^)]*)\)")


def inline(draw: Callable[[Path], None], key: str, text: str) -> str:
    """A figure as an SVG element, its text escaped: the same for the same numbers.

    Args:
        draw: writes the figure to a path.
        key: a word for it that no other figure of the page has.
        text: what to read to someone who cannot see it.
    """
    with tempfile.TemporaryDirectory() as folder, plt.rc_context({**STYLE, "svg.hashsalt": key}):
        path = Path(folder) / "figure.svg"
        with warnings.catch_warnings():  # the browser has fonts of its own
            warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
            draw(path)
        root = ElementTree.parse(path).getroot()
    adapt(root, key)
    width = root.attrib.pop("width").removesuffix("pt")
    del root.attrib["height"]
    root.attrib |= {"role": "img", "aria-label": text, "preserveAspectRatio": "xMinYMin"}
    root.attrib |= {"fill": "currentColor", "style": f"--width: {width}pt"}
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", LINK)
    return ElementTree.tostring(root, encoding="unicode")


def adapt(root: ElementTree.Element, key: str) -> None:
    """Puts `key` before all ids, the page's colours in the place of black and of the cycle, and leaves out the rest."""
    for parent in root.iter():
        for child in [each for each in parent if each.tag.removeprefix(f"{{{SVG}}}") in DROPPED]:
            parent.remove(child)
        for name, value in parent.attrib.items():
            if name == "id":
                parent.set(name, f"{key}-{value}")
            elif name == f"{{{LINK}}}href" and value.startswith("#"):
                parent.set(name, f"#{key}-{value[1:]}")
            else:
                parent.set(name, REFERENCE.sub(rf"url(#{key}-\1)", value))
        if style := parent.get("style"):
            parent.set("style", re.sub(r"#[0-9a-f]{6}", lambda found: VARIABLES.get(found[0], found[0]), style))
