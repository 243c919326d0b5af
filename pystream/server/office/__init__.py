"""The office: where a tenant's own people and programs are answered, in a process of its own.

Argon2, PDFs and imports take their time, and no worker that sends films may wait for them. So a worker
reads a request of `/console/` or `/api/v1/`, and hands it on over a unix socket (`line`); the office
answers in threads. Where it is away, the answer is 503 and films go on.

    worker: connections, answers ─ Window ──unix socket── Counter ─ routing ─ a handler ─ the store

**A route** is one line of the table in `routing`: method, path, what whoever asks has to be allowed,
and the handler. Everything before the handler is done there, for all routes alike: the way a request
may come (HTTPS, or this machine), the length of its body, who it is from, what that one may, and that
no other site has sent it.

**A handler** is a plain function

    def stream(office: Office, actor: Actor, request: Request) -> Reply

of values (`values`): what the office has open, who asks, and what for. It runs in a thread, so it may
wait for the store. It asks the store for things of `actor.tenant_id` or `actor.tenant` alone, hands
`actor.who` on to whatever writes, and raises what is wrong: `NotFound` is 404, `Exists` 409,
`InvalidValue` 422, `SignInError` 403, `HttpError` whatever it says. Errors look like the area they are
in: problem documents (RFC 9457) under `api`, pages under `console`.

**To add a route:** write the handler in a module of `api` or `console`; add its line to `ROUTES`; add its
case to `CASES` in `tests/test_office_routes.py`, which asks it as nobody and as another tenant's, and
fails until the case is there, and the right is the one that its rules say. Under `console`, a page is a
template of `console/templates` that extends `layout.html`, shown by `pages.page`; its sentences stand in
`console/texts.py` in each language; each of its forms has `{{ csrf() }}` in it. What is wrong is raised
as `pystream.errors.Said`; its German stands in `console/sentences.py`.
"""
