"use strict";
// Puts what arrives on top of the page "Live". Nothing is read while it is paused or not visible.

let live;

function startLive() {
  if (live) live.source.close(), clearInterval(live.watch), (live = undefined);
  const rows = document.querySelector("[data-live]"), button = document.querySelector("[data-live-pause]");
  if (!rows) return;
  const state = document.querySelector("[data-live-state]"), sent = document.querySelector("[data-live-sent]");
  const most = Number(rows.dataset.most);
  let paused = false;
  live = { source: { close() {} } };

  const put = (list, html) => {
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    const known = new Set([...list.querySelectorAll(":scope > [data-key]")].map((one) => one.dataset.key));
    for (const one of fresh.content.querySelectorAll(":scope > [data-key]")) if (known.has(one.dataset.key)) one.remove();
    list.prepend(fresh.content);
    const shown = list.querySelectorAll(":scope > [data-key]");
    for (let at = most; at < shown.length; at++) shown[at].remove();
  };
  const say = (text) => (state.textContent = text);
  const open = () => {
    live.source.close();
    if (paused || document.hidden) return;
    live.source = new EventSource(rows.dataset.live);
    live.source.onopen = () => say("Pings as they arrive, once a second.");
    live.source.onerror = () => say(live.source.readyState === 2 ? "Not connected: reload the page." : "Connecting…");
    live.source.addEventListener("pings", (event) => put(rows, event.data));
    if (sent) live.source.addEventListener("sent", (event) => put(sent, event.data));
  };
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Continue" : "Pause";
    if (paused) say("Paused.");
    open();
  });
  live.open = open;
  open();
}

document.addEventListener("visibilitychange", () => live && live.open());
document.addEventListener("page", startLive);
startLive();
