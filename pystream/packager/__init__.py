"""The library's workflow: open inputs, plan a presentation, ask for its segments."""

from pystream.packager.encryption import Aes128
from pystream.packager.presentation import Presentation, Rendition, plan
from pystream.packager.source import Input, open

__all__ = ["Aes128", "Input", "Presentation", "Rendition", "open", "plan"]
