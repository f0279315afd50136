// The neighbours as a grid. In: what a search answered. Out: a tile for each, which searches on when it is pressed and
// shows its matches when asked to. One tile at a time is reached by Tab; the arrow keys lead from it to the others.

import { byId, element, shortName } from "./dom.js";

const TILE_PX = 400; // enough for screens of two pixels a point

export class Grid {
  #list = byId("grid");
  #thumbnails;
  #onPick;
  #onMatches;
  #neighbours = [];

  /** `onPick(neighbour)` searches with it, `onMatches(number)` shows the matches with the neighbour of that number. */
  constructor(thumbnails, onPick, onMatches) {
    this.#thumbnails = thumbnails;
    this.#onPick = onPick;
    this.#onMatches = onMatches;
    this.#list.addEventListener("keydown", (event) => this.#move(event));
    this.#list.addEventListener("click", (event) => this.#press(event));
    this.#list.addEventListener("focusin", (event) => this.#enter(event.target.closest(".tile")));
  }

  get hasFocus() {
    return this.#list.contains(document.activeElement);
  }

  /** Show neighbours in place of what was there. `ofKey` is the query's own, `isSample` is without distances. */
  show(neighbours, { ofKey = null, hasMatches = false, isSample = false, signal } = {}) {
    const hadFocus = this.hasFocus;
    this.#neighbours = neighbours;
    const inWords = distancesInWords(neighbours);
    const farthest = Math.max(...neighbours.map((each) => each.distance), Number.MIN_VALUE);
    const tiles = neighbours.map((each, number) => {
      const isQuery = String(each.key) === ofKey;
      const share = Math.max(0, each.distance) / farthest;
      const told = isSample ? null : { text: inWords[number], share, isQuery };
      return this.#tile(each, number, told, hasMatches && Boolean(each.thumbnail) && !isQuery, signal);
    });
    this.#list.replaceChildren(...tiles);
    this.#enter(tiles[0]);
    if (hadFocus) {
      this.focus(0);
    }
  }

  /** Put the focus on the tile of this number. */
  focus(number) {
    this.#list.children[number]?.querySelector(".pick").focus({ preventScroll: number === 0 });
  }

  #tile(neighbour, number, told, hasMatches, signal) {
    const name = neighbour.label ?? shortName(neighbour.uri);
    const mat = element("span", { class: "mat" });
    const fit = neighbour.inliers === undefined ? null : `${neighbour.inliers} of ${neighbour.matches} matches fit`;
    const spoken = [name];
    if (told !== null) {
      spoken.push(`neighbour ${number + 1}`, `distance ${told.text}`, ...(fit === null ? [] : [fit]));
    }
    const label = [...spoken, neighbour.uri].join(", ");
    const pick = element(
      "button",
      { type: "button", class: "pick", tabindex: "-1", title: neighbour.uri, "aria-label": label },
      mat,
      ...(told === null ? [] : [bar(told.share)]),
      element("span", { class: "line" }, element("span", { class: "label" }, name), distance(told)),
      neighbour.label === null ? null : element("span", { class: "uri" }, shortName(neighbour.uri)),
      fit === null ? null : element("span", { class: "uri" }, fit),
    );
    const { key, uri } = neighbour;
    const how = { alt: `${name}, ${uri}`, name: uri, isShown: Boolean(neighbour.thumbnail), signal };
    this.#thumbnails.show(mat, String(key), TILE_PX, how);
    const tile = element("li", { class: "tile" }, pick);
    if (hasMatches) {
      const attributes = { type: "button", class: "match quiet-button", tabindex: "-1" };
      attributes["aria-label"] = `Show matches with ${name}, neighbour ${number + 1}`;
      tile.append(element("button", attributes, "Show matches"));
    }
    return tile;
  }

  #enter(tile) {
    if (!tile) {
      return;
    }
    for (const button of this.#list.querySelectorAll("button[tabindex='0']")) {
      button.tabIndex = -1;
    }
    for (const button of tile.querySelectorAll("button")) {
      button.tabIndex = 0;
    }
  }

  #press(event) {
    const button = event.target.closest("button");
    if (button === null) {
      return;
    }
    const number = [...this.#list.children].indexOf(button.closest(".tile"));
    button.matches(".match") ? this.#onMatches(number) : this.#onPick(this.#neighbours[number]);
  }

  #move(event) {
    const tile = event.target.closest(".tile");
    if (tile === null || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const number = [...this.#list.children].indexOf(tile);
    if (event.key.toLowerCase() === "m" && tile.querySelector(".match")) {
      event.preventDefault();
      this.#onMatches(number);
      return;
    }
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.#numColumns(), ArrowDown: this.#numColumns() };
    const last = this.#list.children.length - 1;
    const to = { Home: 0, End: last }[event.key] ?? (event.key in steps ? number + steps[event.key] : null);
    if (to !== null && to >= 0 && to <= last) {
      event.preventDefault();
      this.focus(to);
    }
  }

  #numColumns() {
    const tiles = [...this.#list.children];
    const below = tiles.findIndex((tile) => tile.offsetTop > tiles[0].offsetTop);
    return below === -1 ? tiles.length : below;
  }
}

function bar(share) {
  const filled = element("span");
  filled.style.inlineSize = `${(100 * share).toFixed(1)}%`;
  return element("span", { class: "bar", "aria-hidden": "true" }, filled);
}

function distance(told) {
  if (told === null) {
    return null;
  }
  return element("span", { class: "distance" }, told.isQuery ? "itself" : told.text);
}

/** Distances with as many digits as tell them apart, and the same number for all. */
function distancesInWords(neighbours) {
  const farthest = Math.max(0, ...neighbours.map((each) => Math.abs(each.distance)));
  const digits = farthest < 10 ? 4 : farthest < 1000 ? 2 : 0;
  return neighbours.map((each) => (Math.abs(each.distance) < 1e-9 ? 0 : each.distance).toFixed(digits));
}
