// The collection on the page: how far it is, its pictures, copies among them, the map.

import { askJson, ask } from "/assets/server.js";
import { countText, leftText, showGroups, showNeighbours, showTiles } from "/assets/showing.js";

const part = (id) => document.getElementById(id);
const AT_ONCE = 24; // pictures in the gallery at first, and by each "Show more"
const FOUND = 24; // pictures of a class
const LOOK = 1000; // milliseconds between two looks while something is under way

let step = 1; // every how many rows: so that what is seen is spread over the collection
let offset = 0; // of the next pictures to be shown
let shown = 0;
let copiesAsked = false;
let latest = null; // of GET /collection
let finding = false; // whether the gallery shows what was asked for

/**
 * Show the collection, and go on while it grows.
 *
 * @param {(id: string) => void} choose told of a picture that was chosen
 * @param {(action: () => Promise<void>) => void} attempt does something, and says what went wrong
 */
export function showCollection(choose, attempt) {
  part("collection").hidden = false;
  part("more").addEventListener("click", () => attempt(() => more(choose)));
  part("find").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => find(choose));
  });
  for (const field of [part("label"), part("where")]) {
    field.addEventListener("input", () => {
      // Emptied, they ask for nothing any more: the gallery comes back.
      const asked = part("label").value.trim() || part("where").value.trim();
      if (finding && !asked) attempt(() => find(choose));
    });
  }
  part("label").addEventListener("focus", () => attempt(offerNames), { once: true });
  attempt(() => look(choose, attempt));
}

/** Offer the names that pictures can be found by, while one is typed. */
async function offerNames() {
  const { names } = await askJson("/collection/names");
  part("names").replaceChildren(...names.map((name) => new Option("", name)));
}

/** The condition that all that is found has to fit, as values of a query; none where none is set. */
export function condition() {
  const where = part("where").value.trim();
  return where ? { where } : {};
}

/** Whether pictures of it may still be without a vector. */
export const growing = () => latest !== null && going(latest);

const going = (found) => found.state === "reading" || found.state === "computing";

// How many pictures there are to see: of a folder all of them, at once.
const listed = (found) => (going(found) ? found.total : found.rows);

async function look(choose, attempt) {
  latest = await askJson("/collection");
  const found = latest;
  describe(found);
  if (!finding) {
    if (listed(found) && !shown) await begin(found, choose);
    part("more").hidden = !found.pictures || shown >= listed(found);
  }
  if (found.copies && !copiesAsked) {
    copiesAsked = true;
    attempt(() => copies(found.pictures && choose));
  }
  showMap(found.map);
  if (going(found) || found.map === "drawing" || (found.state === "done" && found.map === "none" &&
    part("map").dataset.looked !== "3")) {
    // The map is begun a moment after the last vector.
    if (!going(found)) part("map").dataset.looked = String(Number(part("map").dataset.looked || 0) + 1);
    if (found.map === "drawing") part("map").dataset.looked = "0";
    setTimeout(() => attempt(() => look(choose, attempt)), LOOK);
  }
}

function describe(found) {
  part("collection-title").textContent = listed(found)
    ? `${countText(listed(found))} in the collection` : "The collection";
  part("progress").hidden = found.state === "done" || found.state === "failed";
  const bar = part("progress").querySelector("progress");
  bar.max = Math.max(found.total, 1);
  if (found.state === "reading") bar.removeAttribute("value");
  else bar.value = found.done;
  part("progress-text").textContent = found.state === "reading"
    ? "Reading what was computed before …"
    : !found.done ? `${countText(found.total)}: computing begins …` : `${found.done.toLocaleString()} of ${countText(found.total)} computed` +
      `${leftText(found.seconds_left)}; those can be searched already.`;
  const failed = found.state === "failed"
    ? found.problem
    : found.failures ? `${countText(found.failures)} cannot be read: ${found.problem}` : "";
  part("collection-problem").textContent = failed;
  part("collection-problem").hidden = !failed;
  part("collection-note").hidden = !listed(found);
  part("collection-note").textContent = found.pictures
    ? "Choose a picture to see those that are most like it."
    : "The pictures themselves are not served, only their names: start the service with " +
      "--pictures FOLDER to see them.";
  part("find").hidden = !found.rows || !(found.labels || found.columns.length);
  part("by-label").hidden = !found.labels;
  part("by-columns").hidden = !found.columns.length;
  part("where").placeholder = `${found.columns[0]} = …`;
  const names = found.labels
    ? ["Type a name that the network knows; they are offered as you type."] : [];
  if (found.columns.length) {
    names.push(`Columns: ${found.columns.join(", ")}, folder, width, height; for example ` +
      "width > 1000 and folder = 'holiday'.");
  }
  part("find-note").textContent = names.join(" ");
}

/** Show what a class's name and a condition find in place of the gallery. */
async function find(choose) {
  const label = part("label").value.trim();
  finding = Boolean(label) || "where" in condition();
  if (!finding) {
    shown = 0;
    part("gallery").replaceChildren();
    await begin(latest, choose);
  } else {
    const query = new URLSearchParams({ ...condition(), ...(label ? { label, k: FOUND } : {}) });
    const tiles = label
      ? (await askJson(`/neighbours?${query}`)).neighbours
      : (await askJson(`/collection/rows?${query}`)).ids.map((id) => ({ id }));
    showNeighbours(part("gallery"), tiles, latest.pictures && choose);
    if (!tiles.length) part("gallery").textContent = "No picture fits.";
  }
  part("more").hidden = finding || !latest.pictures || shown >= listed(latest);
}

async function begin(found, choose) {
  step = Math.max(1, Math.floor(listed(found) / AT_ONCE));
  const { ids } = await askJson(`/collection/rows?${new URLSearchParams({ step, count: AT_ONCE })}`);
  part("gallery").replaceChildren();
  showTiles(part("gallery"), ids, found.pictures && choose);
  shown = ids.length;
  offset = 1;
}

async function more(choose) {
  const start = step === 1 ? shown : offset;
  const query = new URLSearchParams({ start, step, count: AT_ONCE });
  const { ids, rows } = await askJson(`/collection/rows?${query}`);
  showTiles(part("gallery"), ids, choose);
  shown += ids.length;
  offset += 1;
  part("more").hidden = shown >= rows || !ids.length || (step > 1 && offset >= step);
}

async function copies(choose) {
  part("copies").hidden = false;
  const found = await (await ask("/copies")).json();
  const spare = found.copies === 1 ? "1 copy" : `${found.copies.toLocaleString()} copies`;
  part("copies-note").textContent = found.groups
    ? `${spare} of ${countText(found.groups)}: the same picture again, in another size or ` +
      "quality, cropped or mirrored. The first of each line is the one to keep."
    : "No picture is a copy of another.";
  showGroups(part("groups"), found.shown, choose);
}

/** The map, where it is there or being drawn. */
export function showMap(state) {
  part("map").hidden = state === "none";
  part("map-drawing").hidden = state !== "drawing";
  part("map-note").hidden = state !== "there";
  const frame = part("map").querySelector("iframe");
  frame.hidden = state !== "there";
  if (state === "there" && !frame.src) frame.src = "/map";
}
