// How results become elements. All text is set as text: names of files are not to be trusted.

const percent = new Intl.NumberFormat(undefined, { style: "percent", minimumFractionDigits: 1,
  maximumFractionDigits: 1 });
const decimal = new Intl.NumberFormat(undefined, { minimumFractionDigits: 3,
  maximumFractionDigits: 3 });

/** An element with a class and children, which are elements or text. */
function make(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** A bar from 0 to 1; what it says stands beside it in text. */
function bar(share) {
  const inner = make("i");
  inner.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  const made = make("span", "bar", inner);
  made.setAttribute("aria-hidden", "true");
  return made;
}

/** A share of one as people read it. */
export const shareText = (share) => percent.format(share);

/**
 * The chosen picture.
 *
 * @param {HTMLElement} figure
 * @param {File} picture
 */
export function showPicture(figure, picture) {
  const image = figure.querySelector("img");
  const caption = figure.querySelector("figcaption");
  const name = picture.name || "picture";
  if (image.src) URL.revokeObjectURL(image.src);
  image.alt = name;
  image.hidden = false;
  image.onload = () => {
    caption.textContent = `${name}, ${image.naturalWidth} × ${image.naturalHeight} pixels`;
  };
  image.onerror = () => {
    image.hidden = true;
    caption.textContent = `${name}: this browser cannot show it; the service may know its format`;
  };
  caption.textContent = name;
  image.src = URL.createObjectURL(picture);
  figure.hidden = false;
}

/**
 * The likeliest classes, of those that are likely enough to be named.
 *
 * @param {HTMLElement} list
 * @param {{index: number, label: string | null, probability: number, sure: boolean}[]} classes
 */
export function showLabels(list, classes) {
  const sure = classes.filter((one) => one.sure);
  if (!sure.length) {
    list.replaceChildren(make("li", "", make("span", "name", unsureText(classes))));
    return;
  }
  list.replaceChildren(
    ...sure.map((one) =>
      make(
        "li",
        "",
        make("span", "name", labelText(one)),
        make("span", "share", shareText(one.probability)),
        bar(one.probability),
      ),
    ),
  );
}

/** What is said where no class is likely enough. */
export const unsureText = ([best]) =>
  `Not sure: the likeliest class has only ${shareText(best.probability)}`;

/** What a class is called, or its number where it has no name. */
export const labelText = (one) => one.label || `class ${one.index}`;

/**
 * The nearest rows of the index.
 *
 * @param {HTMLElement} list
 * @param {{id: string, score?: number, columns?: object}[]} neighbours
 * @param {((id: string) => void) | null} onChoice where pictures can be shown and searched with
 */
export function showNeighbours(list, neighbours, onChoice) {
  list.replaceChildren(
    ...neighbours.map((one) => make("li", "", onChoice ? pictured(one, onChoice) : named(one))),
  );
}

/**
 * Pictures of the collection, behind those that are shown.
 *
 * @param {HTMLElement} list
 * @param {string[]} ids
 * @param {((id: string) => void) | null} onChoice where pictures can be shown and searched with
 */
export function showTiles(list, ids, onChoice) {
  list.append(...ids.map((id) => make("li", "", onChoice ? pictured({ id }, onChoice) : named({ id }))));
}

/**
 * Pictures and their copies, a line each.
 *
 * @param {HTMLElement} list
 * @param {{stays: object, copies: object[], why: string}[]} groups
 * @param {((id: string) => void) | null} onChoice
 */
export function showGroups(list, groups, onChoice) {
  const tile = (one, note) =>
    make("li", "", onChoice ? pictured({ id: one.id, note }, onChoice) : named({ id: one.id, note }));
  list.replaceChildren(
    ...groups.map(({ stays, copies, why }) => {
      const line = make("ol", "tiles small", tile(stays, "keep"),
        ...copies.map((one) => tile(one, one.how)));
      line.title = `The first stays: ${why}`;
      return make("li", "", line);
    }),
  );
}

/** How many pictures, in words. */
export const countText = (count) =>
  count === 1 ? "1 picture" : `${count.toLocaleString()} pictures`;

/** How long it still takes; nothing where nobody knows. */
export function leftText(seconds) {
  if (seconds === null) return "";
  if (seconds < 90) return `, about ${Math.max(1, Math.round(seconds))} s left`;
  return `, about ${Math.round(seconds / 60)} min left`;
}

function named({ id, score, note, columns }) {
  const tile = make("div", "tile", caption(id, score, note, columns));
  tile.title = id;
  return tile;
}

function pictured({ id, score, note, columns }, onChoice) {
  const image = make("img");
  image.loading = "lazy";
  image.alt = "";
  image.src = `/picture?${new URLSearchParams({ id })}`;
  image.addEventListener("error", () => image.replaceWith(make("span", "blank", "no picture")));
  const button = make("button", "tile", image, caption(id, score, note, columns));
  button.type = "button";
  button.title = id;
  button.addEventListener("click", () => onChoice(id));
  return button;
}

function caption(id, score, note, columns = {}) {
  const beside = score === undefined ? note : decimal.format(score);
  const made = make("span", "text", make("span", "name", id.split("/").at(-1)));
  // A space, so that it is read as a word of its own.
  if (beside) made.append(" ", make("span", "score", beside));
  const known = Object.entries(columns).filter(([, value]) => value !== null);
  if (known.length) {
    const words = known.map(([name, value]) => `${name} ${value}`).join(", ");
    made.append(make("span", "words", words));
    made.title = words;
  }
  return made;
}

/**
 * How alike two pictures are.
 *
 * @param {HTMLElement} place
 * @param {number} cosine
 */
export function showAlike(place, cosine) {
  place.querySelector(".big").textContent = decimal.format(cosine);
  place.querySelector(".bar").replaceWith(bar(cosine));
  place.hidden = false;
}
