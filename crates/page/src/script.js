"use strict";
// Finds images in the table and adds rows to it, and moves between the rectangles of a picture.
// All text is set as text; nothing is read as markup.

const ROWS = 500;
const UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const detail = document.getElementById("detail");
const body = document.querySelector("#list tbody");
const find = document.getElementById("find");
const found = document.getElementById("found");

// As Docker prints sizes: four significant digits.
function size(bytes) {
  let unit = 0;
  while (bytes >= 1000 && unit < UNITS.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return Number(bytes.toPrecision(4)) + UNITS[unit];
}

function cell(name, text, className) {
  const cell = document.createElement(name);
  cell.textContent = text;
  if (className) cell.className = className;
  return cell;
}

function row(data) {
  const row = document.createElement("tr");
  const name = cell("th", data[0]);
  name.scope = "row";
  const verdict = document.createElement("td");
  verdict.append(cell("span", "", "swatch " + data[2]), data[3]);
  row.append(name, cell("td", data[1]), verdict);
  for (const bytes of data.slice(4)) row.append(cell("td", size(bytes), "number"));
  return row;
}

// Each image: the text that is searched, and its row once there is one.
const images = Array.from(body.rows, (row) => ({
  text: row.textContent.toLowerCase(),
  row,
}));
const rest = document.getElementById("rest");
for (const data of rest ? JSON.parse(rest.textContent) : []) {
  images.push({ text: (data[0] + data[1] + data[3]).toLowerCase(), data });
}

function show(most) {
  const text = find.value.toLowerCase();
  const matching = images.filter((image) => image.text.includes(text));
  const rows = matching.slice(0, most).map((image) => (image.row ??= row(image.data)));
  body.replaceChildren(...rows);
  found.textContent = ` ${matching.length} of ${images.length} images`;
  const more = document.getElementById("more");
  if (more) {
    const button = cell("button", `Show ${Math.min(ROWS, matching.length - rows.length)} more`);
    button.type = "button";
    button.addEventListener("click", () => show(most + ROWS));
    more.replaceChildren(...(rows.length < matching.length ? [button] : []));
  }
}

document.querySelector(".tools").hidden = false;
find.addEventListener("input", () => show(ROWS));
show(ROWS);

// The nearest rectangle in a direction, measured between centres.
function next(from, key) {
  const centre = (at) => {
    const box = at.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
  };
  const [x, y] = centre(from);
  const along = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  let best = null;
  let least = Infinity;
  for (const other of from.parentNode.children) {
    const [dx, dy] = centre(other).map((at, axis) => at - [x, y][axis]);
    const ahead = dx * along[0] + dy * along[1];
    const aside = Math.abs(dx * along[1]) + Math.abs(dy * along[0]);
    if (other !== from && ahead > 0.5 && ahead + 2 * aside < least) {
      least = ahead + 2 * aside;
      best = other;
    }
  }
  return best;
}

// The listeners are those of the section: an SVG element with a listener for focus would be a stop of
// the tab key itself.
const pictures = document.querySelector(".map")?.parentNode;
const of = (event) => event.target.closest(".map > svg");
const tell = (event) => {
  if (of(event)) detail.textContent = of(event).getAttribute("aria-label");
};
const search = (rectangle) => {
  find.value = rectangle.dataset.image;
  show(ROWS);
  find.scrollIntoView();
  find.focus();
};
pictures?.addEventListener("focusin", tell);
pictures?.addEventListener("pointerover", tell);
pictures?.addEventListener("click", (event) => of(event)?.dataset.image && search(of(event)));
pictures?.addEventListener("keydown", (event) => {
  const from = of(event);
  if (!from) return;
  if (event.key === "Enter" && from.dataset.image) search(from);
  else if (event.key.startsWith("Arrow")) {
    const to = next(from, event.key);
    if (to) {
      from.setAttribute("tabindex", "-1");
      to.setAttribute("tabindex", "0");
      to.focus();
    }
  } else return;
  event.preventDefault();
});
