from typing import Final

DEBUG: Final[bool]
VERSION: Final[str]
