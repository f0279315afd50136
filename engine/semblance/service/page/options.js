// How to search: number of neighbours, condition, exactness, reranking. In: what the service offers, and what is set.
// Out: {k, where, exact, rerank}, and the same as a part of the address.

import { byId, element } from "./dom.js";

const COUNTS = [12, 24, 48, 96, 192];
const DEFAULT_COUNT = 24;
const ALL_HAVE = { label: "text", uri: "text", width: "pixels", height: "pixels", key: "whole number" };

export class Options {
  #k = byId("k");
  #where = byId("where");
  #exact = byId("exact");
  #rerank = byId("rerank");
  #applied = ""; // the condition that was last searched with

  /** `onChange()` is called when something is set that changes the answer. */
  constructor(onChange) {
    for (const control of [this.#k, this.#exact, this.#rerank]) {
      control.addEventListener("change", onChange);
    }
    const apply = () => {
      if (this.#where.value.trim() !== this.#applied) {
        this.#applied = this.#where.value.trim();
        onChange();
      }
    };
    this.#where.addEventListener("change", apply);
    byId("options").querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      apply();
    });
    byId("options").open = !matchMedia("(max-width: 47.99rem)").matches; // a phone's screen is for the pictures
  }

  /** Offer what this gallery has. */
  offer(info) {
    const most = info.limits.k ?? COUNTS.at(-1);
    this.#fillCounts(COUNTS.filter((each) => each <= most));
    byId("rerank-option").hidden = !info.gallery.has_keypoints;
    const kept = info.gallery.has_keypoints ? { num_keypoints: "whole number" } : {};
    const columns = Object.entries({ ...ALL_HAVE, ...kept, ...info.gallery.columns });
    byId("columns").replaceChildren(...columns.map(([name, type]) => this.#column(name, type)));
  }

  /** As a search takes them; what is as by default is left out, but for k. */
  get value() {
    return {
      k: Number(this.#k.value),
      where: this.#where.value.trim(),
      exact: this.#exact.checked,
      rerank: this.#rerank.checked && !byId("rerank-option").hidden ? "sift" : "",
    };
  }

  /** As a part of the address: &k=48&where=...; empty where all is as by default. */
  get hash() {
    const { k, where, exact, rerank } = this.value;
    const told = new URLSearchParams({ ...(k === DEFAULT_COUNT ? {} : { k }), ...(where && { where }) });
    if (exact) {
      told.set("exact", "true");
    }
    if (rerank) {
      told.set("rerank", rerank);
    }
    return String(told) && `&${told}`;
  }

  /** Set what an address says. */
  read(told) {
    const k = Number(told.get("k"));
    const counts = [...this.#k.options].map((each) => Number(each.value));
    if (Number.isInteger(k) && k > 0 && !counts.includes(k)) {
      this.#fillCounts([...counts, k].sort((a, b) => a - b));
    }
    this.#k.value = String(Number.isInteger(k) && k > 0 ? k : DEFAULT_COUNT);
    this.#where.value = this.#applied = told.get("where") ?? "";
    this.#exact.checked = told.get("exact") === "true";
    this.#rerank.checked = told.get("rerank") === "sift";
    this.complain("");
  }

  /** Say what is wrong with the condition, beside it; nothing where `text` is empty. */
  complain(text) {
    byId("where-error").textContent = text;
    this.#where.setAttribute("aria-invalid", String(text !== ""));
    if (text) {
      byId("options").open = true;
    }
  }

  #fillCounts(counts) {
    const before = this.#k.value || String(DEFAULT_COUNT);
    this.#k.replaceChildren(...counts.map((each) => element("option", { value: each }, String(each))));
    this.#k.value = counts.includes(Number(before)) ? before : String(counts.at(-1));
  }

  #column(name, type) {
    const button = element("button", { type: "button", title: type }, name);
    button.addEventListener("click", () => {
      const quoted = /^[A-Za-z_]\w*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
      const before = this.#where.value.slice(0, this.#where.selectionStart);
      const space = before && !/[\s(]$/.test(before) ? " " : "";
      this.#where.setRangeText(`${space}${quoted} `, this.#where.selectionStart, this.#where.selectionEnd, "end");
      this.#where.focus();
    });
    return button;
  }
}
