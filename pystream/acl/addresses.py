"""Addresses of mail, as far as anybody but their own server can tell them from anything else."""

from __future__ import annotations

import re

# RFC 5321 4.1.2 and 4.5.3.1, without quoted strings, literals, and letters beyond ASCII (RFC 6531), which not
# every server takes.
_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"(?=[^@]{{1,64}}@)(?=.{{1,254}}\Z){_LOCAL}@{_LABEL}(\.{_LABEL})+")


def is_mail_address(text: str) -> bool:
    """Whether it has the form of one."""
    return _ADDRESS.fullmatch(text) is not None
