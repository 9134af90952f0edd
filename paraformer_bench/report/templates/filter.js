// Narrowing a page down to some lines and regimes. The choice stands in the fragment of the address,
// behind a question mark, so that a link can be sent: #memory?model=paraformer&batch=1
"use strict";

(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const lines = JSON.parse(form.dataset.lines);
  const regimes = JSON.parse(form.dataset.regimes);
  const axes = new Map();
  for (const thing of [...lines, ...Object.values(regimes)]) {
    for (const [axis, value] of Object.entries(thing)) {
      if (!axes.has(axis)) axes.set(axis, new Set());
      axes.get(axis).add(value);
    }
  }
  const chosen = new Map();
  const fields = new Map();

  const fits = (thing) => [...chosen].every(([axis, value]) => !(axis in thing) || thing[axis] === value);

  function apply() {
    const shown = lines.map(fits);
    const words = (chosen.get("text") || "").toLowerCase().split(/\s+/).filter(Boolean);
    const narrowed = chosen.size > 0;
    for (const item of document.querySelectorAll("[data-line], [data-points]")) {
      let show = shown[Number(item.dataset.line || item.dataset.points)];
      if (show && words.length && item.dataset.curve) {
        const regime = item.closest("[data-regime]").querySelector("summary");
        const text = (regime.textContent + " " + item.textContent).toLowerCase();
        show = words.every((word) => text.includes(word));
      }
      if (item instanceof SVGElement) item.style.display = show ? "" : "none";
      else item.hidden = !show;
    }
    for (const item of document.querySelectorAll("[data-regime], [data-any-regime]")) {
      const rows = [...item.querySelectorAll("tbody[data-line], tr[data-line], td[data-line]")];
      const empty = rows.length > 0 && rows.every((row) => row.hidden);
      const { regime, anyRegime } = item.dataset;
      const groups = anyRegime ? JSON.parse(anyRegime) : [regime];
      item.hidden = empty || !groups.some((group) => fits(regimes[group]));
      if (narrowed && !item.hidden && item.tagName === "DETAILS") item.open = true;
    }
    for (const [axis, field] of fields) field.value = chosen.get(axis) || "";
    form.querySelector("button").hidden = !narrowed;
  }

  function read() {
    const [place, query] = decodeFragment();
    chosen.clear();
    for (const [axis, value] of new URLSearchParams(query)) {
      if (fields.has(axis) && (axis === "text" || axes.get(axis).has(value))) chosen.set(axis, value);
    }
    return place;
  }

  function decodeFragment() {
    const fragment = location.hash.slice(1);
    const mark = fragment.indexOf("?");
    return mark < 0 ? [fragment, ""] : [fragment.slice(0, mark), fragment.slice(mark + 1)];
  }

  function write(place) {
    const query = new URLSearchParams([...chosen]).toString();
    history.replaceState(null, "", "#" + place + (query ? "?" + query : ""));
  }

  function choose(axis, value) {
    if (value) chosen.set(axis, value);
    else chosen.delete(axis);
    write(decodeFragment()[0]);
    apply();
  }

  function add(axis, field) {
    const label = document.createElement("label");
    field.name = axis;
    label.append(axis === "text" ? "search" : axis, field);
    form.append(label);
    fields.set(axis, field);
    field.addEventListener("input", () => choose(axis, field.value));
  }

  for (const [axis, values] of axes) {
    if (values.size < 2) continue;
    const field = document.createElement("select");
    field.append(new Option("all", ""));
    const number = (value) => parseFloat(value.replace(/^\D+/, ""));
    const sorted = [...values].sort((a, b) => number(a) - number(b) || a.localeCompare(b));
    for (const value of sorted) field.append(new Option(value, value));
    add(axis, field);
  }
  const text = document.createElement("input");
  text.type = "search";
  text.placeholder = "constant, graph, bfloat16 …";
  add("text", text);
  const reset = document.createElement("button");
  reset.type = "button";
  reset.textContent = "show everything";
  reset.addEventListener("click", () => {
    chosen.clear();
    write(decodeFragment()[0]);
    apply();
  });
  form.append(reset);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;

  function reveal(place) {
    const target = place && document.getElementById(place);
    if (!target) return;
    const folded = target.closest("details");
    if (folded) folded.open = true;
    target.scrollIntoView();
  }

  window.addEventListener("hashchange", () => {
    const [place, query] = decodeFragment();
    if (query) {
      read();
      apply();
    } else if (chosen.size) {
      write(place); // a link within the page keeps what was chosen
    }
    reveal(place);
  });
  const place = read();
  apply();
  reveal(place);
})();
