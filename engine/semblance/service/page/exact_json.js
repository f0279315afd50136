// JSON whose whole numbers keep all their digits. Keys are of 64 bits, and JavaScript's numbers have 53: the key
// 9007199254740993 would be read as 9007199254740992, which is another picture.

// Strings are matched first, whole, so that digits inside of them are let alone; then numbers, whole as well.
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const SAFE_DIGITS = 15; // any whole number of so many digits is exact

/** The document; whole numbers that may not be exact as numbers are strings of their digits. */
export function parseExact(text) {
  const quoted = text.replace(TOKENS, (token) => {
    const isLong = token.length > SAFE_DIGITS && /^-?\d+$/.test(token);
    return isLong ? `"${token}"` : token;
  });
  return JSON.parse(quoted);
}

/** A document {"key": key, ...members}, with all digits of a key that is a string. */
export function withKey(key, members = {}) {
  if (!isKey(key)) {
    throw new TypeError(`a key is a whole number, is ${key}`);
  }
  const rest = JSON.stringify(members).slice(1);
  return `{"key":${key}${rest === "}" ? "" : ","}${rest}`;
}

/** Whether a text is a whole number of 64 bits. */
export function isKey(text) {
  if (!/^-?(0|[1-9]\d{0,18})$/.test(text)) {
    return false;
  }
  const value = BigInt(text);
  return value === BigInt.asIntN(64, value);
}
