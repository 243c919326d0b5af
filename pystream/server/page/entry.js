// The way in with a password: one field, what is wrong with what was typed, and the visit that a reload goes on with.
//
// A visit is kept for this tab alone (sessionStorage), and in an iframe for this tab and the site around it: no cookie.
// Where the browser keeps nothing, a reload asks again. A printed card's code opens the page with the password behind
// the "#", which no server ever sees; it is taken out of the address and put into the field.

import { Refused, openSession, probe } from "./session.js";

const KEPT = "pystream-visit";

export class Entry {
  #form;
  #field;
  #problem;
  #say;

  /** `form`: the element; `say(name)`: a text in the viewer's language. */
  constructor(form, say) {
    this.#form = form;
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
        this.#tell(error.kind === "over" ? null : error.kind);
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
        const visit = await openSession({ password, replaces: last?.grant });
        keep(visit);
        this.#form.hidden = true;
        this.#field.value = "";
        this.#tell(null);
        return visit;
      } catch (error) {
        this.#tell(error instanceof Refused ? (error.kind ?? "later") : "offline", error.retryAfter);
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

  #tell(kind, seconds = 10) {
    this.#problem.textContent = kind === null ? "" : this.#say(`entry_${kind}`, { seconds });
    this.#problem.hidden = kind === null;
    this.#field.setAttribute("aria-invalid", String(kind === "password" || kind === "mistyped"));
    if (kind !== null) this.#field.select();
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
  try {
    return JSON.parse(sessionStorage.getItem(KEPT));
  } catch {
    return null;
  }
}

function keep(visit) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify({ ...visit, path: location.pathname }));
  } catch {
    // Then it is asked for again.
  }
}

function forget() {
  try {
    sessionStorage.removeItem(KEPT);
  } catch {
    // Nothing was kept either.
  }
}
