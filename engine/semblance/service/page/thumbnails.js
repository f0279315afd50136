// The gallery's pictures, small. In: a key. Out: an <img> in its place, or the picture's name where it is not shown.
// With a token the browser cannot load them by their address alone, which has no header: they are fetched, a few at a
// time, and shown from memory.

import { element, keepCrisp, shortName } from "./dom.js";
import { thumbnailPlace } from "./api.js";

const MOST_AT_A_TIME = 6;
const MOST_KEPT = 400;

export class Thumbnails {
  #api;
  #kept = new Map(); // addresses of pictures in memory, the longest unused first
  #waiting = [];
  #numLoading = 0;

  constructor(api) {
    this.#api = api;
  }

  /** Fill `place` with the picture of a key; `name` stands there where there is none. */
  async show(place, key, size, { alt, name, isShown = true, signal }) {
    if (!isShown) {
      return asText(place, name);
    }
    const image = element("img", { alt, draggable: "false", decoding: "async", loading: "lazy" });
    place.replaceChildren(image);
    try {
      const address = await this.#address(key, size, signal);
      await new Promise((resolve, reject) => { // not decode(), which does not wait until a lazy one comes into sight
        image.addEventListener("load", resolve);
        image.addEventListener("error", reject);
        image.src = address;
      });
      keepCrisp(image);
    } catch (error) {
      if (!signal?.aborted && place.contains(image)) {
        asText(place, name);
      }
    }
  }

  async #address(key, size, signal) {
    const place = thumbnailPlace(key, size);
    if (this.#api.token === null) {
      return place;
    }
    if (!this.#kept.has(place)) {
      const blob = await this.#inTurn(() => this.#api.thumbnail(key, size, { signal }));
      this.#kept.set(place, URL.createObjectURL(blob));
    }
    const address = this.#kept.get(place);
    this.#kept.delete(place);
    this.#kept.set(place, address);
    if (this.#kept.size > MOST_KEPT) {
      const [oldest, unused] = this.#kept.entries().next().value;
      this.#kept.delete(oldest);
      URL.revokeObjectURL(unused);
    }
    return address;
  }

  async #inTurn(work) {
    if (this.#numLoading >= MOST_AT_A_TIME) {
      await new Promise((resolve) => this.#waiting.push(resolve));
    }
    this.#numLoading++;
    try {
      return await work();
    } finally {
      this.#numLoading--;
      this.#waiting.shift()?.();
    }
  }
}

/** A file that was given, shown; its name where this browser cannot. Returns its [width, height], or null. */
export async function showFile(place, address, name, alt) {
  const image = element("img", { alt, draggable: "false" });
  place.replaceChildren(image);
  image.src = address;
  try {
    await image.decode();
  } catch {
    if (place.contains(image)) {
      asText(place, name);
    }
    return null;
  }
  keepCrisp(image);
  return [image.naturalWidth, image.naturalHeight];
}

function asText(place, name) {
  place.replaceChildren(element("span", { class: "name" }, shortName(name)));
}
