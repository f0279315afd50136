// The service, asked. In: a query. Out: its answer, or a Problem that says in words what is wrong. Where the answer is
// to wait (429, 503 with Retry-After) it is asked again here, a few times. Addresses are relative, so that the page
// also works where a proxy serves it below a path.

import { parseExact, withKey } from "./exact_json.js";

const MOST_TRIES = 4;
const LONGEST_WAIT_S = 10;
const TOKEN = "semblance-token";

const HEADINGS = {
  0: "The service does not answer",
  403: "The service does not answer this page",
  413: "That is too large",
  415: "That is no picture the service takes",
  429: "The service is busy",
  504: "It took too long",
};
const HEADINGS_BY_NAME = {
  "unusable-picture": "That picture cannot be used",
  "no-such-picture": "There is no such picture",
  "not-shown": "That picture is not kept where it may be shown from",
  starting: "The service is starting",
  draining: "The service is stopping",
  "backend-failed": "The model could not be run",
  "gallery-failed": "The gallery could not be used",
};

/** What went wrong, of RFC 9457; status 0 where there was no answer at all. */
export class Problem extends Error {
  constructor(status, document, retryAfterS = null) {
    super(sentence(document.detail || document.title || `the service answered ${status}`));
    this.status = status;
    this.name = (document.type || "").split(":").pop();
    this.heading = HEADINGS_BY_NAME[this.name] || HEADINGS[status] || "That did not work";
    this.retryAfterS = retryAfterS;
  }

  /** Whether asking again may help: the query is not what is wrong. */
  get mayPass() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }

  static unreachable() {
    const detail = navigator.onLine ? "it may have been stopped; see whether it runs" : "this device is offline";
    return new Problem(0, { type: "unreachable", detail });
  }
}

function sentence(text) {
  const trimmed = text.trim();
  const begun = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

export class Api {
  constructor() {
    this.token = remembered();
  }

  /** Keep a token for as long as this tab is open; null forgets it. */
  setToken(token) {
    this.token = token;
    try {
      token === null ? sessionStorage.removeItem(TOKEN) : sessionStorage.setItem(TOKEN, token);
    } catch {
      // a browser that stores nothing: it is known until the page is loaded anew
    }
  }

  /** The model, the gallery and the limits. */
  async info(how = {}) {
    return this.#document("v1/info", {}, how);
  }

  /** Neighbours of {key}, {file} or {vector}; options are k, where, exact and rerank. */
  async search(query, options, how = {}) {
    const asked = Object.fromEntries(Object.entries(options).filter(([, value]) => value));
    if (query.file) {
      return this.#document(`v1/search?${new URLSearchParams(asked)}`, picture(query.file), how);
    }
    const text = query.vector ? JSON.stringify({ vector: query.vector, ...asked }) : withKey(query.key, asked);
    return this.#document("v1/search", json(text), how);
  }

  /** The vector of a picture. */
  async embed(file, how = {}) {
    return this.#document("v1/embed", picture(file), how);
  }

  /** What the gallery knows of a picture. */
  async facts(key, how = {}) {
    return this.#document(`v1/images/${key}`, { headers: { Accept: "application/json" } }, how);
  }

  /** A picture of the gallery, small, as a Blob. */
  async thumbnail(key, size, how = {}) {
    return (await this.ask(thumbnailPlace(key, size), { headers: { Accept: "image/*" } }, how)).blob();
  }

  /** The SIFT matches of a query, {key} or {file}, with a picture of the gallery: {picture: Blob, matches, inliers}. */
  async matches(key, query, how = {}) {
    const request = query.file ? picture(query.file) : json(withKey(query.key));
    const answer = await this.ask(`v1/images/${key}/matches`, request, how);
    return {
      picture: await answer.blob(),
      matches: Number(answer.headers.get("X-Semblance-Matches")),
      inliers: Number(answer.headers.get("X-Semblance-Inliers")),
    };
  }

  async #document(place, request, how) {
    const answer = await this.ask(place, request, how);
    try {
      return parseExact(await answer.text());
    } catch (error) {
      throw error.name === "AbortError" ? error : Problem.unreachable(); // it broke off
    }
  }

  /** The Response. Raises Problem, and AbortError by `signal`; `onWait` hears the seconds until it is asked again. */
  async ask(place, request, { signal, onWait } = {}) {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#once(place, request, signal);
      } catch (error) {
        if (!(error instanceof Problem) || error.retryAfterS === null || tries === MOST_TRIES) {
          throw error;
        }
        const seconds = Math.min(LONGEST_WAIT_S, Math.max(0.5, error.retryAfterS)) * tries;
        onWait?.(error, seconds);
        await pause(1000 * seconds, signal);
      }
    }
  }

  async #once(place, request, signal) {
    const headers = new Headers(request.headers);
    if (this.token !== null) {
      headers.set("Authorization", `Bearer ${this.token}`);
    }
    let answer;
    try {
      answer = await fetch(place, { ...request, headers, signal, credentials: "same-origin" });
    } catch (error) {
      throw error.name === "AbortError" ? error : Problem.unreachable();
    }
    if (!answer.ok) {
      throw await problemOf(answer);
    }
    return answer;
  }
}

/** Where a picture of the gallery is. */
export function thumbnailPlace(key, size) {
  return `v1/images/${key}?size=${size}`;
}

async function problemOf(answer) {
  const wait = Number.parseFloat(answer.headers.get("Retry-After"));
  const mayWait = (answer.status === 429 || answer.status === 503) && Number.isFinite(wait);
  let document = {};
  try {
    document = JSON.parse(await answer.text());
  } catch {
    // of something between here and the service, which writes pages of its own
  }
  return new Problem(answer.status, document, mayWait ? wait : null);
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

function picture(file) {
  const type = file.type.startsWith("image/") ? file.type : "application/octet-stream";
  return { method: "POST", body: file, headers: { "Content-Type": type } };
}

function json(text) {
  return { method: "POST", body: text, headers: { "Content-Type": "application/json" } };
}

function remembered() {
  try {
    return sessionStorage.getItem(TOKEN);
  } catch {
    return null;
  }
}
