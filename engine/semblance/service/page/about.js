// What is served, in words. In: /v1/info. Out: a line at the top, the greeting, and a list of facts at the foot.

import { byId, count, counted, element, pair } from "./dom.js";

/** Tell of the service wherever the page does. */
export function tellAbout(info) {
  const { model, gallery } = info;
  byId("served").replaceChildren(
    ...(gallery === null ? [] : [fact(gallery.name, counted(gallery.images, "picture", "pictures"))]),
    fact(model.name, `${model.precision}, ${count(model.dimension)} numbers`),
  );
  const [heading, text] = byId("welcome").children;
  const isAlone = gallery === null;
  heading.textContent = isAlone ? "See what a model makes of a picture" : "Find the pictures that look like yours";
  text.textContent = greeting(info);
  byId("about").replaceChildren(
    ...facts(info).map(([name, value]) => pair(name, String(value))),
  );
  byId("foot").hidden = false;
}

function greeting({ model, gallery }) {
  if (gallery === null) {
    return `${model.name} turns it into ${count(model.dimension)} numbers, such that pictures that look alike ` +
      "have numbers that are close. No gallery is served here, so there is nothing to search.";
  }
  return `Each of the ${count(gallery.images)} pictures in ${gallery.name} is compared with it, by what ` +
    `${model.name} sees in them. Your picture goes to this service and nowhere else, and is not kept.`;
}

function fact(name, detail) {
  return element("span", {}, element("b", {}, name), ` ${detail}`);
}

function facts({ version, model, gallery, limits, batch }) {
  const { height, width, channels } = model.input;
  const told = [
    ["semblance", version],
    ["Model", `${model.name}, ${model.precision}, ${count(model.dimension)} numbers, distance ${model.metric}`],
    ["Takes", `${width} × ${height} pixels, ${channels === 1 ? "grey" : "colour"}; any picture is brought to that`],
    ["Runs on", model.description],
    ["Fingerprint", model.fingerprint],
  ];
  if (gallery !== null) {
    const columns = Object.entries(gallery.columns).map(([name, type]) => `${name} (${type})`);
    const change = gallery.is_writable ? "can be changed" : "read only";
    told.push(["Gallery", `${gallery.name}, ${counted(gallery.images, "picture", "pictures")}, ${change}`]);
    told.push(["Keypoints", gallery.has_keypoints ? "kept, so that SIFT can rerank" : "none kept"]);
    told.push(...(columns.length ? [["Own columns", columns.join(", ")]] : []));
  }
  const [megabytes, megapixels] = [limits.body_bytes / 1e6, limits.pixels / 1e6].map((most) => most.toFixed(1));
  told.push(["Limits", `${megabytes} MB and ${megapixels} megapixels a picture, ${count(limits.timeout_ms / 1000)} s`]);
  told.push(["Batches", `of up to ${batch.max_batch}, which a picture waits ${batch.max_delay_ms} ms for`]);
  return told;
}
