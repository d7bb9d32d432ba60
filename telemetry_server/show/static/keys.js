"use strict";
// Comforts only: every page works without this file.

const all = (selector) => [...document.querySelectorAll(selector)];
const help = document.getElementById("help");
const places = { o: "/", i: "/installations", t: "/intake" };
let afterG = 0;

function showHelp() {
  if (help && !help.open) help.showModal();
}

function find() {
  const field = document.querySelector("[data-find]");
  if (field) field.focus();
  else if (help) location.assign("/installations#find");
}

function moveRow(step) {
  const rows = all("[data-row]");
  if (!rows.length) return;
  const here = rows.indexOf(document.activeElement.closest("[data-row]"));
  const there = rows[Math.min(Math.max(here + step, 0), rows.length - 1)];
  const target = there.querySelector("a") || there;
  if (target === there) there.tabIndex = -1;
  target.focus();
  there.scrollIntoView({ block: "nearest" });
}

const actions = { "/": find, "?": showHelp, j: () => moveRow(1), k: () => moveRow(-1) };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest("input, select, textarea, dialog[open]")) {
    if (event.key === "Escape" && event.target.matches("[data-find]")) event.target.blur();
    return;
  }
  const place = Date.now() - afterG < 1200 && places[event.key];
  afterG = event.key === "g" ? Date.now() : 0;
  if (place) {
    location.assign(place);
  } else if (actions[event.key]) {
    event.preventDefault();
    actions[event.key]();
  }
});

for (const button of all("[data-help]")) {
  button.hidden = false;
  button.addEventListener("click", showHelp);
}

for (const button of all("[data-theme-toggle]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try {
      localStorage.setItem("theme", root.dataset.theme);
    } catch {
      // It holds for this page then.
    }
  });
}

for (const select of all("[data-submit]")) {
  select.addEventListener("change", () => select.form.submit());
  for (const button of select.form.querySelectorAll("[data-needless]")) button.hidden = true;
}

if (navigator.clipboard) {
  for (const button of all("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
  }
}

if (location.hash === "#find") find();
