"""Builds SVG and HTML as element trees, so that whatever text a run carries is escaped by the library."""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree

Element = ElementTree.Element
SVG: Final = "http://www.w3.org/2000/svg"
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """Text without what XML cannot hold: engines pass on what a container has written."""
    return _NOT_IN_XML.sub("\ufffd", text)


def add(parent: Element, tag: str, text: str = "", /, **attributes: str | float) -> Element:
    """Add an element below another.

    Args:
        parent: above it.
        tag: its name.
        text: its text; what is added to it later comes after.
        attributes: `class_` stands for `class`, other underscores for hyphens; numbers to one decimal.
    """
    made = ElementTree.SubElement(parent, tag, {_name(name): _value(value) for name, value in attributes.items()})
    if text:
        made.text = clean(text)
    return made


def svg_text(root: Element) -> str:
    """As a file of its own."""
    root.set("xmlns", SVG)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def html_text(root: Element) -> str:
    """As a page."""
    return "<!DOCTYPE html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"


def _name(name: str) -> str:
    return name.rstrip("_").replace("_", "-") if name != "viewBox" else name


def _value(value: str | float) -> str:
    return clean(value) if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
