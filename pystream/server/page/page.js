// The page: puts the parts together.

import { Beacons } from "./beacons.js";
import { Controls } from "./controls.js";
import { Count } from "./count.js";
import { Entry, Ticket } from "./entry.js";
import { Playback } from "./playback.js";
import { Refused, leave, openSession } from "./session.js";

const texts = JSON.parse(document.getElementById("texts").textContent);

/** A text in the viewer's language, with its places filled. */
function say(name, values = {}) {
  return texts[name].replace(/\{(\w+)\}/g, (_, place) => values[place]);
}

const embedded = window.top !== window;
document.documentElement.classList.toggle("embedded", embedded);
// Scripts run in their order: where it is not here by now, it will not be, and the page says so as of any other part.
if (!globalThis.Hls) throw new Error("a part of this page has not arrived");
document.getElementById("late").remove();
document.getElementById("stage").hidden = false;

const form = document.getElementById("entry");
const { way, framed, opens } = document.body.dataset;
const isTyped = way === "shared" || way === "personal";
const entry = way === "open" ? null : isTyped ? new Entry(form, say) : new Ticket(form, say, way);

/** Why nobody comes in here, or not yet, as the server knew when it sent this page; nobody is asked for a password in
 * vain. Whoever tries again has another page, by the server's clock and as things are then. */
const bar = framed !== undefined && !embedded ? { kind: "site" } : opens ? { kind: "early", opens_at: Number(opens) } : null;
let isTold = false;

async function sessions() {
  if (bar && isTold) {
    location.reload();
    return new Promise(() => {});
  }
  isTold = true;
  if (bar) throw new Refused(403, undefined, bar);
  return entry ? entry.session() : openSession();
}

const playback = new Playback(document.getElementById("video"), document.body.dataset.worker, sessions);
new Controls(playback, say);
new Beacons(playback, document.getElementById("video"), say);
new Count(playback, document.getElementById("video"), say);
playback.prepare();
// A page that comes back asks for the film again, and has its place, unless somebody took it.
addEventListener("pagehide", () => leave(playback.session));
