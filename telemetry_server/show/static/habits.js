"use strict";
// Comforts of app.js that take more than a key: a palette of where to go, the panel beside the list of installations,
// and the switch for keys of one letter.

{
  // ── the palette ──────────────────────────────────────────────────────────────────────────────

  const palette = one("#palette");
  let wanted = [], selected = 0, asked = 0, waiting;

  function openPalette() {
    if (!palette || palette.open) return;
    one("input", palette).value = "";
    palette.showModal();
    list("");
  }

  function places(text) {
    const found = [...all(".rail nav a").map((link) => [link, "page"]), ...all("[data-product]").map((link) => [link, "product"])];
    return found
      .map(([link, kind]) => ({ text: link.textContent.trim(), href: link.href, kind }))
      .filter((place) => place.text.toLowerCase().includes(text.toLowerCase()));
  }

  function list(text, hits = []) {
    wanted = [...places(text), ...hits];
    selected = 0;
    one("ul", palette).replaceChildren(...wanted.map((place, number) => {
      const item = document.createElement("li"), note = document.createElement("small");
      item.id = `palette-${number}`;
      item.role = "option";
      note.textContent = place.kind;
      item.append(place.text, note);
      item.addEventListener("click", () => location.assign(place.href));
      return item;
    }));
    one("[role=status]", palette).textContent = wanted.length ? "" : text ? "Enter searches everything." : "";
    select(0);
  }

  function select(number) {
    const items = all("li", palette);
    selected = Math.min(Math.max(number, 0), Math.max(items.length - 1, 0));
    items.forEach((item, at) => (item.ariaSelected = String(at === selected)));
    if (items.length) items[selected].scrollIntoView({ block: "nearest" });
    one("input", palette).setAttribute("aria-activedescendant", items.length ? items[selected].id : "");
  }

  async function search(text) {
    const mine = ++asked;
    const answer = await fetch(`/api/v1/search?q=${encodeURIComponent(text)}`);
    if (!answer.ok || mine !== asked) return;
    const { exact, suggestions } = await answer.json();
    const hits = [exact, ...suggestions].filter((hit, at) => hit && (at === 0 || hit.id === null || hit.id !== (exact || {}).id));
    if (mine === asked && palette.open) list(text, hits.map((hit) => ({
      text: hit.label,
      kind: hit.count === null ? hit.kind : `${hit.kind}, ${hit.count.toLocaleString()}`,
      href: hit.filter === null ? `/${hit.kind}s/${hit.id}` : `/installations?filter=${encodeURIComponent(hit.filter)}`,
    })));
  }

  if (palette) {
    const field = one("input", palette);
    field.addEventListener("input", () => {
      const text = field.value.trim();
      clearTimeout(waiting);
      asked++;
      list(text);
      if (text.length > 2) waiting = setTimeout(() => search(text), 250);
    });
    field.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) event.preventDefault(), select(selected + step);
      if (event.key === "Enter" && wanted.length) event.preventDefault(), location.assign(wanted[selected].href);
    });
    palette.addEventListener("click", (event) => event.target === palette && palette.close());
  }

  // ── the panel: the summary of one installation beside the list ───────────────────────────────

  const opened = () => one("[data-open][aria-current]");
  const openPanel = (row, push) => swap(row.dataset.open, push ? {} : { push: false, replace: true });

  document.addEventListener("focusin", (event) => {
    const row = event.target.closest("[data-open]");
    if (!row || !one("#panel") || row === opened()) return;
    clearTimeout(waiting);
    waiting = setTimeout(() => row.contains(document.activeElement) && openPanel(row, false), 120);
  });

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-palette]")) openPalette();
    const row = event.target.closest("[data-open]");
    if (row && !event.target.closest("a, button") && !String(getSelection())) openPanel(row, !one("#panel"));
  });

  addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      openPalette();
    }
    if (event.key === "Escape" && one("[data-close]") && !one("dialog[open], .menu[open]") && !event.target.matches("input")) one("[data-close]").click();
    const row = event.key === "Enter" && !event.ctrlKey && !event.metaKey && event.target.closest("[data-open]");
    if (row && one("[data-keys]") && event.target === one("a", row) && row !== opened()) event.preventDefault(), openPanel(row, !one("#panel"));
  }, true);

  // ── keys of one letter ───────────────────────────────────────────────────────────────────────

  const single = one("[data-single-keys]");
  if (single) {
    const turn = (on) => ((single.checked = on), document.body.toggleAttribute("data-keys", on));
    try {
      turn(localStorage.getItem("keys") !== "off");
    } catch {
      // They are on then.
    }
    single.addEventListener("change", () => {
      turn(single.checked);
      try {
        localStorage.setItem("keys", single.checked ? "on" : "off");
      } catch {
        // It holds for this page then.
      }
    });
  }
}
