// The way in where a film is not open to all: with a password, one field and what is wrong with what was typed; with
// a link or a token, without a question. And the visit that a reload goes on with.
//
// What the customer tells viewers comes first: nothing is asked of the server, and so nothing recorded, before somebody
// has gone on from it. The server is told which version that was, and refuses one that does not stand any more.
//
// A visit is kept for this tab alone (sessionStorage), and in an iframe for this tab and the site around it: no cookie.
// Where the browser keeps nothing, a reload asks again, and only the page that began a visit knows of it: enough to say
// why it ended. A printed card's code opens the page with the password behind the "#", which no server ever sees; it is
// taken out of the address and put into the field. A token of a customer's site comes the same way, as "#token=...".
// What comes there once the page is open, of a page around that was slow to hand it on, or of another card, opens the
// page anew. A link stays where it is, so that it can be opened again.

import { Refused, openSession, probe } from "./session.js";

addEventListener("hashchange", () => {
  if (location.hash) location.reload();
});

const KEPT = "pystream-visit";
/** The visit that this page began, whatever the browser keeps. */
let own = null;
/** Of these the page speaks with the texts that a film has without a form. */
const GATES = new Set(["early", "early_at", "late", "site", "network", "country"]);

/** Why a visit ended that this tab would go on with; of whatever else, that it did. */
const ENDED = new Set(["kicked", "revoked", ...GATES]);

/** These say for how many seconds. */
const TIMED = new Set(["devices", "tries", "full", "later"]);

/** What the customer tells viewers. `version` is "" where that is nothing. */
class Notice {
  #form;
  #place = document.getElementById("notice");

  constructor(form) {
    this.#form = form;
  }

  get version() {
    return this.#form.dataset.notice;
  }

  /** Puts another one in its place. */
  set({ text, version }) {
    const parts = text.split("\n\n").map((part) => part.trim());
    const paragraphs = parts.filter(Boolean).map((part) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = part;
      return paragraph;
    });
    this.#place.replaceChildren(...paragraphs);
    this.#place.hidden = version === "";
    this.#form.dataset.notice = version;
  }
}

/** The way in with a link or a token. */
export class Ticket {
  #form;
  #say;
  #notice;
  #read = "";
  #way;
  #token = null;

  /** `form`: the element; `say(name)`: a text in the viewer's language; `way`: the stream's access, `signed` or
   * `external`. */
  constructor(form, say, way) {
    this.#form = form;
    this.#say = say;
    this.#notice = new Notice(form);
    this.#way = way;
    if (way === "external") this.#token = tokenInAddress();
  }

  /** A session, as `openSession` has it; throws as that does. */
  async session() {
    const link = this.#way === "signed" ? location.search : undefined;
    const visit = kept();
    const isSame = visit?.path === location.pathname && visit.link === link;
    if (isSame && this.#token === null) {
      try {
        await probe(visit.master);
        return visit;
      } catch (error) {
        if (!(error instanceof Refused) || error.status !== 403) throw error;
        forget();
        // Two devices that both came in anew by themselves would end each other's visits for ever.
        if (error.kind === "kicked" || error.kind === "revoked") throw error;
      }
    }
    const shown = this.#way === "signed" ? { link } : { token: this.#token ?? undefined };
    const credentials = this.#way === "signed" ? "same-origin" : "omit";
    this.#read ||= visit?.notice ?? "";
    await this.#told();
    for (;;) {
      const notice = this.#notice.version;
      try {
        const opened = await openSession({ ...shown, notice, replaces: visit?.grant }, credentials);
        // It was good for once.
        this.#token = null;
        keep({ ...opened, link, notice });
        return opened;
      } catch (error) {
        if (error.notice === undefined) throw error;
        this.#notice.set(error.notice);
        await this.#told(this.#say("entry_notice"));
      }
    }
  }

  /** Shows the notice, unless there is none or it was read before, until somebody goes on. */
  async #told(why = "") {
    const { version } = this.#notice;
    if (version === "" || version === this.#read) return;
    const problem = document.getElementById("entry-problem");
    problem.textContent = why;
    problem.hidden = why === "";
    this.#form.hidden = false;
    await new Promise((resolve) => {
      const sent = (event) => {
        event.preventDefault();
        resolve();
      };
      this.#form.addEventListener("submit", sent, { once: true });
    });
    shut(this.#form);
    this.#read = version;
  }
}

/** Takes the form away, and the focus from it at once: browsers do so only as they paint, and until then the player's
 * keys would be the field's. */
function shut(form) {
  if (form.contains(document.activeElement)) document.activeElement.blur();
  form.hidden = true;
}

function tokenInAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) history.replaceState(history.state, "", location.pathname + location.search);
  return token;
}

export class Entry {
  #form;
  #notice;
  #field;
  #problem;
  #say;
  #counting = 0;

  /** `form`: the element; `say(name)`: a text in the viewer's language. */
  constructor(form, say) {
    this.#form = form;
    this.#notice = new Notice(form);
    this.#field = form.elements.password;
    this.#problem = document.getElementById("entry-problem");
    this.#say = say;
    this.#field.value = fromAddress();
  }

  /** A session, as `openSession` has it, once there is one. Throws what means that the server cannot say. */
  async session() {
    const visit = kept();
    // Of another film it is what was watched in this tab before: the new visit takes its place.
    if (visit?.path === location.pathname) {
      try {
        await probe(visit.master);
        return visit;
      } catch (error) {
        if (!(error instanceof Refused) || error.status !== 403) throw error;
        forget();
        this.#tell(ENDED.has(error.kind) ? error.kind : "over", error.retryAfter, error.when);
      }
    }
    return this.#asked(visit);
  }

  async #asked(last) {
    this.#form.hidden = false;
    this.#field.focus({ preventScroll: true });
    for (;;) {
      const password = await this.#typed();
      this.#tell(null);
      this.#form.classList.add("busy");
      try {
        const visit = await openSession({ password, notice: this.#notice.version, replaces: last?.grant });
        keep(visit);
        shut(this.#form);
        this.#field.value = "";
        this.#tell(null);
        return visit;
      } catch (error) {
        if (error.notice !== undefined) this.#notice.set(error.notice);
        this.#tell(error instanceof Refused ? (error.kind ?? "later") : "offline", error.retryAfter, error.when);
      } finally {
        this.#form.classList.remove("busy");
      }
    }
  }

  #typed() {
    return new Promise((resolve) => {
      const sent = (event) => {
        event.preventDefault();
        if (this.#form.classList.contains("busy") || !this.#field.value.trim()) return;
        this.#form.removeEventListener("submit", sent);
        resolve(this.#field.value);
      };
      this.#form.addEventListener("submit", sent);
    });
  }

  #tell(kind, seconds = 10, when = "") {
    clearInterval(this.#counting);
    this.#problem.removeAttribute("aria-live");
    const name = GATES.has(kind) ? `trouble_${kind}` : `entry_${kind}`;
    this.#problem.textContent = kind === null ? "" : this.#say(name, { seconds, when });
    this.#problem.hidden = kind === null;
    // It is to be compared with the card, so all of it has to be seen.
    if (kind === "mistyped" && this.#field.scrollWidth > this.#field.clientWidth) {
      const typed = document.createElement("code");
      typed.textContent = this.#field.value;
      this.#problem.append(typed);
    }
    this.#field.setAttribute("aria-invalid", String(kind === "password" || kind === "mistyped"));
    if (TIMED.has(kind)) this.#countDown(name, seconds);
    if (kind === null) return;
    this.#field.select();
    // Below a long notice, or in a low frame.
    this.#problem.scrollIntoView({ block: "nearest" });
  }

  /** Says it again, with the seconds that are left, until it is time. */
  #countDown(name, seconds) {
    const end = performance.now() + seconds * 1000;
    this.#counting = setInterval(() => {
      const left = Math.ceil((end - performance.now()) / 1000);
      // Nobody wants to hear the seconds one by one, but that it is time.
      this.#problem.setAttribute("aria-live", left > 0 ? "off" : "assertive");
      this.#problem.textContent = left > 0 ? this.#say(name, { seconds: left }) : this.#say("entry_now");
      if (left <= 0) clearInterval(this.#counting);
    }, 1000);
  }
}

function fromAddress() {
  const text = location.hash.slice(1);
  if (text) history.replaceState(history.state, "", location.pathname + location.search);
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function kept() {
  if (own !== null) return own;
  try {
    return JSON.parse(sessionStorage.getItem(KEPT));
  } catch {
    return null;
  }
}

function keep(visit) {
  own = { ...visit, path: location.pathname };
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(own));
  } catch {
    // Then a reload asks for it again.
  }
}

function forget() {
  own = null;
  try {
    sessionStorage.removeItem(KEPT);
  } catch {
    // Nothing was kept either.
  }
}
