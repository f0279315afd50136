// What is searched with, shown large, with what is known of it. In: an entry of the trail. Out: the figure beside the
// results.

import { byId, count, element, pair, shortName } from "./dom.js";
import { showFile } from "./thumbnails.js";

const LARGE_PX = 768;

/** Show an entry; what has to be asked for follows. */
export async function showEntry(entry, api, thumbnails, signal) {
  const [mat, caption] = byId("query").children;
  if (entry.kind === "picture") {
    caption.replaceChildren(...told(entry.name, [bytes(entry.file.size)], entry.note));
    const size = await showFile(mat, entry.address, entry.name, `The picture searched with: ${entry.name}`);
    if (!signal.aborted && size !== null) {
      caption.replaceChildren(...told(entry.name, [`${size[0]} × ${size[1]}`, bytes(entry.file.size)], entry.note));
    }
    return;
  }
  caption.replaceChildren(...told(entry.name, [`key ${entry.key}`]));
  const { key, name, isShown } = entry;
  thumbnails.show(mat, key, LARGE_PX, { alt: `The picture searched with: ${name}`, name, isShown, signal });
  try {
    const facts = await api.facts(entry.key, { signal });
    entry.name = facts.label ?? shortName(facts.uri);
    document.title = `${entry.name} - semblance`;
    const columns = Object.entries(facts.columns).filter(([, value]) => value !== null);
    caption.replaceChildren(
      ...told(entry.name, [`${facts.width} × ${facts.height}`, `key ${entry.key}`], "", facts.uri),
      ...(columns.length ? [columnList(columns)] : []),
    );
  } catch {
    // the search tells what is wrong
  }
}

function told(name, details, note = "", uri = null) {
  return [
    element("strong", {}, name),
    uri === null ? null : element("span", { class: "uri" }, uri),
    element("span", { class: "details" }, ...details.map((each) => element("span", {}, each))),
    note ? element("span", { class: "note" }, note) : null,
  ].filter((each) => each !== null);
}

function columnList(columns) {
  return element("dl", { class: "facts" }, ...columns.map(([name, value]) => pair(name, String(value))));
}

function bytes(number) {
  if (number < 1e3) {
    return `${number} bytes`;
  }
  return number < 1e6 ? `${count(Math.round(number / 1e3))} KB` : `${(number / 1e6).toFixed(1)} MB`;
}
