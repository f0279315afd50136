// Elements of the page. In: names, attributes and text. Out: elements. What comes from the service, such as a uri,
// becomes text and attributes only; nothing here, or anywhere on the page, reads it as HTML.

/** The element of this id, which index.html has. */
export function byId(id) {
  return document.getElementById(id);
}

/** A new element; attributes that are null or false are left out, children may be texts. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) {
      made.setAttribute(name, value === true ? "" : value);
    }
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A name and what it is, for a <dl>. */
export function pair(name, value) {
  return element("div", {}, element("dt", {}, name), element("dd", {}, value));
}

/** Tell those who hear the page what has changed on it. */
export function announce(text) {
  byId("status").textContent = text;
}

/** A whole number with its thousands apart, as 4,370. */
export function count(number) {
  return number.toLocaleString("en");
}

/** `one` picture, 2 `many`. */
export function counted(number, one, many) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** The last part of a path or address: what tells pictures of one folder apart. */
export function shortName(uri) {
  return uri.replace(/\/+$/, "").split("/").pop() || uri;
}

/** Small pictures keep their pixels' edges when they are enlarged; photographs would look worse by that. */
export function keepCrisp(image) {
  const longer = Math.max(image.naturalWidth, image.naturalHeight);
  image.classList.toggle("crisp", longer > 0 && longer <= 64);
}
