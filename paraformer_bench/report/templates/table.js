// Sorting by a click on a head, and filtering by text. Without it, every table stands as written.
"use strict";

const bodies = (table) => (table.tBodies.length > 1 ? [...table.tBodies] : [...table.tBodies[0].rows]);
const rowOf = (item) => (item.rows ? item.rows[0] : item);

function compare(column) {
  const key = (item) => {
    const cell = rowOf(item).cells[column];
    const number = parseFloat(cell.dataset.key);
    return [Number.isNaN(number) ? null : number, cell.textContent.trim()];
  };
  return (a, b) => {
    const [numberA, textA] = key(a);
    const [numberB, textB] = key(b);
    if (numberA !== null && numberB !== null) return numberA - numberB;
    if (numberA !== null || numberB !== null) return numberA === null ? 1 : -1;
    return textA.localeCompare(textB);
  };
}

for (const table of document.querySelectorAll("table.sortable")) {
  if (!table.tBodies.length || bodies(table).length < 2) continue;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const items = bodies(table).sort(compare(column));
      if (down) items.reverse();
      for (const item of items) item.parentNode.append(item);
    });
  });
}

const verdicts = document.getElementById("verdicts");
const regimes = verdicts ? [...verdicts.querySelectorAll("details.regime")] : [];
const rows = regimes.flatMap((regime) => [...regime.querySelectorAll("tbody")]);
if (rows.length > 8) {
  const field = document.createElement("input");
  field.type = "search";
  field.placeholder = "Filter by model, execution, regime, verdict …";
  field.setAttribute("aria-label", "Filter the verdicts");
  verdicts.insertBefore(field, regimes[0]);
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const regime of regimes) {
      const title = regime.querySelector("summary").textContent;
      let shown = 0;
      for (const row of regime.querySelectorAll("tbody")) {
        const text = (title + " " + row.textContent).toLowerCase();
        row.hidden = !wanted.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      regime.hidden = shown === 0;
      if (wanted.length && shown) regime.open = true;
    }
  });
}
