"""`data=python_library`: the sources of the interpreter's own standard library, as one text."""

from __future__ import annotations

from seqloom.data.embedded.standard_library import library_text
from seqloom.data.text_stream import TextStream
from seqloom.errors import ConfigError


class PythonLibrary(TextStream):
    """Python code, see `embedded.standard_library`; `num_train`, `num_val` and `num_test`
    characters of it, None for all.
    """

    def read(self, split: str) -> str:
        """See `TextStream.read`."""
        text = library_text(split)
        wanted = self.num_examples[split]
        if wanted is not None and wanted > len(text):
            raise ConfigError(
                f"data.num_{split}={wanted}",
                f"the standard library has {len(text)} characters in this split",
                "ask for fewer, or write null for all",
            )
        return text
