// The settings: quality, speed, sound, and whether the position is remembered. Radio buttons and a check box, so that
// keys and screen readers know them.

import { memory } from "./memory.js";

const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 1.75, 2];

export class Menu {
  #panel;
  #opener;
  #video;
  #playback;
  #say;

  constructor(panel, opener, video, playback, say) {
    this.#panel = panel;
    this.#opener = opener;
    this.#video = video;
    this.#playback = playback;
    this.#say = say;
    opener.addEventListener("click", () => (this.open = !this.open));
    playback.addEventListener("choices", () => this.open && this.#draw());
    panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#leave(event);
    });
    document.addEventListener("pointerdown", (event) => {
      if (this.open && !panel.contains(event.target) && !opener.contains(event.target)) this.open = false;
    });
  }

  get open() {
    return !this.#panel.hidden;
  }

  set open(open) {
    if (open) this.#draw();
    this.#panel.hidden = !open;
    this.#opener.setAttribute("aria-expanded", String(open));
    if (!open) return;
    const first = this.#panel.querySelector("input:checked") ?? this.#panel.querySelector("input");
    first?.focus({ preventScroll: true });
  }

  /** Where nobody skips ahead, none is faster than the film; and none than the film comes. */
  get #speeds() {
    const most = Number.isFinite(this.#playback.limit) ? 1 : (this.#playback.session?.pace ?? Infinity);
    return SPEEDS.filter((speed) => speed <= most);
  }

  /** One step slower (-1) or faster (1); returns the speed. */
  step(by) {
    const speeds = this.#speeds;
    const at = speeds.indexOf(this.#video.playbackRate);
    this.#video.playbackRate = speeds[Math.max(0, Math.min(at + by, speeds.length - 1))];
    if (this.open) this.#draw();
    return this.#video.playbackRate;
  }

  #leave(event) {
    event.stopPropagation();
    this.open = false;
    this.#opener.focus();
  }

  #draw() {
    const focused = this.#panel.querySelector(":focus")?.dataset.choice;
    this.#panel.replaceChildren(...[this.#quality(), this.#speed(), this.#sound(), this.#remember()].filter(Boolean));
    if (focused) this.#panel.querySelector(`[data-choice="${focused}"]`)?.focus();
  }

  #quality() {
    const { levels, level, shown } = this.#playback;
    if (levels.length < 2) return null;
    const automatic = this.#say("automatic") + (shown ? ` (${name(shown)})` : "");
    const choices = levels
      .map((each, index) => [index, name(each), each.height])
      .sort((a, b) => b[2] - a[2]);
    return group("quality", this.#say("quality"), [[-1, automatic], ...choices], level, (index) => {
      this.#playback.level = index;
    });
  }

  #speed() {
    const choices = this.#speeds.map((speed) => [speed, times(speed)]);
    const set = group("speed", this.#say("speed"), choices, this.#video.playbackRate, (speed) => {
      this.#video.playbackRate = speed;
    });
    set.className = "chips";
    return set;
  }

  #sound() {
    const { sounds, sound } = this.#playback;
    if (sounds.length < 2) return null;
    const choices = sounds.map((each, index) => [index, spoken(each) ?? this.#say("track", { number: index + 1 })]);
    return group("sound", this.#say("sound"), choices, sound, (index) => (this.#playback.sound = index));
  }

  #remember() {
    if (!memory.possible) return null;
    const box = choice("checkbox", "remember", "on", this.#say("remember"), memory.on);
    box.firstChild.addEventListener("change", (event) => (memory.on = event.target.checked));
    const hint = document.createElement("p");
    hint.textContent = this.#say("remember_hint");
    const set = document.createElement("fieldset");
    set.append(box, hint);
    return set;
  }
}

/** A speed as people of the page's language write it. */
export function times(speed) {
  return `${speed.toLocaleString(document.documentElement.lang)} ×`;
}

function name(level) {
  // A level without a picture has its rate for a name.
  return level.height ? `${Math.min(level.width, level.height)}p` : `${Math.round(level.bitrate / 1000)} kbit/s`;
}

/** What people call a language, in the page's own; undefined where the track names none. */
function spoken(track) {
  try {
    return new Intl.DisplayNames([document.documentElement.lang], { type: "language" }).of(track.lang);
  } catch {
    return track.name;
  }
}

function group(kind, legend, choices, chosen, choose) {
  const set = document.createElement("fieldset");
  const title = document.createElement("legend");
  title.textContent = legend;
  set.append(title);
  for (const [value, label] of choices) {
    const radio = choice("radio", kind, value, label, value === chosen);
    radio.firstChild.addEventListener("change", () => choose(value));
    set.append(radio);
  }
  return set;
}

function choice(type, kind, value, text, checked) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, { type, name: kind, value, checked });
  input.dataset.choice = `${kind} ${value}`;
  label.append(input, text);
  return label;
}
