// The viewer's session: a grant and the addresses that hold it. Grants end; whoever plays asks for another one.

/** What the server refuses, with the seconds after which to come back (RFC 9110 10.2.3), and the kind of the problem
 * (RFC 9457), if it said; `when` is the time at which the film opens, for people, and `notice` the text and version of
 * what has to be shown first. */
export class Refused extends Error {
  constructor(status, retryAfter, problem) {
    super(`refused: ${status}`);
    const { kind, opens_at: opensAt, notice, notice_version: version } = problem ?? {};
    this.status = status;
    this.retryAfter = seconds(retryAfter);
    this.kind = opensAt === undefined ? kind : `${kind}_at`;
    this.when = opensAt === undefined ? undefined : moment(opensAt);
    this.notice = kind === "notice" ? { text: notice, version: version ?? "" } : undefined;
  }
}

function moment(unixSeconds) {
  const form = { dateStyle: "long", timeStyle: "short" };
  return new Date(unixSeconds * 1000).toLocaleString(document.documentElement.lang, form);
}

async function refused(answer) {
  const isProblem = answer.headers.get("Content-Type") === "application/problem+json";
  const problem = isProblem ? await answer.json().catch(() => null) : null;
  return new Refused(answer.status, answer.headers.get("Retry-After"), problem);
}

/** Seconds of a Retry-After, or undefined. Our server writes no dates there. */
export function seconds(retryAfter) {
  return /^\d+$/.test(retryAfter ?? "") ? Number(retryAfter) : undefined;
}

/** In a frame, the origin of the page around it, or "null" where the browser does not say. */
function siteAround() {
  if (window.top === window) return undefined;
  const said = window.location.ancestorOrigins?.[0] ?? document.referrer;
  try {
    return new URL(said).origin;
  } catch {
    return "null";
  }
}

/** A new session: `{master, grant, expires, duration, frames, frame_ms}`, and where it has them
 * - `check_ms`: it can be taken back;
 * - `leave`: others wait for its place;
 * - `beacon`: it says what it plays;
 * - `count`: it shows what counts, asked for each `count_ms`; `visible`: what plays in a hidden page does not;
 * - `pace`: no more seconds of the film come in one;
 * - `reached`: the second up to which the viewer has come, where nobody skips ahead.
 *
 * `shown` is what opens the film, where it is not open to all. `credentials`: as fetch has them, for a link that is in a
 * cookie. Throws `Refused`, or what fetch throws. */
export async function openSession(shown, credentials = "omit") {
  const said = { ...shown, site: siteAround() };
  const isEmpty = Object.values(said).every((value) => value === undefined);
  const sent = isEmpty ? {} : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(said) };
  const answer = await fetch("session", { method: "POST", credentials, cache: "no-store", ...sent });
  if (!answer.ok) throw await refused(answer);
  return answer.json();
}

/** Says that nobody watches with `session` here any more, where others wait for its place; also as the page goes. */
export function leave(session) {
  if (!session?.leave) return;
  // Who cannot be told finds out by silence.
  fetch(session.leave, { method: "POST", credentials: "omit", keepalive: true }).catch(() => {});
}

/** With which status a GET of `address` is answered; throws as `openSession` does. */
export async function probe(address) {
  const answer = await fetch(address, { credentials: "omit", cache: "no-store" });
  if (!answer.ok) throw await refused(answer);
}
