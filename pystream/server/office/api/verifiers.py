"""How links and tokens of the customer's site are checked: `/api/v1/verifiers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from pystream.acl.entrances.verifiers import (
    KINDS,
    Configured,
    Verifier,
    access_of,
    new_name,
    new_secret,
)
from pystream.errors import InvalidValue, OutgoingError, Said
from pystream.server.office.api.operations import (
    Call,
    Given,
    Moment,
    NoQuery,
    Paging,
    as_cursor,
    at,
    given_only,
    moment,
    next_link,
    number_of_cursor,
    operation,
)
from pystream.server.office.api.streams import Name
from pystream.server.office.values import Office

VerifierName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_-]{1,16}$",
        description="1 to 16 letters, digits, - and _, as `key` of a link and `kid` of a token have it.",
        examples=["2031-05"],
    ),
]
_VerifierKind = Annotated[
    str,
    Meta(
        description="For streams of the access `signed`: `link` (our own signed link), `akamai` (Akamai Auth"
        " Token 2.0), `bunny` (bunny.net token authentication), `wowza` (Wowza SecureToken version 2). For"
        " those of the access `external`: `jwt` (a JSON Web Token signed with a shared secret, HS256),"
        " `jwks` (one signed by a key of the set at `url`), `question` (the endpoint at `url` says who may"
        " watch).",
        extra_json_schema={"enum": list(KINDS)},
    ),
]
_Secret = Annotated[
    str,
    Meta(
        max_length=600,
        description="What the customer's site signs with already; if left out, one is made. `link`: 64"
        " hexadecimal digits. `akamai`: hexadecimal. `bunny`: text. `wowza`: letters and digits. `jwt`:"
        " base64url of 32 bytes or more, which are the key. `question`: `whsec_` and base64 of 24 to 64"
        " bytes, or a bearer token. `jwks` has none.",
    ),
]
_Url = Annotated[
    str,
    Meta(
        max_length=2048,
        description="`jwks` and `question`: what is called.",
        examples=["https://www.example.org/jwks.json"],
    ),
]


class VerifierView(Struct, kw_only=True):
    """A verifier, without its secret, or one that was revoked. `stream`: whose it is; null: of all streams
    of the tenant that have none of their own, or, where `of_tenant` is false, of one that was removed."""

    id: str
    name: VerifierName
    kind: _VerifierKind
    access: Annotated[str, Meta(extra_json_schema={"enum": ["signed", "external"]})]
    stream: Name | None
    of_tenant: bool
    created_at: Moment
    revoked_at: Moment | None


class VerifierPage(Struct, kw_only=True):
    """A page of verifiers, the oldest first. `next` is the cursor of the next page; null: this is the
    last."""

    items: list[VerifierView]
    next: str | None


class NewVerifier(Struct, kw_only=True, forbid_unknown_fields=True):
    """A verifier to be added. What its kind has no use for is left out."""

    kind: _VerifierKind
    stream: (
        Annotated[
            Name,
            Meta(
                description="What it is for; if left out, all streams that have none of their own."
            ),
        ]
        | UnsetType
    ) = UNSET
    name: VerifierName | UnsetType = UNSET
    secret: _Secret | UnsetType = UNSET
    salt: Annotated[str, Meta(max_length=600, description="`akamai`: the salt.")] | UnsetType = (
        UNSET
    )
    algorithm: (
        Annotated[
            str,
            Meta(
                max_length=20,
                description="`akamai`, `wowza`: `sha256`, which is usual, or another.",
            ),
        ]
        | UnsetType
    ) = UNSET
    escape_early: Annotated[bool, Meta(description="`akamai`: Escape token input.")] | UnsetType = (
        UNSET
    )
    token_name: (
        Annotated[
            str,
            Meta(
                max_length=64,
                description="`akamai`: of the parameter and the cookie; `hdnts` is usual.",
            ),
        ]
        | UnsetType
    ) = UNSET
    with_address: (
        Annotated[bool, Meta(description="`bunny`, `wowza`: the viewer's address is signed, too.")]
        | UnsetType
    ) = UNSET
    prefix: (
        Annotated[
            str,
            Meta(
                max_length=100,
                description="`wowza`: hash query parameter prefix; `wowzatoken` is usual.",
            ),
        ]
        | UnsetType
    ) = UNSET
    content: (
        Annotated[
            str,
            Meta(
                max_length=500,
                description="`wowza`: the content path of one stream; tenant/stream is usual.",
            ),
        ]
        | UnsetType
    ) = UNSET
    url: _Url | UnsetType = UNSET
    bearer: (
        Annotated[bool, Meta(description="`question`: send the secret as a bearer token.")]
        | UnsetType
    ) = UNSET
    seconds: (
        Annotated[
            float, Meta(gt=0, le=10, description="`question`: within which it has to answer.")
        ]
        | UnsetType
    ) = UNSET
    kept_s: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=3600,
                description="`question`: seconds for which a yes is kept; 60 is usual.",
            ),
        ]
        | UnsetType
    ) = UNSET


class VerifierMade(VerifierView, kw_only=True):
    """A verifier that was added. `secret` is there where it was made here, and is shown this once."""

    secret: str | None


@operation(query=Paging, gives=VerifierPage)
def listed(call: Call[Paging, None]) -> Given:
    """List verifiers.

    All of the tenant, those that were revoked as well, and never a secret.
    """
    after, most = number_of_cursor(call.query.cursor), call.query.limit
    there = call.office.store.verifiers(call.office.keys).listed(call.tenant_id)
    places = {each.id: place for place, each in enumerate(there)}
    begin = places.get(after, -1) + 1
    items = there[begin : begin + most]
    names = _names(call)
    following = as_cursor(str(items[-1].id)) if len(there) > begin + most else None
    page = VerifierPage(items=[_view(each, names) for each in items], next=following)
    return Given(page, headers=list(next_link(call, following)))


@operation(
    body=NewVerifier,
    gives=VerifierMade,
    status=201,
    once="whole",
    problems=("not-found", "exists"),
    example={"kind": "link", "stream": "course", "name": "2031-05"},
)
def add(call: Call[NoQuery, NewVerifier]) -> Given:
    """Add a verifier.

    It says how links or tokens are checked, of one stream or of all that have nothing of their own. All that
    are active at one place and for one access are of one kind, and there are two of them at most: to replace
    a secret, add the second one, have the customer's site sign with it, and revoke the first.

    A secret that is made here is shown this once. One that the site has already can be sent along.

    **`link`.** Behind the page's address comes a query of `expires` (Unix seconds), `key` (the verifier's
    name), `signature`, and, if wanted, `viewer` (an opaque name), `devices`, `not_before`, `networks`,
    `countries`, `origins`, and `scope` (`tenant`: it opens all streams). Signed is this text, with a line
    feed between its lines and none at its end: the format's name, the path (of the scope `tenant`,
    `/acme/`), and all parameters but the signature, decoded and sorted by name:

        pystream-link-1
        /acme/film/
        expires=1936702800
        key=7f
        viewer=4711

    The signature is HMAC-SHA256 of it by the 32 bytes of the secret, in base64url without padding. With the
    secret 000102...1f it is `Y9Gt-2viLK5r7O8M2Y0VRUeVsKxOjLbYX7vfeiaItiM`.

    **`akamai`**, **`bunny`**, **`wowza`.** What the generator of each of them writes goes behind the address
    of the page, `/acme/film/`, or of the playlist, `/acme/film/master.m3u8`.

    * `akamai` (Auth Token 2.0): the secret is the key, in hexadecimal; `hdnts=exp=...~acl=...~hmac=...`
      in the query, or as a cookie or header. Sign an `acl` that covers the film, `/acme/film/*`, so that the
      page and the playlist open.
    * `bunny` (token authentication): the secret is the zone's key. Sign the folder, with
      `token_path=/acme/film/`, in the query or as `/bcdn_token=.../acme/film/`. A token for a single file is
      refused where the file's name ends in a digit, as that of `master.m3u8` does: behind it, the time could
      be read in two ways.
    * `wowza` (SecureToken version 2): the secret is the shared secret. The content path is `acme/film` unless
      `content` says another one, and `wowzatokenendtime` has to be there.

    **`jwt` and `jwks`.** The viewer comes to the page's address with `#token=` and a JSON Web Token behind
    it. Its header has to have `kid`: the verifier's name, or, of `jwks`, that of a key of the set.
    `jwt` is HS256; `jwks` is ES256, EdDSA, RS256 or PS256. It has the claims `aud` (`acme` or
    `acme/film`), `sub` (an opaque name), `iat`, `exp` (at most 300 seconds after it) and `jti` (another
    one each time: a token opens once), and, if wanted, `nbf`, `stream` and `max_devices`. Of `jwt`, the
    key is not the secret's text but the bytes that it stands for in base64url:
    `Buffer.from(secret, "base64url")`, or `base64.urlsafe_b64decode(secret + "==")` in Python. With the
    secret `AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8`, the signature of
    `eyJhbGciOiJIUzI1NiIsImtpZCI6IjdmIn0.e30` is `-06M485csXGwfXsQRyct37Xt3xoIaUmQd6lCnjaAWE4`.

    **`question`.** The viewer comes with `#token=` and any text that the site knows. The endpoint gets a
    POST of `{"tenant": "acme", "stream": "film", "token": "..."}` and answers with status 200 and
    `{"allow": true, "viewer": "an opaque name", "expires_in": 3600, "max_devices": 2}`, of which only
    `allow` has to be there; 401, 403 and 404 are a no as well. The fields `webhook-id`,
    `webhook-timestamp` and `webhook-signature` are those of Standard Webhooks 1.0.0: `v1,` and the base64
    of HMAC-SHA256, by the secret's bytes, of id, timestamp and body with dots between them; with
    `bearer`, the secret is sent as a bearer token instead.
    """
    values = given_only(call.body)
    stream, name = values.pop("stream", None), values.pop("name", None) or new_name()
    is_made = "secret" not in values
    if is_made:
        values["secret"] = new_secret(call.body.kind)
    if "url" in values:
        check_url(call.office, values["url"])
    store, verifier = call.office.store, Verifier(**values)
    made = store.verifiers(call.office.keys).add(
        call.tenant_id,
        None if stream is None else store.stream(call.actor.tenant, stream).id,
        name,
        verifier,
        who=call.who,
        now=call.now,
    )
    view = _view(made, _names(call))
    shown = {each: getattr(view, each) for each in view.__struct_fields__}
    return Given(VerifierMade(**shown, secret=(verifier.secret or None) if is_made else None), 201)


@operation(status=204, problems=("not-found",))
def revoke(call: Call[NoQuery, None]) -> Given:
    """Revoke a verifier.

    The active one of that name. It lets nobody in from then on, and its secret is destroyed. Who came in with
    it goes on; ending the sessions of the stream stops them.
    """
    verifiers = call.office.store.verifiers(call.office.keys)
    verifiers.revoke(call.tenant_id, call.place["verifier"], who=call.who, now=call.now)
    return Given(status=204)


def _names(call: Call[Paging, None] | Call[NoQuery, NewVerifier]) -> Mapping[int, str]:
    return {each.id: each.name for each in call.office.store.streams(call.actor.tenant)}


def _view(each: Configured, names: Mapping[int, str]) -> VerifierView:
    return VerifierView(
        id=str(each.id),
        name=each.name,
        kind=each.kind,
        access=access_of(each.kind),
        stream=None if each.stream_id is None else names.get(each.stream_id),
        of_tenant=each.stream_id is None,
        created_at=at(each.created_at),
        revoked_at=moment(each.revoked_at),
    )


def check_url(office: Office, url: str) -> None:
    """Raises `InvalidValue` for what could never be called."""
    # It brings a client along, which few need.
    from pystream.server import outgoing

    try:
        outgoing.check_url(url, office.outgoing())
    except OutgoingError as error:
        raise InvalidValue(Said("unreachable", str(error), of="url")) from None
