// The numbers of the nearest point of a figure, by pointer or by arrow keys. They are those of the
// table below the figure, which says them without a script too.
"use strict";

(() => {
  const tip = document.createElement("div");
  tip.className = "tip-box";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  const REACH = 40;

  const middle = (point) => {
    const box = point.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };

  // Points of a curve follow each other as the cells with a number do in its row.
  function wordsOf(svg) {
    const panels = svg.closest(".panels");
    const regime = CSS.escape(svg.closest("[data-regime]").dataset.regime);
    const table = panels.parentNode.querySelector(`.data [data-regime="${regime}"] table`);
    const words = new Map();
    if (!table) return words;
    const depths = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent);
    for (const group of svg.querySelectorAll("[data-points]")) {
      const row = table.querySelector(`tr[data-line="${group.dataset.points}"]`);
      if (!row) continue;
      const label = row.cells[0].textContent;
      const texts = [...row.cells].slice(1).map((cell, place) => [depths[place], cell.textContent]);
      const known = texts.filter(([, text]) => /^\d/.test(text));
      [...group.querySelectorAll("use")].forEach((point, place) => {
        if (!known[place]) return;
        words.set(point, `${label}, L = ${known[place][0]}: ${known[place][1]} ${panels.dataset.unit}`);
      });
    }
    return words;
  }

  function show(point, text) {
    const [x, y] = middle(point);
    tip.textContent = text;
    tip.hidden = false;
    const left = Math.min(x + 14, innerWidth - tip.offsetWidth - 8);
    tip.style.left = Math.max(8, left) + scrollX + "px";
    tip.style.top = y + scrollY + (y > 60 ? -tip.offsetHeight - 10 : 14) + "px";
  }

  for (const svg of document.querySelectorAll(".panels svg")) {
    if (!svg.querySelector("[data-points] use")) continue;
    if (!tip.isConnected) document.body.append(tip);
    svg.setAttribute("tabindex", "0");
    let at = -1;
    let words = null;
    const points = () => {
      words ||= wordsOf(svg);
      return [...words.keys()].filter((point) => point.closest("[data-points]").style.display !== "none");
    };
    svg.addEventListener("pointermove", (event) => {
      let best = [REACH, null];
      for (const point of points()) {
        const [x, y] = middle(point);
        const away = Math.hypot(x - event.clientX, y - event.clientY);
        if (away < best[0]) best = [away, point];
      }
      if (best[1]) show(best[1], words.get(best[1]));
      else tip.hidden = true;
    });
    for (const end of ["pointerleave", "blur"]) svg.addEventListener(end, () => (tip.hidden = true));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const all = points();
      if (event.key === "Escape") tip.hidden = true;
      if (!step || !all.length) return;
      event.preventDefault();
      at = at < 0 && step < 0 ? all.length - 1 : (at + step + all.length) % all.length;
      show(all[at], words.get(all[at]));
    });
  }
})();
