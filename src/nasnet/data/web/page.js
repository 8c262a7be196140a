// The page: it asks what is served, and shows of a picture whatever the service can tell.

import { ask, askJson, post, Refused } from "/assets/server.js";
import { condition, growing, showCollection, showMap } from "/assets/collection.js";
import { keepPageOnDrop, makePicker, onPaste } from "/assets/picking.js";
import { labelText, shareText, showAlike, showLabels, showNeighbours, showPicture, unsureText }
  from "/assets/showing.js";

const part = (id) => document.getElementById(id);
const TOP = 5;
const NEIGHBOURS = 12;

let info = null; // of GET /info
let first = null; // the chosen picture
let row = null; // its id, where it is of the collection
let second = null; // what it is compared with
// Of the newest picture, and of the newest comparison; older ones are given up.
let asking = new AbortController();
let comparing = new AbortController();

function tell(text) {
  part("trouble").hidden = true;
  part("status").textContent = text;
}

function trouble(text) {
  part("status").textContent = "";
  part("trouble").textContent = text;
  part("trouble").hidden = false;
  part("trouble").scrollIntoView({ block: "nearest" }); // what was asked may stand far below
}

/** Do something, and say in the page why where it cannot be done. */
async function attempt(action) {
  try {
    await action();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error instanceof Refused && error.status === 401) askForKey();
    else if (error instanceof Refused) trouble(error.message);
    else trouble("The service does not answer. Is it still running?");
  }
}

const chosenModule = () => info.models.find((one) => one.name === part("module-name").value);

const query = (values) => `?${new URLSearchParams({ model: chosenModule().name, ...values })}`;

// --- what is served -----------------------------------------------------------------------------

async function begin() {
  info = await askJson("/info");
  part("key").hidden = true;
  part("module-name").replaceChildren(...info.models.map((one) => new Option(one.name, one.name)));
  part("module").hidden = info.models.length < 2;
  part("tool").hidden = false;
  if (info.index) {
    part("first").classList.add("brief");
    part("first-title").textContent = "Search with a picture of yours";
    part("neighbours-note").textContent = "The number says how alike they are: the cosine of the " +
      "two vectors, 1 for the same direction." +
      (info.pictures ? " Choose one to see those most like it." : "");
    showCollection(goOn, attempt);
  } else if (info.map) showMap("there");
  describe();
}

/** Say which module it is, and what may be wrong with it. */
function describe() {
  const module = chosenModule();
  const [height, width] = module.size;
  const called = module.name === module.weights ? "" : `${module.name}: `;
  part("served").textContent = `${called}${module.weights}, ${height} × ${width} pixels`;
  part("warning").hidden = module.status !== "untrained";
  part("warning").textContent =
    "These weights are untrained: labels and similarities mean nothing.";
}

function askForKey() {
  tell("");
  part("tool").hidden = true;
  part("key").hidden = false;
  part("key-text").focus();
}

async function showKey(event) {
  event.preventDefault();
  const key = part("key-text").value.trim();
  try {
    await ask("/session", { method: "POST", headers: { Authorization: `Bearer ${key}` } });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    trouble("That is not the key.");
    return;
  }
  part("key-text").value = "";
  tell("");
  await begin();
  part("first-title").focus();
}

// --- a picture ----------------------------------------------------------------------------------

/** Ask all there is to know about the chosen picture. */
async function look() {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const picture = first;
  const module = chosenModule();
  const searches = info.index && module === info.models[0]; // the index is of the first module
  const results = part("results");
  part("labels").hidden = !module.classes;
  part("neighbours").hidden = !searches;
  results.hidden = false;
  results.setAttribute("aria-busy", "true");
  tell(`Looking at ${picture.name} …`);
  try {
    const found = await Promise.all([
      module.classes ? classify(picture, signal) : null,
      searches ? search(picture, signal) : null,
      second ? compare() : null,
      module.classes || searches ? null : post(`/embed${query({ format: "npy" })}`, [picture], signal),
    ]);
    tell([`${picture.name}:`, found.slice(0, 3).filter(Boolean).join("; ") || "its vector is ready",
    ].join(" "));
  } catch (error) {
    if (error.name !== "AbortError") results.hidden = true; // they would be another picture's
    throw error;
  } finally {
    if (signal === asking.signal) results.removeAttribute("aria-busy");
  }
}

async function classify(picture, signal) {
  const answer = await (await post(`/classify${query({ top: TOP })}`, [picture], signal)).json();
  const { classes } = answer.results[0];
  showLabels(part("labels").querySelector("ol"), classes);
  if (!classes[0].sure) return unsureText(classes).toLowerCase();
  return `${labelText(classes[0])}, ${shareText(classes[0].probability)}`;
}

async function search(picture, signal) {
  // A picture of the collection is the nearest to itself; it may have no vector yet.
  const computed = row !== null && !growing();
  const k = row === null || computed ? NEIGHBOURS : NEIGHBOURS + 1;
  const asked = new URLSearchParams({ k, ...condition() });
  const { neighbours: found } = !computed
    ? (await (await post(`/search?${asked}`, [picture], signal)).json()).results[0]
    : await askJson(`/neighbours?${asked}&${new URLSearchParams({ id: row })}`, { signal });
  const neighbours = found.filter(({ id }) => id !== row).slice(0, NEIGHBOURS);
  showNeighbours(part("neighbours").querySelector("ol"), neighbours, info.pictures && goOn);
  if (!neighbours.length) {
    part("neighbours").querySelector("ol").textContent = "There is no other picture to compare with.";
  }
  return `${neighbours.length} nearest ${neighbours.length === 1 ? "picture" : "pictures"}`;
}

async function compare() {
  comparing.abort();
  comparing = new AbortController();
  const { signal } = comparing;
  const answer = await (await post(`/similarity${query({})}`, [first, second], signal)).json();
  showAlike(part("alike"), answer.cosine);
  return `similarity to ${second.name} ${answer.cosine.toFixed(3)}`;
}

function choose(picture, id = null) {
  first = picture;
  row = id;
  part("first-title").textContent = id === null ? "Your picture" : "The chosen picture";
  showPicture(part("first").querySelector("figure"), picture);
  attempt(look);
}

/** Take a neighbour as the picture. */
function goOn(id) {
  attempt(async () => {
    const answer = await ask(`/picture?${new URLSearchParams({ id })}`);
    const data = await answer.blob();
    choose(new File([data], id.split("/").at(-1), { type: data.type }), id);
    part("first-title").focus(); // the button that had it is gone
  });
}

function chooseOther(picture) {
  second = picture;
  showPicture(part("similarity").querySelector("figure"), picture);
  attempt(async () => tell(`${first.name}: ${await compare()}`));
}

async function save() {
  const answer = await post(`/embed${query({ format: "npy" })}`, [first], asking.signal);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = `${first.name.replace(/\.[^.]*$/, "") || "picture"}.npy`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  tell(`Saved ${link.download}`);
}

// --- all together -------------------------------------------------------------------------------

keepPageOnDrop();
makePicker(part("first"), (picture) => choose(picture), trouble);
makePicker(part("similarity"), chooseOther, trouble);
onPaste((picture) => info && choose(picture));
part("key").addEventListener("submit", (event) => attempt(() => showKey(event)));
part("save").addEventListener("click", () => attempt(save));
part("module-name").addEventListener("change", () => {
  describe();
  if (first) attempt(look);
});
attempt(begin);
