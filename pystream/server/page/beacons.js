// What the page says of itself, where the stream wants that: whether the film plays, where, how fast, and whether the page
// is hidden. It only narrows what is confirmed. An answer may ask for more: whether somebody is there.

/** Milliseconds between two beacons of a playing film, and between any two. */
const BEAT = 10_000;
const LEAST = 1000;

const at = (id) => document.getElementById(id);

export class Beacons {
  #playback;
  #video;
  #say;
  #session = null;
  #sn = 0;
  #said = -Infinity;
  #next = 0;
  #check = null;
  #ends = 0;
  #clock = 0;

  constructor(playback, video, say) {
    this.#playback = playback;
    this.#video = video;
    this.#say = say;
    for (const name of ["playing", "pause", "seeking", "waiting", "ended", "ratechange"]) {
      video.addEventListener(name, () => this.#soon(LEAST));
    }
    document.addEventListener("visibilitychange", () => this.#soon(LEAST));
    // The last one there is: nobody waits for its answer.
    addEventListener("pagehide", () => this.#session && this.#tell());
    at("present").addEventListener("click", () => this.#answer());
    // Whoever presses Escape has not read it.
    at("presence").addEventListener("cancel", (event) => event.preventDefault());
  }

  get #state() {
    const { ended, paused, seeking, readyState } = this.#video;
    if (ended) return "ended";
    if (seeking) return "seeking";
    if (paused) return "paused";
    return readyState > HTMLMediaElement.HAVE_CURRENT_DATA ? "playing" : "stalled";
  }

  /** One is said when so much time has gone by since the last. */
  #soon(after) {
    if (!this.#playback.session?.beacon || !this.#playback.started) return;
    clearTimeout(this.#next);
    const wait = Math.max(0, this.#said + after - performance.now());
    this.#next = setTimeout(() => this.#tell(), wait);
  }

  async #tell() {
    const { session } = this.#playback;
    if (!session?.beacon) return;
    if (session !== this.#session) {
      // Another session counts anew.
      this.#session = session;
      this.#sn = 0;
    }
    this.#said = performance.now();
    const state = this.#state;
    if (state === "playing" || state === "stalled") this.#soon(BEAT);
    const asked = await post(session.beacon, {
      sn: (this.#sn += 1),
      state,
      playhead_ms: Math.round(this.#video.currentTime * 1000),
      rate: this.#video.playbackRate,
      hidden: document.hidden,
    });
    if (asked && asked.check !== this.#check) this.#ask(asked);
  }

  // Whether somebody is there.

  #ask({ check, seconds }) {
    this.#check = check;
    this.#ends = performance.now() + seconds * 1000;
    at("presence").showModal();
    this.#count();
    clearInterval(this.#clock);
    this.#clock = setInterval(() => this.#count(), 1000);
  }

  #count() {
    const left = Math.ceil((this.#ends - performance.now()) / 1000);
    if (left <= 0) return this.#done();
    at("presence-left").textContent = this.#say("presence_left", { seconds: left });
  }

  #answer() {
    post(this.#session.beacon, { check: this.#check });
    this.#done();
  }

  #done() {
    clearInterval(this.#clock);
    at("presence").close();
  }
}

/** What the server asks, or nothing. A beacon that is lost is none: the next one says more. */
async function post(address, said) {
  try {
    const headers = { "Content-Type": "text/plain" };
    const sent = { method: "POST", credentials: "omit", keepalive: true, headers, body: JSON.stringify(said) };
    const answer = await fetch(address, sent);
    return answer.status === 200 ? await answer.json() : null;
  } catch {
    return null;
  }
}
