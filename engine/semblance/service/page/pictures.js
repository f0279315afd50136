// A picture of whoever looks at the page: dropped, pasted, chosen or photographed. In: the browser's events. Out: a
// File. It is sent as it is, so that the answer is the file's own; only what is above the service's limits is shrunk.

import { byId, count } from "./dom.js";
import { Problem } from "./api.js";

const MOST_CANVAS_PIXELS = 16_000_000; // more than that some phones do not draw
const QUALITY = 0.92;

/** Call `onFile(file, numMore)` for each picture that is given, `onNone()` where something else was dropped. */
export function takePictures(onFile, onNone) {
  takeChosen(onFile);
  takeDropped(onFile, onNone);
  if (/^Mac/.test(navigator.platform)) {
    document.querySelector(".take kbd").textContent = "⌘";
  }
  document.addEventListener("paste", (event) => {
    const files = event.clipboardData.files;
    if (files.length) {
      event.preventDefault();
      onFile(files[0], files.length - 1);
    }
  });
}

function takeChosen(onFile) {
  for (const [button, input] of [["choose", "file"], ["photograph", "camera"]]) {
    const field = byId(input);
    byId(button).addEventListener("click", () => field.click());
    field.addEventListener("change", () => {
      if (field.files.length) {
        onFile(field.files[0], 0);
      }
      field.value = ""; // or the same file could not be chosen again
    });
  }
}

function takeDropped(onFile, onNone) {
  const target = byId("drop");
  let depth = 0; // of elements that were entered and not left: each tells of itself
  const show = (by) => {
    depth = Math.max(0, depth + by);
    target.hidden = depth === 0;
  };
  const hasFile = (event) => [...event.dataTransfer.types].includes("Files");
  addEventListener("dragenter", (event) => hasFile(event) && show(1));
  addEventListener("dragleave", (event) => hasFile(event) && show(-1));
  addEventListener("dragover", (event) => {
    event.preventDefault(); // or the browser would open the file in place of the page
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    show(-depth);
    const files = event.dataTransfer.files;
    files.length ? onFile(files[0], files.length - 1) : onNone();
  });
}

/** Whether a file has to be shrunk before it can be sent at all. */
export function isTooLarge(file, limits) {
  return file.size > limits.body_bytes;
}

/** A smaller picture, within the limits: {file, note}. Raises Problem where this browser cannot read the file. */
export async function shrink(file, limits) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    const most = `${count(limits.body_bytes)} bytes and ${count(limits.pixels)} pixels`;
    const detail = `the service takes at most ${most}, and this browser cannot make the file smaller`;
    throw new Problem(413, { detail });
  }
  const pixels = bitmap.width * bitmap.height;
  let scale = Math.min(1, Math.sqrt(Math.min(limits.pixels, MOST_CANVAS_PIXELS) / pixels));
  let made = await redrawn(bitmap, scale);
  while (made.file.size > limits.body_bytes && scale > 0.01) {
    scale *= 0.7;
    made = await redrawn(bitmap, scale);
  }
  const sizes = `from ${bitmap.width} × ${bitmap.height} to ${made.width} × ${made.height} pixels`;
  bitmap.close();
  return { file: made.file, note: `Shrunk ${sizes} before it was sent: it was above the service's limits.` };
}

async function redrawn(bitmap, scale) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.floor(bitmap.width * scale));
  canvas.height = Math.max(1, Math.floor(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff"; // where it is transparent, which JPEG cannot be
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const file = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  return { file, width: canvas.width, height: canvas.height };
}
