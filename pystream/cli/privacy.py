"""`pystream privacy`: the papers that data protection law asks for, made of the settings as they are."""

from __future__ import annotations

from pystream.cli import _store, _terminal
from pystream.cli._arguments import add_locale
from pystream.cli._leaving import parser_of, settings_of

_HELP = f"""\
usage: pystream privacy statement TENANT --kind KIND [--locale de|en]
       pystream privacy ACTION --help

actions:
  statement  write a paper of what is kept of a tenant's viewers, and how

{_store.EXIT_CODES}
examples:
  pystream privacy statement acme --kind notice --locale de > notice.md
  pystream privacy statement acme --kind contract --format html -o annex.html
"""

_STATEMENT = """\
Writes one of the papers that data protection law asks for, of one tenant, made
of its settings, its streams and those of the node, as they are now. Change one,
and the paper says so; what it says is therefore true of today only.

  notice    the tenant's notice to its viewers (Art. 13 GDPR)
  record    the operator's record of what it does for the tenant (Art. 30(2))
  measures  technical and organisational measures (Art. 32)
  contract  annex to the contract between tenant and operator (Art. 28(3))
  breach    fact sheet of a breach of personal data, for the tenant (Art. 33(2))

What no setting tells, as legal grounds and locks on doors, stands in square
brackets, to be filled in. Who runs the node, where, and with whose help, is in
the settings, [privacy]. This is no legal advice.
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    return _store.dispatch("privacy", _HELP, {"statement": _statement}, arguments)


def _statement(words: list[str]) -> int:
    parser = parser_of(
        "privacy statement",
        "TENANT --kind KIND [--locale de|en]\n         [--format md|text|html] [-o FILE [--overwrite]]",
        _STATEMENT,
        "pystream privacy statement acme --kind measures --locale de",
    )
    from pystream.acl.statements import FORMATS, KINDS, Facts, statement

    add = parser.add_argument
    add("name", metavar="TENANT", help="the tenant")
    add("--kind", choices=KINDS, required=True, metavar="KIND", help="as above")
    add_locale(parser)
    add("--format", choices=FORMATS, default="md", metavar="md|text|html", help="(default: md)")
    add("-o", "--output", metavar="FILE", help="write it there")
    add("--overwrite", action="store_true", help="replace FILE where it is there")
    options = parser.parse(words)
    settings = settings_of(options)
    from pystream.acl.store import Store

    with Store.open(settings.store.url, create=False) as store:
        tenant, streams = store.tenant(options.name), store.streams(options.name)
    day = _store.moment(_store.now())[:10]
    facts = Facts(tenant, streams, settings.practice.of(tenant), day)
    text = statement(options.kind, facts, options.locale, options.format)
    if options.output is not None:
        with _store.new_file(options.output, replace=options.overwrite) as file:
            file.write(text.encode())
        _store.report(options, {"file": options.output}, f"{options.output}: {options.kind}")
        return 0
    with _terminal.output():
        if options.json:
            _terminal.print_json({"kind": options.kind, "text": text})
        else:
            print(text, end="")
    return 0
