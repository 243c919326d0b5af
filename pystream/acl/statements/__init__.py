"""The papers that data protection law asks for, made of the settings as they are: so they say what is done.

| kind       | what                                                                      | GDPR           |
| ---------- | ------------------------------------------------------------------------- | -------------- |
| `notice`   | the tenant's notice to its viewers                                        | Art. 13        |
| `record`   | the operator's record of what it processes for the tenant                 | Art. 30(2)     |
| `measures` | technical and organisational measures                                     | Art. 32        |
| `contract` | annex to the contract between tenant and operator                         | Art. 28(3)     |
| `breach`   | fact sheet of a breach, for the tenant                                    | Art. 33(2)     |

What no setting tells, as addresses, legal grounds and locks on doors, stands in square brackets, for who
answers for it. Each is in German and in English; no text of either is without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from pystream.acl.statements import breach, contract, measures, notice, record
from pystream.acl.statements.facts import Facts
from pystream.acl.statements.layout import LANGUAGES, WRITERS, Paper

__all__ = ["FORMATS", "KINDS", "LANGUAGES", "Facts", "statement"]

_WRITTEN: Final[Mapping[str, Callable[[Paper, Facts], None]]] = {
    "notice": notice.write,
    "record": record.write,
    "measures": measures.write,
    "contract": contract.write,
    "breach": breach.write,
}
KINDS: Final = tuple(_WRITTEN)
FORMATS: Final = tuple(WRITERS)


def statement(kind: str, facts: Facts, language: str, form: str = "md") -> str:
    """One of `KINDS`, in one of `LANGUAGES`, as one of `FORMATS`."""
    paper = Paper(language)
    _WRITTEN[kind](paper, facts)
    return WRITERS[form](paper)
