// The page: joins its parts. An entry of the trail is what is searched with: {kind: "home"}, {kind: "key", key} or
// {kind: "picture", file}. Whatever starts a search ends in `run`, which shows the entry and asks the service; a newer
// run ends an older one.

import { tellAbout } from "./about.js";
import { Api, Problem } from "./api.js";
import { announce, byId, count } from "./dom.js";
import { isKey } from "./exact_json.js";
import { Grid } from "./grid.js";
import { Matches } from "./matches.js";
import { Options } from "./options.js";
import { isTooLarge, shrink, takePictures } from "./pictures.js";
import { showEntry } from "./query.js";
import { sample } from "./sample.js";
import { Thumbnails } from "./thumbnails.js";
import { Trail } from "./trail.js";
import { showVector } from "./vector.js";
import { askToken, complain, emptyResults, layOut, tellResult } from "./view.js";

const api = new Api();
const thumbnails = new Thumbnails(api);
const trail = new Trail(thumbnails, moved);
const options = new Options(() => open(entry, "set"));
const matches = new Matches(api);
const grid = new Grid(thumbnails, searchWith, (number) => matches.open(entry, neighbours, number));

let info = null;
let entry = { kind: "home" };
let neighbours = []; // that are shown
let running = new AbortController();

trail.begin();
takePictures(take, () => complain("That was no file", "Drop a picture's file, or copy a picture and paste it."));
byId("home").addEventListener("click", (event) => {
  if (info !== null && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    open({ kind: "home" }, "push");
  }
});
byId("skip").addEventListener("click", (event) => { // its address would be taken for a search
  event.preventDefault();
  byId(byId("results-title").textContent ? "results-title" : "main").focus();
});
byId("others").addEventListener("click", () => open(entry, "set"));
byId("notice").querySelector("button").addEventListener("click", () => (info === null ? begin() : open(entry, "set")));
byId("token").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = byId("token-text").value.trim();
  if (/^[\x21-\x7e]+$/.test(token)) {
    api.setToken(token);
    begin();
  } else {
    askToken("A token has letters, digits and signs of ASCII only.");
  }
});
byId("forget").addEventListener("click", () => {
  api.setToken(null);
  location.reload(); // what it showed goes from memory as well
});
addEventListener("online", () => info === null && begin());
begin();

// ---------------------------------------------------------------------------------------------------------------------

/** Ask what is served, then show what the address says. */
async function begin() {
  const { signal } = renewed();
  document.body.classList.add("is-busy");
  try {
    info = await api.info({ signal, onWait: tellWait });
  } catch (error) {
    fail(error, signal);
    return;
  } finally {
    document.body.classList.remove("is-busy");
  }
  byId("token").hidden = true;
  byId("notice").hidden = true;
  byId("token-text").value = "";
  byId("forget").hidden = api.token === null;
  tellAbout(info);
  if (info.gallery !== null) {
    options.offer(info);
  }
  moved(entry.kind === "home" ? null : entry, location.hash);
}

/** The browser went to another entry; null where only its address is known. */
function moved(to, hash) {
  if (info === null) {
    return;
  }
  const told = new URLSearchParams(hash.slice(1));
  options.read(told);
  if (to !== null) {
    open(to, "set");
  } else if (isKey(told.get("key") ?? "") && info.gallery !== null) {
    const key = told.get("key");
    open({ kind: "key", key, name: `key ${key}`, isShown: info.gallery.has_thumbnails }, "set");
  } else {
    open({ kind: "home" }, "set");
    if (told.has("picture")) {
      const text = "A picture is kept until the page is loaded anew. Give it once more.";
      complain("That picture is not here any more", text);
    }
  }
}

/** Search with a neighbour. */
function searchWith(neighbour) {
  const { key, uri, label } = neighbour;
  open({ kind: "key", key: String(key), name: label ?? uri, isShown: Boolean(neighbour.thumbnail) }, "push");
}

/** Search with a file that somebody gave. */
function take(file, numMore) {
  if (info === null) {
    return;
  }
  const note = numMore ? `The first of ${numMore + 1} pictures; one is searched with at a time.` : "";
  const name = file.name || "pasted picture";
  open({ kind: "picture", file, address: URL.createObjectURL(file), name, note }, "push");
}

/** Make an entry the one that is shown: "push" it onto the trail, or "set" it in place of what is there. */
function open(to, how) {
  entry = to;
  const hash = { home: "", key: `#key=${to.key}`, picture: "#picture" }[to.kind];
  trail[how](to, to.kind === "home" ? "" : hash + options.hash);
  run(renewed());
}

async function run({ signal }) {
  const shown = entry;
  const isHome = shown.kind === "home";
  layOut(isHome, info.gallery !== null);
  options.complain("");
  document.title = isHome ? "semblance" : `${shown.name} - semblance`;
  if (!isHome) {
    showEntry(shown, api, thumbnails, signal);
    announce("Searching");
  }
  byId("results").setAttribute("aria-busy", "true");
  try {
    if (isHome) {
      await showSample(signal);
    } else if (info.gallery === null) {
      await showEmbedded(shown, signal);
    } else {
      await showNeighbours(shown, signal);
    }
  } catch (error) {
    fail(error, signal);
  } finally {
    if (!signal.aborted) {
      byId("results").setAttribute("aria-busy", "false");
    }
  }
}

async function showNeighbours(shown, signal) {
  const asked = options.value;
  const answer = await sent(shown, signal, (query) => api.search(query, asked, { signal, onWait: tellWait }));
  neighbours = answer.neighbours;
  const hasMatches = info.gallery.has_thumbnails;
  grid.show(neighbours, { ofKey: shown.key ?? null, hasMatches, signal });
  byId("none").hidden = neighbours.length > 0;
  byId("none").textContent = asked.where ? "No picture passes the condition." : "The gallery has no pictures.";
  const found = `${count(neighbours.length)} nearest of ${count(answer.gallery.images)}`;
  tellResult(neighbours.length ? found : "Nothing found", answer.timing_ms);
}

async function showEmbedded(shown, signal) {
  const answer = await sent(shown, signal, (query) => api.embed(query.file, { signal, onWait: tellWait }));
  showVector(answer);
  byId("vector").hidden = false;
  tellResult(`${count(answer.dimension)} numbers by ${answer.model}, ${answer.precision}`, answer.timing_ms);
}

/** Some of the gallery to begin with; without them the page is as good, so no error is told. */
async function showSample(signal) {
  if (!info.gallery?.has_thumbnails) {
    return;
  }
  try {
    neighbours = await sample(api, info, signal);
  } catch (error) {
    if (signal.aborted || error.status === 401) {
      throw error;
    }
    return;
  }
  if (neighbours.length) {
    grid.show(neighbours, { isSample: true, signal });
    byId("results").hidden = false;
    byId("results-title").textContent = "Or begin with one of these";
  }
}

/** What `ask` answers for an entry; a picture above the service's limits is shrunk for it, once. */
async function sent(shown, signal, ask) {
  if (shown.kind === "picture" && !shown.isShrunk && isTooLarge(shown.file, info.limits)) {
    await shrinkEntry(shown, signal);
  }
  try {
    return await ask(shown);
  } catch (error) {
    if (error.status !== 413 || shown.kind !== "picture" || shown.isShrunk) {
      throw error;
    }
    await shrinkEntry(shown, signal); // of too many pixels, which only the service sees
    return ask(shown);
  }
}

async function shrinkEntry(shown, signal) {
  announce("Shrinking the picture");
  const { file, note } = await shrink(shown.file, info.limits);
  Object.assign(shown, { file, note, isShrunk: true });
  showEntry(shown, api, thumbnails, signal);
}

/** Tell of an error, where it belongs: at the condition, in the form for the token, or above the results. */
function fail(error, signal) {
  if (signal.aborted) {
    return;
  }
  if (!(error instanceof Problem)) {
    console.error(error);
    complain("The page has an error", "Load it anew; the browser's console says more.");
  } else if (error.status === 401) {
    askToken(api.token === null ? "" : "That token is not the right one.");
  } else if (error.name === "unusable-condition" && options.value.where) {
    emptyResults("That condition cannot be used");
    options.complain(error.message);
  } else {
    const advice = error.status === 429 ? " It was asked several times; try in a moment." : "";
    complain(error.heading, error.message + advice, error.mayPass);
  }
  if (info !== null && entry.kind !== "home" && !byId("notice").hidden) {
    byId("results").hidden = true;
    emptyResults("");
  }
}

function tellWait(problem, seconds) {
  const text = `asking again in ${seconds} s`;
  if (info === null) {
    complain(problem.heading, `The page is ${text}.`);
  } else {
    tellResult(`${problem.heading}; ${text}`);
  }
}

function renewed() {
  running.abort();
  running = new AbortController();
  return running;
}
