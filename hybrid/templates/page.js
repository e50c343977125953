"use strict";

// Numbers are compared by the values that the cells carry, words as the page's language orders them; what has no value comes last.
function sortable(table) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const given = [...body.rows];
  const words = new Intl.Collator(table.closest("[lang]").lang, { numeric: true, sensitivity: "base" });

  function order(column, direction) {
    const keyed = given.map((row) => {
      const cell = row.cells[column];
      return { row, value: "value" in cell.dataset ? Number(cell.dataset.value) : null, text: cell.textContent };
    });
    const numeric = keyed.some((one) => one.value !== null);
    keyed.sort((a, b) => {
      if (!numeric) return direction * words.compare(a.text, b.text);
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
      return direction * (a.value - b.value);
    });
    return keyed.map((one) => one.row);
  }

  headings.forEach((heading, column) => {
    if (!given.some((row) => row.cells[column].textContent.trim())) return; // pictures only
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    // The largest number first, words from the start of the alphabet, then the other way, then as the page had it.
    const first = given.some((row) => "value" in row.cells[column].dataset) ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    button.addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      const next = now === first ? second : now === second ? null : first;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      if (next) heading.setAttribute("aria-sort", next);
      body.append(...(next ? order(column, next === "ascending" ? 1 : -1) : given));
    });
  });
}

function filterable(bar) {
  const table = bar.nextElementSibling;
  const [box, output] = [bar.querySelector("input"), bar.querySelector("output")];
  const rows = [...table.tBodies[0].rows].map((row) => ({ row, text: row.textContent.toLowerCase() }));

  function filter() {
    const asked = box.value.toLowerCase().split(/\s+/);
    rows.forEach((one) => (one.row.hidden = !asked.every((word) => one.text.includes(word))));
    const shown = rows.filter((one) => !one.row.hidden).length;
    output.value = shown === rows.length ? output.dataset.all : output.dataset.some.replace("{shown}", shown);
  }

  box.addEventListener("input", filter);
  bar.hidden = false;
  filter();
}

// One tab stop; arrows, Home and End move within the row.
function tabbed(tabs, place) {
  const panels = [...tabs.children];
  const list = document.createElement("div");
  list.setAttribute("role", "tablist");
  const buttons = panels.map((panel, i) => {
    const heading = panel.querySelector("h3");
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("role", "tab");
    button.id = `tab-${place}-${i}`;
    button.textContent = heading.textContent;
    panel.id = `panel-${place}-${i}`;
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", button.id);
    button.setAttribute("aria-controls", panel.id);
    button.addEventListener("click", () => choose(i));
    return button;
  });

  function choose(chosen) {
    buttons.forEach((button, i) => {
      button.setAttribute("aria-selected", i === chosen);
      button.tabIndex = i === chosen ? 0 : -1;
      panels[i].hidden = i !== chosen;
    });
  }

  list.addEventListener("keydown", (event) => {
    const now = buttons.indexOf(document.activeElement);
    const last = buttons.length - 1;
    const next = { ArrowRight: now === last ? 0 : now + 1, ArrowLeft: now === 0 ? last : now - 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose(next);
    buttons[next].focus();
  });
  list.append(...buttons);
  tabs.prepend(list);
  tabs.classList.add("on");
  choose(0);
}

// A switch between the editions of the page, which begins with the first that the reader's browser asks for.
function switched(editions) {
  const nav = document.createElement("nav");
  nav.className = "languages";
  nav.setAttribute("aria-label", editions.map((edition) => edition.dataset.name).join(" / "));
  const buttons = editions.map((edition) => {
    const button = document.createElement("button");
    button.type = "button";
    button.lang = edition.lang;
    button.textContent = edition.dataset.name;
    button.addEventListener("click", () => choose(edition));
    return button;
  });

  function choose(chosen) {
    editions.forEach((edition, i) => {
      edition.hidden = edition !== chosen;
      buttons[i].setAttribute("aria-pressed", edition === chosen);
    });
    document.documentElement.lang = chosen.lang;
    document.title = chosen.querySelector("h1").textContent;
  }

  const asked = navigator.languages.map((name) => name.slice(0, 2));
  const linked = document.getElementById(decodeURIComponent(location.hash.slice(1)))?.closest(".edition");
  const first = asked.map((name) => editions.find((edition) => edition.lang.startsWith(name))).find(Boolean);
  nav.append(...buttons);
  document.body.prepend(nav);
  choose(linked ?? first ?? editions[0]);
}

// The menu marks the section that the reader is in: the last one whose heading has passed the upper third of the window.
function marked(nav) {
  const links = new Map([...nav.querySelectorAll("a")].map((link) => [decodeURIComponent(link.hash.slice(1)), link]));
  const seen = new IntersectionObserver(
    (entries) => {
      const entered = entries.filter((entry) => entry.isIntersecting).pop();
      if (!entered) return;
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entered.target.id)?.setAttribute("aria-current", "true");
    },
    { rootMargin: "-30% 0px -70% 0px" },
  );
  links.forEach((_, id) => seen.observe(document.getElementById(id)));
}

document.querySelectorAll("table.sorts").forEach(sortable);
document.querySelectorAll(".filter").forEach(filterable);
document.querySelectorAll(".tabs").forEach(tabbed);
document.querySelectorAll(".menu").forEach(marked);
const editions = [...document.querySelectorAll(".edition")];
if (editions.length > 1) switched(editions);

let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((part) => (part.open = true));
});
addEventListener("afterprint", () => opened.forEach((part) => (part.open = false)));
