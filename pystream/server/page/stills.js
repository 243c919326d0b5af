// Single pictures of the film: the poster, and what the position bar previews. The server sends key frames as films of
// one picture, and a video element without controls draws them.

const KEPT = 80;
/** A picture is asked for at most so often, milliseconds: a pointer moves faster. */
const PACE = 120;

export class Stills {
  #step;
  #folder;
  #kept = new Map();
  #latest = 0;
  #running = Promise.resolve();

  /** `step`: milliseconds from one picture to the next; `folder(ms)`: the address that `{ms}.mp4` is appended to. */
  constructor(step, folder) {
    this.#step = step;
    this.#folder = folder;
  }

  /** Shows the picture nearest to `seconds`, unless another one is wanted by then. Whether it did. */
  show(video, seconds) {
    const ms = Math.max(0, Math.round((seconds * 1000) / this.#step)) * this.#step;
    const turn = ++this.#latest;
    if (this.#kept.has(ms)) return this.#draw(video, ms);
    const fetched = this.#running.then(() => (turn === this.#latest ? this.#fetch(ms) : false));
    this.#running = fetched.then(() => new Promise((next) => setTimeout(next, PACE)));
    return fetched.then((found) => found && turn === this.#latest && this.#draw(video, ms));
  }

  async #fetch(ms) {
    try {
      const answer = await fetch(`${this.#folder(ms)}${ms}.mp4`, { credentials: "omit" });
      if (!answer.ok) return false;
      this.#keep(ms, URL.createObjectURL(await answer.blob()));
      return true;
    } catch {
      // The film plays without them.
      return false;
    }
  }

  #keep(ms, address) {
    this.#kept.set(ms, address);
    if (this.#kept.size <= KEPT) return;
    const [oldest, gone] = this.#kept.entries().next().value;
    this.#kept.delete(oldest);
    URL.revokeObjectURL(gone);
  }

  async #draw(video, ms) {
    const address = this.#kept.get(ms);
    if (video.src !== address) video.src = address;
    return true;
  }
}
