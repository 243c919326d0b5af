// Where the viewer stopped, in this browser alone. Browsers may refuse to keep anything: then nothing is kept.

const PLACE = `pystream:${location.pathname}`;
const OFF = "pystream:forgetful";
/** So near to either end there is nothing to go on with: seconds, and a part of a short film. */
const NEAR = 15;
const NEAR_PART = 0.1;

export const memory = {
  /** Whether positions are kept, as far as the viewer decides. */
  get on() {
    return attempt(() => localStorage.getItem(OFF) === null) ?? false;
  },

  set on(wanted) {
    attempt(() => (wanted ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "1")));
    if (!wanted) this.forget();
  },

  /** Whether this browser keeps anything at all. */
  get possible() {
    return attempt(() => localStorage.length) !== undefined;
  },

  get position() {
    const kept = this.on ? Number(attempt(() => localStorage.getItem(PLACE))) : 0;
    return Number.isFinite(kept) ? kept : 0;
  },

  keep(position, duration) {
    if (!this.on) return;
    const near = Math.min(NEAR, duration * NEAR_PART);
    if (position < near || position > duration - near) return this.forget();
    attempt(() => localStorage.setItem(PLACE, position.toFixed(1)));
  },

  forget() {
    attempt(() => localStorage.removeItem(PLACE));
  },
};

function attempt(action) {
  try {
    return action();
  } catch {
    return undefined;
  }
}
