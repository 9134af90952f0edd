// Sorting by a click on a head. Without it, every table stands as written.
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
