// What of the page is seen when, and its headings. In: what happens. Out: parts of it shown, hidden and filled.

import { announce, byId, count, element } from "./dom.js";

/** Make room for the first visit, or for a query and what is found. */
export function layOut(isHome, hasGallery) {
  for (const id of ["notice", "token", "none", "vector"]) {
    byId(id).hidden = true;
  }
  const query = document.querySelector(".query");
  byId("desk").hidden = false;
  byId("desk").classList.toggle("is-home", isHome);
  byId("welcome").hidden = !isHome;
  byId("query").hidden = isHome;
  byId("options").hidden = isHome || !hasGallery;
  byId("others").hidden = !isHome;
  byId("timing").replaceChildren();
  isHome ? byId("welcome").append(byId("take")) : query.insertBefore(byId("take"), byId("options"));
  const results = byId("results");
  if (results.classList.contains("is-sample") !== isHome) { // what is there is of another kind, not an older answer
    emptyResults(isHome ? "" : "Searching…");
    results.hidden = isHome; // until there is something to begin with
  } else if (!isHome) {
    results.hidden = false;
  }
  results.classList.toggle("is-sample", isHome);
  scrollTo(0, 0);
}

/** Take away what was found, under another heading. */
export function emptyResults(heading) {
  byId("grid").replaceChildren();
  byId("results-title").textContent = heading;
}

/** The heading of what was found, and how long it took. */
export function tellResult(text, timing = null) {
  byId("results-title").textContent = text;
  if (timing === null) {
    announce(text);
    return;
  }
  const parts = Object.entries(timing).filter(([name, ms]) => name === "total" || ms > 0);
  byId("timing").replaceChildren(...parts.map(([name, ms]) => timed(name, ms)));
  announce(`${text}, in ${timing.total.toFixed(1)} milliseconds`);
}

function timed(name, ms) {
  const figure = element("b", {}, ms < 10 ? ms.toFixed(1) : count(Math.round(ms)));
  return element("span", {}, `${name} `, figure, name === "total" ? " ms" : "");
}

/** Say above the results what went wrong, and offer to try again where that may help. */
export function complain(heading, text, canRetry = false) {
  const notice = byId("notice");
  notice.querySelector("h2").textContent = heading;
  notice.querySelector("p").textContent = text;
  notice.querySelector("button").hidden = !canRetry;
  notice.hidden = false;
}

/** Show nothing but the form for the token, with what was wrong with the last. */
export function askToken(text) {
  for (const id of ["desk", "welcome", "notice", "trail", "foot"]) {
    byId(id).hidden = true;
  }
  byId("token").hidden = false;
  byId("token-error").textContent = text;
  byId("token-text").focus();
}
