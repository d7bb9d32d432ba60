"use strict";
// Comforts only: every page works without this file. Links within a page (tabs, sorting, filters) are swapped in
// place; the rest are plain links.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (selector, root = document) => root.querySelector(selector);
const root = document.documentElement;
let afterG = 0, polling;

// ── time zone and theme ──────────────────────────────────────────────────────────────────────

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && !document.cookie.includes(`tz=${zone}`)) {
  document.cookie = `tz=${zone}; path=/; max-age=31536000; samesite=lax`;
}

function switchTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // It holds for this page then.
  }
}

// ── swapping in place ────────────────────────────────────────────────────────────────────────

async function swap(url, { push = true, replace = false, top, poll = false } = {}) {
  root.classList.add("loading");
  try {
    const answer = await fetch(url, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = one(".app", page);
    if (!fresh || new URL(answer.url).pathname !== new URL(url, location).pathname) throw new Error();
    if (push) {
      history.replaceState({ top: scrollY }, "");
      history.pushState({}, "", url);
    }
    if (replace) history.replaceState({ top: scrollY }, "", url);
    if (poll && one("main", fresh).innerHTML === one("main").innerHTML) return wait();
    document.title = page.title;
    const was = document.activeElement && document.activeElement.getAttribute("href");
    one(".app").replaceWith(document.adoptNode(fresh));
    ((was && one(`a[href="${CSS.escape(was)}"]`)) || one("main")).focus({ preventScroll: true });
    if (top !== undefined) scrollTo(0, top);
    begin();
  } catch {
    location.assign(url);
  } finally {
    root.classList.remove("loading");
  }
}

addEventListener("popstate", (event) => {
  if (event.state) swap(location.href, { push: false, top: event.state.top || 0 });
});

document.addEventListener("click", (event) => {
  const at = event.target.closest("a, [data-help], [data-theme-toggle], [data-copy], .menu");
  for (const menu of all(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  if (!at) return;
  if (at.matches("[data-help]")) showHelp();
  if (at.matches("[data-theme-toggle]")) switchTheme();
  if (at.matches("[data-copy]")) copy(at);
  if (at.tagName !== "A" || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  const there = new URL(at.href);
  if (there.origin !== location.origin || there.pathname !== location.pathname || there.hash) return;
  if (at.hasAttribute("download") || there.searchParams.has("csv")) return;
  event.preventDefault();
  history.replaceState({ top: scrollY }, "");
  swap(at.href);
});

async function copy(button) {
  await navigator.clipboard.writeText(button.dataset.copy);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

// ── keyboard ─────────────────────────────────────────────────────────────────────────────────

function showHelp() {
  const help = one("#help");
  if (help && !help.open) help.showModal();
}

function find() {
  const field = one("[data-find]");
  if (field) field.focus(), field.select();
}

function moveRow(step) {
  const rows = all("[data-row]");
  if (!rows.length) return;
  const here = rows.indexOf(document.activeElement.closest("[data-row]"));
  const there = rows[Math.min(Math.max(here + step, 0), rows.length - 1)];
  const target = one("a", there) || there;
  if (target === there) there.tabIndex = -1;
  target.focus();
  there.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const menu of all(".menu[open]")) (menu.open = false), one("summary", menu).focus();
    if (event.target.matches("[data-find]")) event.target.blur();
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !one("[data-keys]")) return;
  if (event.target.closest("input, select, textarea, dialog[open]")) return;
  const follow = (link) => link && (event.preventDefault(), link.focus(), link.click());
  if (Date.now() - afterG < 1200) {
    afterG = 0;
    return follow(one(`[data-go="${CSS.escape(event.key)}"]`));
  }
  if (event.key === "g") return void (afterG = Date.now());
  const actions = { "/": find, "?": showHelp, j: () => moveRow(1), k: () => moveRow(-1) };
  if (!actions[event.key]) return follow(one(`[data-key="${CSS.escape(event.key)}"]`));
  event.preventDefault();
  actions[event.key]();
});

// ── charts: one crosshair and tooltip, legend, drag to zoom ──────────────────────────────────

function chart(figure) {
  const field = one(".field", figure), rows = all("tbody tr", figure), names = all("thead th", figure).slice(1);
  if (!field || !rows.length) return;
  const cross = document.createElement("div"), tip = document.createElement("div"), brush = document.createElement("div");
  cross.className = "cross", tip.className = "tip", brush.className = "brush";
  let from = null;
  const at = (event) => {
    const box = field.getBoundingClientRect();
    return Math.min(rows.length - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * rows.length)));
  };
  const show = (index) => {
    const share = field.clientWidth / rows.length, x = share * (index + 0.5), row = rows[rows.length - 1 - index];
    cross.style.left = `${x}px`;
    tip.replaceChildren(Object.assign(document.createElement("b"), { textContent: one("th", row).textContent }));
    all("td", row).forEach((cell, number) => {
      if (!cell.textContent) return;
      const line = document.createElement("div");
      for (const text of [names[number].textContent, cell.textContent]) line.append(Object.assign(document.createElement("span"), { textContent: text }));
      tip.append(line);
    });
    field.append(cross, tip);
    tip.style.left = `${x + 12 + tip.offsetWidth > field.clientWidth ? Math.max(0, x - 12 - tip.offsetWidth) : x + 12}px`;
  };
  const hide = () => (cross.remove(), tip.remove(), brush.remove(), (from = null));
  field.addEventListener("pointermove", (event) => {
    show(at(event));
    if (from === null) return;
    const share = field.clientWidth / rows.length, [low, high] = [from, at(event)].sort((a, b) => a - b);
    brush.style.left = `${low * share}px`;
    brush.style.width = `${(high - low + 1) * share}px`;
    brush.style.height = `${field.clientHeight - 20}px`;
    field.append(brush);
  });
  field.addEventListener("pointerleave", hide);
  field.addEventListener("pointerdown", (event) => {
    if (figure.dataset.zoom && event.pointerType === "mouse" && !event.button) (from = at(event)), event.preventDefault();
  });
  field.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const [low, high] = [from, at(event)].sort((a, b) => a - b);
    const day = (index) => rows[rows.length - 1 - index].dataset.day;
    hide();
    if (low !== high) swap(figure.dataset.zoom.replace("{from}", day(low)).replace("{to}", day(high)));
  });
  field.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    field.dataset.at = Math.min(rows.length - 1, Math.max(0, Number(field.dataset.at ?? rows.length) + step));
    show(Number(field.dataset.at));
  });
  field.addEventListener("blur", hide);
  for (const key of all("[data-series]", figure)) {
    const light = (on) => {
      figure.classList.toggle("dim", on);
      for (const shape of all(".shape", figure)) shape.classList.toggle("lit", on && shape.classList.contains(`s-${key.dataset.series}`));
    };
    key.addEventListener("pointerenter", () => light(true));
    key.addEventListener("pointerleave", () => light(false));
  }
}

// ── what each page needs ─────────────────────────────────────────────────────────────────────

function begin() {
  if (!navigator.clipboard) for (const button of all("[data-copy]")) button.hidden = true;
  document.dispatchEvent(new Event("page"));
  all(".chart").forEach(chart);
  for (const select of all("[data-submit]")) select.addEventListener("change", () => select.form.submit());
  wait();
}

// No one is to lose an open menu or a half-written text to a poll.
const busy = () => document.hidden || one("details[open], dialog[open], input:focus, select:focus, textarea:focus");

function wait() {
  const waits = one("[data-poll]");
  clearTimeout(polling);
  if (!waits) return;
  const look = () => (busy() ? wait() : swap(location.href, { push: false, poll: true }));
  polling = setTimeout(look, Number(waits.dataset.poll) * 1000);
}

begin();
