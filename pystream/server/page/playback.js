// Loading and playing, and what is done when that fails. It draws nothing: `controls.js` listens.
//
// Media Source Extensions come first. What browsers without them, or beside them, play as HLS of their own is the
// fallback: where both exist, hls.js tells more about errors and lets the viewer choose.
//
// What was taken back is not shown on from a buffer. A session that can be taken back says how often to ask whether it
// stands (`check_ms`, a segment's length): whoever plays with much in the buffer asks for nothing else meanwhile.
//
// Where a film cannot be skipped ahead, a session says how far its viewer has come (`reached`). Up to there, and as far as
// it plays from there, is the `limit`: whoever goes beyond it is brought back, and told. It is the server that withholds
// the rest; a player that shows it as well never asks in vain.
//
// An error is one of four things. The grant has ended (403): a new session, and on from the same place, unless the new
// one is refused as well. The server is busy or gone from the network: wait, for as long as it said, and go on. The
// decoder gave up: recover it once. All else ends here, with a button to try again.

import { Refused, probe, seconds } from "./session.js";

/** Seconds by which a player jumps over what is missing between two segments. */
const NUDGE = 1;
/** Seconds of pause after which nothing more is fetched. */
const IDLE = 5;
/** Seconds that are loaded ahead at most: what attendance counts with, whatever the rate. */
const MOST_AHEAD = 30;
/** Seconds until a server that did not say when is asked again: doubled each time, up to the last. */
const PATIENCE = [2, 4, 8, 15, 30];
/** An error that comes back within so many seconds was not cured. */
const RELAPSE = 10;

export class Playback extends EventTarget {
  #video;
  #worker;
  #sessions;
  #hls = null;
  #session = null;
  #asking = null;
  #opening = null;
  #wanted = false;
  #position = 0;
  #limit = Infinity;
  #attempts = 0;
  #renewed = -Infinity;
  #recovered = -Infinity;
  #heard = -Infinity;
  #idle = 0;
  #halted = false;
  #wake = null;
  #source = null;

  /** `worker`: the address of the script that hls.js runs beside the page; `sessions()` gives a session, or throws as
   * `openSession` does. */
  constructor(video, worker, sessions) {
    super();
    this.#video = video;
    this.#worker = worker;
    this.#sessions = sessions;
    this.#source = globalThis.Hls?.isSupported()
      ? "mse"
      : video.canPlayType("application/vnd.apple.mpegurl")
        ? "native"
        : null;
    video.addEventListener("play", () => {
      this.#found(true);
      this.#resumeLoading();
    });
    video.addEventListener("seeking", () => {
      // As whatever scripts and keys of a browser's own move it.
      if (video.currentTime > this.#limit + NUDGE) this.position = video.currentTime;
      this.#resumeLoading();
    });
    video.addEventListener("pause", () => {
      // Of one that has ended, or that nothing is loaded of any more, nobody has done so.
      if (video.readyState > HTMLMediaElement.HAVE_NOTHING && !video.ended) this.#found(false);
      this.#restSoon();
    });
    video.addEventListener("playing", () => this.#well());
    video.addEventListener("timeupdate", () => {
      if (!video.seeking) this.#limit = Math.max(this.#limit, video.currentTime);
      this.#mayCheck();
    });
    video.addEventListener("error", () => this.#source === "native" && this.#nativeError());
  }

  get session() {
    return this.#session;
  }

  /** Whether anything is loaded, or about to be. */
  get started() {
    return this.#opening !== null;
  }

  get wanted() {
    return this.#wanted;
  }

  /** Seconds that the film lasts, as far as is known. */
  get duration() {
    return Number.isFinite(this.#video.duration) ? this.#video.duration : (this.#session?.duration ?? 0);
  }

  /** Where it plays, or will begin to. */
  get position() {
    return this.#video.readyState > 0 ? this.#video.currentTime : this.#position;
  }

  set position(value) {
    const position = Math.max(0, Math.min(value, this.duration, this.#limit));
    this.#position = position;
    if (this.#video.readyState > 0) this.#video.currentTime = position;
    else if (this.#hls) {
      // It was told a place when it began: of which it has the playlist by now, or not.
      this.#hls.config.startPosition = position;
      if (this.#hls.levels.length) this.#hls.startLoad(position);
    }
    this.dispatchEvent(new Event("position"));
    if (value > this.#limit) this.dispatchEvent(new Event("limited"));
  }

  /** Seconds up to which the viewer may go; Infinity for anywhere. */
  get limit() {
    return this.#limit;
  }

  /** Opens the session, so that a poster can be shown; plays nothing. */
  async prepare() {
    if (this.#source === null) return this.#trouble("unsupported");
    await this.#newSession();
  }

  play() {
    this.#wanted = true;
    if (this.#opening === null) this.#open();
    else if (this.#video.ended) this.position = 0;
    // At once, while the browser still knows that it was the viewer who asked, even before there is a source.
    this.#start();
    this.dispatchEvent(new Event("wanted"));
  }

  pause() {
    this.#wanted = false;
    this.#video.pause();
    this.dispatchEvent(new Event("wanted"));
  }

  /** Somebody else, as a headset or the controls that a phone has of its own, has let it play or stand still. */
  #found(playing) {
    if (this.#wanted === playing || this.#video.paused === playing) return;
    this.#wanted = playing;
    this.dispatchEvent(new Event("wanted"));
  }

  /** Begins anew at the same place: what the button beside a trouble does. */
  again() {
    if (this.#wake) return this.#wake();
    this.#renewed = this.#recovered = -Infinity;
    this.#clear();
    if (this.#opening === null) return void this.prepare();
    this.#session = null;
    this.#reopen();
    this.play();
  }

  /** `{name, height, ...}` of hls.js; empty where the browser chooses by itself. */
  get levels() {
    return this.#hls?.levels ?? [];
  }

  /** Which of `levels` is wanted, -1: whichever suits. */
  get level() {
    return this.#hls && !this.#hls.autoLevelEnabled ? this.#hls.loadLevel : -1;
  }

  set level(index) {
    if (this.#hls) this.#hls.nextLevel = index;
  }

  /** The level that is shown. */
  get shown() {
    return this.#hls?.levels[this.#hls.currentLevel];
  }

  get sounds() {
    return this.#hls?.audioTracks ?? [];
  }

  get sound() {
    return this.#hls?.audioTrack ?? -1;
  }

  set sound(index) {
    if (this.#hls) this.#hls.audioTrack = index;
  }

  get subtitles() {
    return [...this.#video.textTracks].filter((track) => /^(subtitles|captions)$/.test(track.kind));
  }

  /** Turns subtitles on or off; returns which, or null where there are none. */
  toggleSubtitles() {
    const tracks = this.subtitles;
    if (!tracks.length) return null;
    const on = !tracks.some((track) => track.mode === "showing");
    tracks.forEach((track, index) => (track.mode = on && index === 0 ? "showing" : "disabled"));
    return on;
  }

  // Opening.

  /** A session, however long it takes; null where there will be none. Who comes meanwhile waits for the same one. */
  #newSession() {
    this.#asking ??= this.#ask().finally(() => (this.#asking = null));
    return this.#asking;
  }

  async #ask() {
    for (;;) {
      try {
        this.#session = await this.#sessions();
        this.#limit = this.#session.reached ?? Infinity;
        this.#position = Math.min(this.#position, this.#limit);
        this.dispatchEvent(new Event("session"));
        return this.#session;
      } catch (error) {
        if (error instanceof Refused && !BUSY.has(error.status)) {
          this.#drop();
          this.#trouble(TOLD.has(error.kind) ? error.kind : kindOf(error.status), undefined, error.when);
          return null;
        }
        const kind = error.kind === "full" ? "full" : "busy";
        await this.#wait(error instanceof Refused ? kind : "offline", error.retryAfter);
      }
    }
  }

  #open() {
    this.#opening = this.#load();
  }

  async #load() {
    this.dispatchEvent(new Event("loading"));
    const session = this.#session ?? (await this.#newSession());
    if (session === null) return;
    // Whoever has still played from the buffer, or gone elsewhere, while the session was asked for.
    this.#position = Math.min(this.position, this.#limit);
    this.#clear();
    if (this.#source === "native") {
      this.#video.src = session.master;
      this.#video.addEventListener("loadedmetadata", () => this.#arrive(), { once: true });
      if (this.#wanted) this.#start();
      return;
    }
    this.#hls?.destroy();
    const hls = new Hls({
      workerPath: this.#worker,
      startPosition: this.#position,
      capLevelToPlayerSize: true,
      backBufferLength: 60,
      // More at low rates is nothing that a viewer has got anything of yet, and reports would flag it.
      maxMaxBufferLength: MOST_AHEAD,
      // hls.js would ask again unheard; waiting is done here, where the viewer can be told.
      manifestLoadPolicy: patient(Hls.DefaultConfig.manifestLoadPolicy),
      playlistLoadPolicy: patient(Hls.DefaultConfig.playlistLoadPolicy),
    });
    this.#hls = hls;
    hls.on(Hls.Events.ERROR, (_, data) => this.#hlsError(data));
    hls.on(Hls.Events.FRAG_LOADED, (_, { frag }) => {
      // What has no grant in its address may come from a cache, which asks nobody.
      if (frag.url.includes(session.grant)) this.#heard = performance.now();
    });
    hls.on(Hls.Events.MANIFEST_PARSED, () => {
      this.dispatchEvent(new Event("choices"));
      if (this.#wanted) this.#start();
    });
    for (const name of ["LEVEL_SWITCHED", "AUDIO_TRACKS_UPDATED", "AUDIO_TRACK_SWITCHED"]) {
      hls.on(Hls.Events[name], () => this.dispatchEvent(new Event("choices")));
    }
    hls.loadSource(session.master);
    hls.attachMedia(this.#video);
  }

  #arrive() {
    if (this.#position > 0) this.#video.currentTime = this.#position;
  }

  #start() {
    // A browser that wants a gesture first refuses; the button stays.
    this.#video.play().catch((error) => {
      if (error.name === "NotAllowedError") this.pause();
    });
  }

  // What was taken back.

  async #mayCheck() {
    const session = this.#session;
    if (!session?.check_ms || since(this.#heard) * 1000 < session.check_ms) return;
    this.#heard = performance.now();
    try {
      await probe(session.master);
    } catch (error) {
      // No answer is no refusal.
      if (session === this.#session && GONE.has(error.status)) this.#renew(kindOf(error.status));
    }
  }

  /** Stops where it is, and lets go of all that is loaded. */
  #drop() {
    this.#position = this.position;
    this.#video.pause();
    this.#hls?.destroy();
    this.#hls = null;
    if (this.#source !== "native") return;
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  // Nothing is fetched for a film that stands still.

  #restSoon() {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      if (!this.#video.paused || !this.#hls) return;
      this.#halted = true;
      this.#hls.stopLoad();
    }, IDLE * 1000);
  }

  #resumeLoading() {
    clearTimeout(this.#idle);
    if (this.#video.paused) this.#restSoon();
    if (!this.#halted || !this.#hls) return;
    this.#halted = false;
    this.#hls.startLoad(this.#video.currentTime, true);
  }

  // Troubles.

  #hlsError(data) {
    const status = data.response?.code;
    const { NETWORK_ERROR, MEDIA_ERROR } = Hls.ErrorTypes;
    // An old grant, or a version of the film that was replaced: hls.js can do nothing for these.
    if (data.type === NETWORK_ERROR && GONE.has(status)) return this.#renew(kindOf(status));
    // Nor does it know for how long a server asked it to wait.
    const after = BUSY.has(status) ? seconds(data.networkDetails?.getResponseHeader("Retry-After")) : undefined;
    if (!data.fatal && after === undefined) return;
    if (data.type === NETWORK_ERROR) {
      if (data.details === Hls.ErrorDetails.MANIFEST_PARSING_ERROR) return this.#end("unknown");
      return void this.#goOnLater(BUSY.has(status) ? "busy" : "offline", after);
    }
    if (UNSUPPORTED.has(data.details)) return this.#end("unsupported");
    if (data.type !== MEDIA_ERROR) return this.#end("unknown");
    if (since(this.#recovered) < RELAPSE) return this.#end("media");
    this.#recovered = performance.now();
    this.#hls.recoverMediaError();
    if (this.#wanted) this.#start();
  }

  /** A native player's error says nothing of HTTP, so that is asked for. */
  async #nativeError() {
    const code = this.#video.error?.code;
    if (!this.#session || code === undefined) return;
    try {
      await probe(this.#session.master);
    } catch (error) {
      if (!(error instanceof Refused)) return void this.#goOnLater("offline");
      if (BUSY.has(error.status)) return void this.#goOnLater("busy", error.retryAfter);
      return this.#renew(kindOf(error.status));
    }
    if (since(this.#recovered) < RELAPSE) {
      return this.#end(code === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED ? "unsupported" : "media");
    }
    this.#recovered = performance.now();
    this.#reopen();
  }

  /** Another session, and on from the same place; where that was no help, the trouble `kind`. */
  #renew(kind) {
    if (since(this.#renewed) < RELAPSE) return this.#end(kind);
    this.#renewed = performance.now();
    if (this.#session?.check_ms) this.#drop();
    this.#session = null;
    this.#reopen();
  }

  #reopen() {
    this.#position = this.position;
    this.#hls?.stopLoad();
    this.#open();
  }

  async #goOnLater(kind, after) {
    // Pictures and sound may fail side by side.
    if (this.#wake) return;
    const hls = this.#hls;
    hls?.stopLoad();
    await this.#wait(kind, after);
    if (hls !== this.#hls) return;
    if (hls?.levels?.length) hls.startLoad(this.#video.currentTime, true);
    else this.#reopen();
  }

  #end(kind) {
    if (kind === "denied" || kind === "gone") this.#drop();
    this.#hls?.stopLoad();
    this.#wanted = false;
    this.#trouble(kind);
  }

  /** Counts down, and tells so to who sees the film stand still; ends early when the network is back, or the viewer says so. */
  async #wait(kind, after) {
    const patience = PATIENCE[Math.min(this.#attempts++, PATIENCE.length - 1)];
    let woken = false;
    const early = new Promise((wake) => (this.#wake = wake)).then(() => (woken = true));
    const wake = this.#wake;
    addEventListener("online", wake, { once: true });
    for (let left = Math.max(1, Math.round(after ?? patience)); left > 0 && !woken; left -= 1) {
      if (this.#video.readyState < HTMLMediaElement.HAVE_FUTURE_DATA) this.#trouble(kind, left);
      await Promise.race([early, new Promise((tick) => setTimeout(tick, 1000))]);
    }
    removeEventListener("online", wake);
    this.#wake = null;
    this.#clear();
  }

  #well() {
    this.#attempts = 0;
    this.#clear();
  }

  #trouble(kind, left, when) {
    this.dispatchEvent(new CustomEvent("trouble", { detail: { kind, seconds: left, when } }));
  }

  #clear() {
    this.dispatchEvent(new CustomEvent("trouble", { detail: null }));
  }
}

const UNSUPPORTED = new Set([
  "manifestIncompatibleCodecsError",
  "bufferAddCodecError",
  "bufferIncompatibleCodecsError",
]);

function patient(policy) {
  return { default: { ...policy.default, errorRetry: null } };
}

/** Refusals of which the page says more than the status does. */
const TOLD = new Set([
  ...["early", "early_at", "late", "site", "network", "country", "devices", "kicked", "revoked"],
  ...["link", "link_over", "link_early", "link_used", "link_missing"],
]);
const GONE = new Set([401, 403, 404, 410]);
const BUSY = new Set([429, 503]);

function kindOf(status) {
  if (!GONE.has(status)) return "unknown";
  return status < 404 ? "denied" : "gone";
}

function since(moment) {
  return (performance.now() - moment) / 1000;
}
