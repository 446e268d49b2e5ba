"""The texts of a web page as lines: what has no words of its own is left out, and elements part lines."""

from __future__ import annotations

import html.parser

from steersman.data.readers import Line


class PageLines(html.parser.HTMLParser):
    """Subclasses say what is hidden and where lines end, and may write them in another way."""

    def __init__(self, hidden: frozenset[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[Line] = []
        self._hides, self._hidden = hidden, list[str]()
        self._text, self._begun = "", 1

    def hides(self, tag: str) -> bool:
        """Whether a tag begins an element without words."""
        if tag in self._hides:
            self._hidden.append(tag)
        return tag in self._hides

    def shows(self, tag: str) -> bool:
        """Whether a tag ends one, and with it those within it that were not closed."""
        closes = tag in self._hidden
        while closes and self._hidden.pop() != tag:
            pass
        return closes

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            if not self._text.strip():
                self._begun, self._text = self.getpos()[0], ""
            self._text += data

    def flush(self) -> None:
        """End a line."""
        text, self._text = " ".join(self._text.split()), ""
        self.write(text)

    def write(self, text: str) -> None:
        if text:
            self.lines.append(Line(self._begun, text))

    def close(self) -> None:
        super().close()
        self.flush()
