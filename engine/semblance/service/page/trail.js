// What was searched, one after another. In: entries, each {kind: "home" | "key" | "picture", ...}. Out: the browser's
// history, so that its back button works, and a row of small pictures that leads to each. What #key=7 says can be sent
// to somebody else; a picture that was dropped is kept until the page is loaded anew.

import { byId, element } from "./dom.js";
import { showFile } from "./thumbnails.js";

const SMALL_PX = 96;

export class Trail {
  #nav = byId("trail");
  #thumbnails;
  #entries = [];
  #position = 0;

  /** `onMove(entry, hash)` is called when the browser goes to another; entry is null where only the hash is known. */
  constructor(thumbnails, onMove) {
    this.#thumbnails = thumbnails;
    history.scrollRestoration = "manual";
    addEventListener("popstate", (event) => {
      const isOurs = Number.isInteger(event.state?.position);
      this.#position = isOurs ? event.state.position : this.#position + 1;
      if (!isOurs) { // somebody wrote the address
        this.#entries.length = this.#position;
        history.replaceState({ position: this.#position }, "");
      }
      onMove(this.#entries[this.#position] ?? null, location.hash);
    });
  }

  /** Where the page begins; after it was loaded anew, in the middle of a trail that only the browser knows. */
  begin() {
    this.#position = Number.isInteger(history.state?.position) ? history.state.position : 0;
    history.replaceState({ position: this.#position }, "");
  }

  /** The entry that is shown now, with its hash; in place of what was known of it. */
  set(entry, hash) {
    this.#entries[this.#position] = entry;
    history.replaceState({ position: this.#position }, "", hash || location.pathname + location.search);
    this.#draw();
  }

  /** A new entry after the one that is shown; what came after that is forgotten, as browsers do. */
  push(entry, hash) {
    this.#position++;
    this.#entries.length = this.#position;
    history.pushState({ position: this.#position }, "", hash || location.pathname + location.search);
    this.#entries[this.#position] = entry;
    this.#draw();
  }

  #draw() {
    const numbered = this.#entries.map((entry, at) => ({ entry, at }));
    const shown = numbered.filter(({ entry }) => entry && entry.kind !== "home");
    this.#nav.hidden = shown.length < 2;
    if (this.#nav.hidden) {
      return;
    }
    const list = this.#nav.querySelector("ol");
    list.replaceChildren(...shown.map(({ entry, at }) => this.#step(entry, at)));
    const current = list.querySelector("[aria-current]");
    if (current !== null) { // without scrolling the page, as scrollIntoView would
      list.scrollLeft = current.offsetLeft - list.offsetLeft - (list.clientWidth - current.offsetWidth) / 2;
    }
  }

  #step(entry, at) {
    const isCurrent = at === this.#position;
    const told = { title: entry.name, "aria-label": entry.name, "aria-current": isCurrent ? "step" : null };
    const button = element("button", { type: "button", ...told });
    if (entry.kind === "picture") {
      showFile(button, entry.address, entry.name, "");
    } else {
      this.#thumbnails.show(button, entry.key, SMALL_PX, { alt: "", name: entry.name, isShown: entry.isShown });
    }
    button.addEventListener("click", () => !isCurrent && history.go(at - this.#position));
    return element("li", {}, button);
  }
}
