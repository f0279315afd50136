// The SIFT matches of the query with a neighbour, drawn by the service, in a dialog. In: the query and the neighbours.
// Out: the picture, and how many keypoints match in it.

import { Problem } from "./api.js";
import { byId, counted, element, shortName } from "./dom.js";

export class Matches {
  #api;
  #dialog = byId("matches");
  #query = null;
  #neighbours = [];
  #number = 0;
  #running = null;
  #address = null;

  constructor(api) {
    this.#api = api;
    byId("matches-close").addEventListener("click", () => this.#dialog.close());
    byId("matches-previous").addEventListener("click", () => this.#step(-1));
    byId("matches-next").addEventListener("click", () => this.#step(1));
    this.#dialog.addEventListener("close", () => this.#running?.abort());
    this.#dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const scrolls = byId("matches-sheet").scrollWidth > byId("matches-sheet").clientWidth;
      if (step && !scrolls) {
        this.#step(step);
      }
    });
  }

  /** Open the dialog on the neighbour of this number; those with `isQuery` have no matches to show. */
  open(query, neighbours, number) {
    this.#query = query;
    this.#neighbours = neighbours;
    this.#dialog.showModal();
    this.#show(number);
  }

  #step(by) {
    const to = this.#number + by;
    if (this.#isShown(to)) {
      this.#show(to);
    }
  }

  #isShown(number) {
    const neighbour = this.#neighbours[number];
    return neighbour !== undefined && Boolean(neighbour.thumbnail) && String(neighbour.key) !== this.#query.key;
  }

  async #show(number) {
    this.#number = number;
    this.#running?.abort();
    const { signal } = (this.#running = new AbortController());
    const neighbour = this.#neighbours[number];
    const name = neighbour.label ?? shortName(neighbour.uri);
    byId("matches-title").textContent = `Matches with ${name}`;
    byId("matches-title").title = neighbour.uri;
    for (const [id, by] of [["matches-previous", -1], ["matches-next", 1]]) {
      byId(id).disabled = !this.#isShown(number + by);
    }
    this.#tell("Matching…", true);
    try {
      const found = await this.#api.matches(String(neighbour.key), this.#query, { signal });
      await this.#draw(found, name);
    } catch (error) {
      if (signal.aborted) {
        return;
      }
      byId("matches-sheet").replaceChildren();
      const isTold = error instanceof Problem;
      this.#tell(isTold ? `${error.heading}. ${error.message}` : "The matches cannot be shown.", false);
    }
  }

  async #draw({ picture, matches, inliers }, name) {
    if (this.#address !== null) {
      URL.revokeObjectURL(this.#address);
    }
    this.#address = URL.createObjectURL(picture);
    const matched = counted(matches, "keypoint matches", "keypoints match");
    const told = `${matched}, ${inliers || "none"} of them in one geometry`;
    const image = element("img", { alt: `The query and ${name}, side by side with lines between them: ${told}.` });
    image.src = this.#address;
    await image.decode();
    byId("matches-sheet").replaceChildren(image);
    this.#tell(matches ? `${told}.` : "No keypoints match.", false);
  }

  #tell(text, isBusy) {
    byId("matches-told").textContent = text;
    byId("matches-sheet").setAttribute("aria-busy", String(isBusy));
  }
}
