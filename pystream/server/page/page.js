// The page: puts the parts together.

import { Controls } from "./controls.js";
import { Entry, Ticket } from "./entry.js";
import { Playback } from "./playback.js";
import { openSession } from "./session.js";

const texts = JSON.parse(document.getElementById("texts").textContent);

/** A text in the viewer's language, with its places filled. */
function say(name, values = {}) {
  return texts[name].replace(/\{(\w+)\}/g, (_, place) => values[place]);
}

const embedded = window.top !== window;
document.documentElement.classList.toggle("embedded", embedded);
document.getElementById("stage").hidden = false;

const form = document.getElementById("entry");
const { way } = document.body.dataset;
const isTyped = way === "shared" || way === "personal";
const entry = way === "open" ? null : isTyped ? new Entry(form, say) : new Ticket(form, say, way);
const sessions = entry ? () => entry.session() : () => openSession();
const playback = new Playback(document.getElementById("video"), document.body.dataset.worker, sessions);
new Controls(playback, say);
playback.prepare();
