"""Elements of HTML and SVG: what they hold is escaped where they are written."""

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

Content = Element | str | None


def element(tag: str, *contents: Content, **attributes: object) -> Element:
    """An element; ``class_`` is the attribute class, and ``_`` in other names stands for ``-``."""
    names = {key: "class" if key == "class_" else key.replace("_", "-") for key in attributes}
    made = Element(tag, {names[key]: _attribute(value) for key, value in attributes.items()})
    for content in contents:
        if isinstance(content, str):
            if len(made):
                made[-1].tail = (made[-1].tail or "") + content
            else:
                made.text = (made.text or "") + content
        elif content is not None:
            made.append(content)
    return made


def written(made: Element) -> str:
    """The text of an element with all that it holds."""
    return ElementTree.tostring(made, encoding="unicode", method="html")


def _attribute(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
