// The viewer's session: a grant and the addresses that hold it. Grants end; whoever plays asks for another one.

/** What the server refuses, with the seconds after which to come back (RFC 9110 10.2.3), and the kind of the problem
 * (RFC 9457), if it said. */
export class Refused extends Error {
  constructor(status, retryAfter, kind) {
    super(`refused: ${status}`);
    this.status = status;
    this.retryAfter = seconds(retryAfter);
    this.kind = kind;
  }
}

async function refused(answer) {
  const isProblem = answer.headers.get("Content-Type") === "application/problem+json";
  const problem = isProblem ? await answer.json().catch(() => null) : null;
  return new Refused(answer.status, answer.headers.get("Retry-After"), problem?.kind);
}

/** Seconds of a Retry-After, or undefined. Our server writes no dates there. */
export function seconds(retryAfter) {
  return /^\d+$/.test(retryAfter ?? "") ? Number(retryAfter) : undefined;
}

/** A new session: `{master, expires, duration, frames}`. Throws `Refused`, or what fetch throws. */
export async function openSession() {
  const answer = await fetch("session", { method: "POST", credentials: "omit", cache: "no-store" });
  if (!answer.ok) throw await refused(answer);
  return answer.json();
}

/** With which status a GET of `address` is answered; throws as `openSession` does. */
export async function probe(address) {
  const answer = await fetch(address, { credentials: "omit", cache: "no-store" });
  if (!answer.ok) throw await refused(answer);
}
