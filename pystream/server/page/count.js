// What of the viewer's own attendance counts so far, and why no more does: the server says what is recorded, the page
// what it did itself meanwhile. It asks while the film plays, and once after it has stopped.

/** Milliseconds after which what has stopped is on record. */
const LATE = 15_000;
/** What is shorter is no gap: players fetch ahead, and evidence bridges it. */
const LEAST = 15_000;

/** Why nothing counts, and why nothing did. */
const NOW = { paused: "own_paused", ended: "own_ended", hidden: "own_hidden", silent: "own_silent", outage: "own_outage" };
const THEN = { paused: "own_was_paused", ended: "own_was_ended", hidden: "own_was_hidden", outage: "own_was_outage" };

const at = (id) => document.getElementById(id);

export class Count {
  #playback;
  #video;
  #say;
  #session = null;
  #told = null;
  #next = 0;
  /** Why nothing can count by what this page does, and since when; and the last such time that is over. */
  #idle = null;
  #gap = null;

  constructor(playback, video, say) {
    this.#playback = playback;
    this.#video = video;
    this.#say = say;
    playback.addEventListener("session", () => this.#began());
    for (const name of ["playing", "pause", "ended"]) video.addEventListener(name, () => this.#changed());
    document.addEventListener("visibilitychange", () => this.#changed());
  }

  #began() {
    const { session } = this.#playback;
    this.#session = session;
    at("own").hidden = !session.count;
    if (session.count) this.#soon(0);
  }

  get #isIdle() {
    const { paused, ended } = this.#video;
    if (ended) return "ended";
    if (paused) return "paused";
    return document.hidden && this.#session.visible ? "hidden" : null;
  }

  #changed() {
    if (!this.#session?.count || !this.#playback.started) return;
    const why = this.#isIdle;
    if (why !== this.#idle?.why) {
      const now = Date.now();
      if (this.#idle && now - this.#idle.since >= LEAST) this.#gap = { ...this.#idle, until: now };
      this.#idle = why && { why, since: now };
    }
    this.#draw();
    // Who looks again, wants to know.
    this.#soon(why ? LATE : 0);
  }

  #soon(after) {
    clearTimeout(this.#next);
    this.#next = setTimeout(() => this.#ask(), after);
  }

  async #ask() {
    const session = this.#session;
    // Not all pages at once.
    const pause = session.count_ms * (0.9 + Math.random() / 5);
    this.#told = (await get(session.count)) ?? this.#told;
    if (session !== this.#session) return;
    this.#draw();
    if (this.#playback.started && !this.#isIdle && !document.hidden) this.#soon(pause);
  }

  #draw() {
    if (!this.#told) return;
    const { counted_ms: counted, needed_ms: needed } = this.#told;
    const values = { minutes: minutes(counted), needed: needed === null ? 0 : Math.ceil(needed / 60_000) };
    const name = needed === null ? "own_day" : counted < needed ? "own_of" : "own_reached";
    write(at("own-count"), this.#say(name, values));
    write(at("own-why"), this.#why());
    const bar = at("own-bar");
    bar.hidden = needed === null;
    bar.max = needed ?? 1;
    bar.value = Math.min(counted, bar.max);
  }

  /** Why nothing counts now, or the last time that it did not. */
  #why() {
    const { why, stopped_at: stopped, next, several, outage } = this.#told;
    if (why === "outside") {
      return next === null ? this.#say("own_over") : this.#say("own_outside", { time: clock(next) });
    }
    if (!this.#playback.started) return "";
    const { why: idle, since } = this.#idle ?? {};
    if (idle) return this.#say(NOW[idle], { time: clock(since) });
    if (why !== null) return stopped === null ? this.#say("own_soon") : this.#say(NOW[why], { time: clock(stopped) });
    const gap = this.#gap;
    if (outage && outage[1] > (gap?.until ?? 0)) return this.#span("outage", ...outage);
    if (gap) return this.#span(gap.why, gap.since, gap.until);
    return several ? this.#say("own_several") : "";
  }

  #span(why, since, until) {
    return this.#say("own_was", { from: clock(since), to: clock(until), why: this.#say(THEN[why]) });
  }
}

/** Cut off, as everywhere. */
function minutes(ms) {
  return Math.floor(ms / 60_000);
}

function clock(ms) {
  return new Date(ms).toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit" });
}

/** What is said again is not read again. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** What the server says, or nothing: it is asked again. */
async function get(address) {
  try {
    const answer = await fetch(address, { credentials: "omit", cache: "no-store" });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}
