"use strict";
// The page reads without this script; it adds what moves: sliders, the words of a block, sorting.

for (const slider of document.querySelectorAll(".slide + input")) {
  slider.addEventListener("input", () => {
    slider.previousElementSibling.style.setProperty("--cut", `${slider.value}%`);
  });
}

for (const [id, layer] of [["left", ".under"], ["right", ".over"]]) {
  const choice = document.getElementById(id);
  choice?.addEventListener("change", () => {
    for (const slide of document.querySelectorAll(".slide")) {
      const image = slide.querySelector(layer);
      image.src = JSON.parse(slide.dataset.images)[choice.value];
      image.alt = choice.value;
    }
  });
}

const said = document.getElementById("said");
for (const block of document.querySelectorAll(".unet .sds-slot")) {
  for (const event of ["mouseenter", "focus"]) {
    block.addEventListener(event, () => { said.textContent = block.getAttribute("aria-label"); });
  }
}

const value = (row, column) => {
  const text = row.cells[column].textContent.trim().replaceAll(",", "");
  const number = Number.parseFloat(text);
  return Number.isNaN(number) || column === 0 ? text : number;
};
const compare = (a, b) => typeof a === typeof b
  ? (typeof a === "number" ? a - b : a.localeCompare(b))
  : (typeof a === "number" ? -1 : 1);

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => (down ? -1 : 1) * compare(value(a, column), value(b, column)));
      table.tBodies[0].append(...rows);
    });
  });
}
