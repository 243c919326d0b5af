// What the viewer sees of the playback, and does to it.

import { fill, listen } from "./keyboard.js";
import { memory } from "./memory.js";
import { Menu, times } from "./menu.js";
import { Stills } from "./stills.js";

/** Milliseconds without a movement after which a playing film is shown alone. */
const CALM = 2600;
/** Milliseconds for which a stall shows no spinner: most are over by then. */
const HICCUP = 350;
const KEEP_SECONDS = 5;
/** Seconds of credit that may lie beyond what was seen: what a player has loaded plays on by the clock alone. */
const UNSEEN = 90;
/** So near to its end a film is seen whole. */
const NEAR_END = 2;
/** Where the poster is taken from: early, and not the black before the first scene. */
const POSTER_PART = 0.1;
const POSTER_MOST = 30;
/** Troubles that a button may end. */
const CURABLE = new Set(["offline", "busy", "full", "denied", "media", "unknown", "early", "early_at", "devices", "kicked"]);

const at = (id) => document.getElementById(id);

export class Controls {
  #playback;
  #say;
  #video = at("video");
  #player = at("player");
  #stage = at("stage");
  #seek = at("seek");
  #menu;
  #poster = null;
  #previews = null;
  #seeking = false;
  /** Whether the controls were hidden when a finger came down. */
  #wasCalm = false;
  #trouble = null;
  #calm = 0;
  #stall = 0;
  #flash = 0;
  #kept = 0;

  constructor(playback, say) {
    this.#playback = playback;
    this.#say = say;
    this.#menu = new Menu(at("panel"), at("settings"), this.#video, playback, say);
    this.#followPlayback();
    this.#followVideo();
    this.#followPointer();
    this.#followSeek();
    this.#followButtons();
    listen(this.#keys());
    this.#draw();
  }

  // The playback's news.

  #followPlayback() {
    const playback = this.#playback;
    playback.addEventListener("session", () => this.#arrived(playback.session));
    playback.addEventListener("loading", () => this.#mayStall());
    playback.addEventListener("wanted", () => this.#draw());
    playback.addEventListener("position", () => this.#moved());
    playback.addEventListener("limited", () => this.#tellBriefly(this.#saidOfLimit("limited")));
    playback.addEventListener("trouble", (event) => this.#tell(event.detail));
    at("again").addEventListener("click", () => playback.again());
  }

  /** A session: the duration and the pictures are there before anything plays. */
  #arrived(session) {
    const { frames, frame_ms: step } = session;
    this.#previews = frames.preview ? new Stills(step, () => frames.preview) : null;
    // Of the rest of the film there are small ones only.
    const large = (ms) => (ms > POSTER_MOST * 1000 ? frames.preview : frames.poster);
    this.#poster = frames.poster ? new Stills(step, large) : null;
    this.#seek.max = session.duration;
    at("download").hidden = !session.download;
    if (session.download) at("download").href = session.download;
    if (!this.#playback.started) {
      const kept = startOf(session);
      if (kept > 0 && kept < session.duration) this.#playback.position = kept;
      else this.#showPoster(Math.max(step / 1000, Math.min(session.duration * POSTER_PART, POSTER_MOST)));
    }
    this.#draw();
  }

  #saidOfLimit(name) {
    const { limit, duration } = this.#playback;
    return this.#say(name, { now: clock(limit, duration) });
  }

  #showPoster(seconds) {
    this.#poster?.show(at("poster"), seconds);
  }

  #moved() {
    if (!this.#player.classList.contains("begun")) this.#showPoster(this.#playback.position);
    this.#draw();
  }

  #tell(trouble) {
    this.#trouble = trouble;
    at("trouble").hidden = trouble === null;
    this.#stage.classList.toggle("troubled", trouble !== null);
    if (trouble === null) return this.#draw();
    const text = this.#say(`trouble_${trouble.kind}`, trouble);
    // Said once; then only the seconds change, which nobody wants to hear one by one.
    at("trouble").setAttribute("aria-live", trouble.seconds === undefined ? "assertive" : "off");
    at("trouble-text").textContent = text;
    at("again").hidden = !CURABLE.has(trouble.kind);
    this.#settle();
    this.#draw();
  }

  // The film's news.

  #followVideo() {
    const video = this.#video;
    for (const name of ["play", "pause", "ended", "volumechange", "durationchange", "progress", "seeked"]) {
      video.addEventListener(name, () => this.#draw());
    }
    for (const name of ["waiting", "seeking", "loadstart"]) video.addEventListener(name, () => this.#mayStall());
    for (const name of ["playing", "seeked", "canplay", "pause", "error"]) {
      video.addEventListener(name, () => this.#settle());
    }
    // A film is as wide as it is: without bars where the page has the room.
    for (const each of [video, at("poster")]) {
      each.addEventListener("loadedmetadata", () => {
        if (each.videoWidth) document.body.style.setProperty("--ratio", `${each.videoWidth} / ${each.videoHeight}`);
      });
    }
    video.addEventListener("loadeddata", () => this.#stage.classList.toggle("heard", !video.videoWidth));
    video.addEventListener("playing", () => this.#begin());
    video.addEventListener("pause", () => {
      this.#keep();
      // Whoever has done that: what stands still is shown with its controls.
      this.#stir();
    });
    video.addEventListener("ended", () => memory.forget());
    video.addEventListener("timeupdate", () => {
      this.#drawPosition();
      if (Math.abs(video.currentTime - this.#kept) >= KEEP_SECONDS) this.#keep();
    });
    addEventListener("pagehide", () => this.#keep());
    for (const name of ["enterpictureinpicture", "leavepictureinpicture"]) {
      video.addEventListener(name, () => this.#draw());
    }
    for (const name of ["fullscreenchange", "webkitfullscreenchange"]) {
      document.addEventListener(name, () => this.#draw());
    }
    navigator.mediaSession?.setActionHandler?.("play", () => this.#playback.play());
    navigator.mediaSession?.setActionHandler?.("pause", () => this.#playback.pause());
    if (navigator.mediaSession) navigator.mediaSession.metadata = new MediaMetadata({ title: document.title });
  }

  #begin() {
    if (this.#player.classList.contains("begun")) return;
    this.#player.classList.add("begun");
    const { position } = this.#playback;
    if (position > 1) this.#tellBriefly(this.#say("resumed", { now: clock(position) }));
    this.#stir();
  }

  #keep() {
    if (!this.#player.classList.contains("begun") || this.#video.ended) return;
    this.#kept = this.#video.currentTime;
    memory.keep(this.#kept, this.#playback.duration);
  }

  #mayStall() {
    if (!this.#playback.started || this.#stall) return;
    this.#stall = setTimeout(() => (at("spinner").hidden = this.#trouble !== null), HICCUP);
  }

  #settle() {
    clearTimeout(this.#stall);
    this.#stall = 0;
    at("spinner").hidden = true;
  }

  // The pointer.

  #followPointer() {
    const stage = this.#stage;
    for (const name of ["pointermove", "pointerdown", "focusin"]) {
      stage.addEventListener(name, () => this.#stir());
    }
    // Wherever the focus is: what is hidden cannot have it, and no Tab would ever reach it.
    document.addEventListener("keydown", () => this.#stir(), true);
    stage.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.#rest());
    // A finger brings the controls out first; a mouse has them already.
    this.#video.addEventListener("click", (event) => {
      if (event.pointerType !== "touch") this.#toggle();
      else if (this.#wasCalm) this.#wasCalm = false;
      else this.#rest();
    });
    stage.addEventListener("pointerdown", () => (this.#wasCalm = stage.classList.contains("calm")), true);
    this.#video.addEventListener("dblclick", (event) => {
      if (event.pointerType !== "touch") return this.#fullscreen();
      const { left, width } = this.#video.getBoundingClientRect();
      this.#skip(event.clientX < left + width / 2 ? -10 : 10);
    });
  }

  #stir() {
    this.#stage.classList.remove("calm");
    clearTimeout(this.#calm);
    this.#calm = setTimeout(() => this.#rest(), CALM);
  }

  #rest() {
    const busy = this.#video.paused || this.#menu.open || this.#seeking || this.#trouble !== null;
    const keyboard = at("controls").querySelector(":focus-visible") !== null;
    this.#stage.classList.toggle("calm", !busy && !keyboard);
  }

  // The position bar: previews while it is hovered or dragged, and one seek in the end.

  #followSeek() {
    const seek = this.#seek;
    seek.addEventListener("input", () => {
      this.#seeking = true;
      const seconds = Number(seek.value);
      this.#drawPosition(seconds);
      this.#preview(seconds);
    });
    seek.addEventListener("change", () => {
      this.#seeking = false;
      this.#playback.position = Number(seek.value);
      at("preview").hidden = true;
    });
    seek.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "mouse" || this.#seeking) return;
      const { left, width } = seek.getBoundingClientRect();
      this.#preview(Math.max(0, Math.min((event.clientX - left) / width, 1)) * this.#playback.duration);
    });
    for (const name of ["pointerleave", "pointerup", "blur"]) {
      seek.addEventListener(name, () => (at("preview").hidden = true));
    }
  }

  #preview(seconds) {
    const { duration } = this.#playback;
    if (!duration) return;
    const preview = at("preview");
    preview.hidden = false;
    const isLater = seconds > this.#playback.limit;
    preview.classList.toggle("later", isLater);
    at("preview-time").textContent = isLater ? this.#say("later", { now: clock(seconds) }) : clock(seconds);
    const room = this.#seek.clientWidth;
    const half = Math.min(preview.offsetWidth, room) / 2;
    const place = (seconds / duration) * room;
    preview.style.left = `${Math.max(half, Math.min(place, room - half))}px`;
    if (isLater) return;
    // Neighbouring places share a picture.
    const step = Math.max(1, duration / 200);
    this.#previews?.show(at("still"), Math.round(seconds / step) * step);
  }

  // Buttons and keys.

  #followButtons() {
    const video = this.#video;
    at("start").addEventListener("click", () => this.#toggle());
    at("toggle").addEventListener("click", () => this.#toggle());
    at("mute").addEventListener("click", () => this.#mute());
    at("volume").addEventListener("input", (event) => this.#loudness(Number(event.target.value)));
    at("fullscreen").addEventListener("click", () => this.#fullscreen());
    at("pip").hidden = !document.pictureInPictureEnabled && !video.webkitSupportsPresentationMode;
    at("pip").addEventListener("click", () => this.#pictureInPicture());
    at("fullscreen").hidden = !document.fullscreenEnabled && !video.webkitEnterFullscreen;
    at("keys").addEventListener("click", () => this.#help());
    at("help-close").addEventListener("click", () => at("help").close());
    at("help").addEventListener("click", (event) => event.target === at("help") && at("help").close());
  }

  #keys() {
    const volume = (by) => {
      this.#loudness(Math.round((this.#video.volume + by) * 20) / 20);
      this.#tellBriefly(`${this.#say("volume")} ${Math.round(this.#video.volume * 100)} %`);
    };
    const speed = (by) => this.#tellBriefly(times(this.#menu.step(by)));
    return {
      " ": () => this.#toggle(),
      k: () => this.#toggle(),
      j: () => this.#skip(-10),
      l: () => this.#skip(10),
      ArrowLeft: () => this.#skip(-5),
      ArrowRight: () => this.#skip(5),
      ArrowUp: () => volume(0.05),
      ArrowDown: () => volume(-0.05),
      m: () => this.#mute(),
      f: () => this.#fullscreen(),
      c: () => this.#captions(),
      "<": () => speed(-1),
      ">": () => speed(1),
      "?": () => this.#help(),
      Escape: () => (this.#menu.open = false),
      tenth: (number) => {
        const seconds = (this.#playback.duration * number) / 10;
        this.#go(seconds, clock(seconds));
      },
    };
  }

  #toggle() {
    if (this.#playback.wanted && !this.#video.ended) this.#playback.pause();
    else this.#playback.play();
    this.#stir();
  }

  #skip(seconds) {
    this.#go(this.#playback.position + seconds, `${seconds < 0 ? "−" : "+"}${Math.abs(seconds)} s`);
    this.#stir();
  }

  /** Goes to a place and says so, unless it is told already why it is not that one. */
  #go(seconds, told) {
    const isLater = seconds > this.#playback.limit;
    this.#playback.position = seconds;
    if (!isLater) this.#tellBriefly(told);
  }

  /** What is seen follows at once and not with the film's event: the next key may move the slider from
   * where it stands. */
  #mute() {
    this.#video.muted = !this.#video.muted;
    if (!this.#video.muted && this.#video.volume === 0) this.#video.volume = 0.5;
    this.#drawLoudness();
    this.#tellBriefly(this.#say(this.#video.muted ? "mute" : "unmute"));
  }

  #loudness(value) {
    this.#video.volume = Math.max(0, Math.min(value, 1));
    this.#video.muted = this.#video.volume === 0;
    this.#drawLoudness();
  }

  #captions() {
    const on = this.#playback.toggleSubtitles();
    this.#tellBriefly(this.#say(on === null ? "no_subtitles" : on ? "subtitles_on" : "subtitles_off"));
  }

  #fullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    // Phones that give no element the screen give it to the film.
    else if (document.fullscreenEnabled) this.#player.requestFullscreen().catch(() => {});
    else this.#video.webkitEnterFullscreen?.();
  }

  #pictureInPicture() {
    const video = this.#video;
    if (document.pictureInPictureElement) document.exitPictureInPicture();
    else if (document.pictureInPictureEnabled) video.requestPictureInPicture().catch(() => {});
    else {
      const there = video.webkitPresentationMode === "picture-in-picture";
      video.webkitSetPresentationMode(there ? "inline" : "picture-in-picture");
    }
  }

  #help() {
    fill(at("key-list"), this.#say, this.#playback.subtitles.length > 0);
    at("help").showModal();
  }

  #tellBriefly(text) {
    const bezel = at("bezel");
    bezel.textContent = text;
    bezel.classList.add("shown");
    clearTimeout(this.#flash);
    this.#flash = setTimeout(() => bezel.classList.remove("shown"), 1100);
  }

  // Drawing.

  #draw() {
    const video = this.#video;
    const { wanted } = this.#playback;
    const action = video.ended ? "replay" : wanted ? "pause" : "play";
    show(at("toggle"), action, this.#say(action));
    show(at("start"), video.ended ? "replay" : "play", this.#say(video.ended ? "replay" : "play"));
    at("start").hidden = (wanted && !video.ended) || this.#trouble !== null;
    this.#drawLoudness();
    const full = document.fullscreenElement !== null;
    show(at("fullscreen"), full ? "window" : "full", this.#say(full ? "window" : "fullscreen"));
    this.#stage.classList.toggle("still", !wanted || video.ended);
    this.#drawPosition();
  }

  #drawLoudness() {
    const { muted, volume } = this.#video;
    const silent = muted || volume === 0;
    show(at("mute"), silent ? "mute" : "loud", this.#say(silent ? "unmute" : "mute"));
    at("volume").value = silent ? 0 : volume;
    at("volume").style.setProperty("--played", `${silent ? 0 : volume * 100}%`);
  }

  #drawPosition(dragged) {
    if (this.#seeking && dragged === undefined) return;
    const { duration, limit } = this.#playback;
    const now = dragged ?? this.#playback.position;
    const seek = this.#seek;
    seek.max = duration || 1;
    seek.value = now;
    const values = { now: clock(now, duration), length: clock(duration) };
    seek.setAttribute("aria-valuetext", this.#say("position", values));
    at("now").textContent = values.now;
    at("length").textContent = values.length;
    seek.style.setProperty("--played", part(now, duration));
    seek.style.setProperty("--loaded", part(loadedTo(this.#video), duration));
    const isBound = limit < duration - NEAR_END;
    seek.classList.toggle("bound", isBound);
    at("limit").hidden = !isBound;
    if (!isBound) return;
    seek.style.setProperty("--limit", part(limit, duration));
    const said = this.#saidOfLimit("limit");
    if (at("limit").textContent !== said) at("limit").textContent = said;
  }
}

/** Where a film begins: where this browser has stopped; where nobody skips ahead, where the credit has ended, whichever
 * device it was on, and only what of it was not seen here is seen again. */
function startOf({ reached, duration }) {
  const kept = memory.position;
  if (reached === undefined) return kept;
  if (kept > 0 && kept <= reached && reached - kept <= UNSEEN) return kept;
  return reached > duration - NEAR_END ? 0 : reached;
}

function show(button, icon, label) {
  const use = button.querySelector("use");
  if (use.getAttribute("href") !== `#i-${icon}`) use.setAttribute("href", `#i-${icon}`);
  if (button.getAttribute("aria-label") !== label) {
    button.setAttribute("aria-label", label);
    button.title = label;
  }
}

function part(seconds, duration) {
  return duration ? `${Math.min(100, (seconds / duration) * 100)}%` : "0%";
}

/** Up to where the film lies ready, from where it plays on. */
function loadedTo({ buffered, currentTime }) {
  for (let i = 0; i < buffered.length; i += 1) {
    if (buffered.start(i) <= currentTime + 0.1 && currentTime <= buffered.end(i)) return buffered.end(i);
  }
  return 0;
}

/** 75 as 1:15; with hours where `longest` has some. */
function clock(seconds, longest = seconds) {
  const whole = Math.floor(Math.max(0, seconds));
  const two = (number) => String(number).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  return longest >= 3600 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
