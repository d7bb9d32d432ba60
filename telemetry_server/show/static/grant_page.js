// The page on which a customer grants access in a browser: seals the form here, and sends the envelope only.
// The fields that are secret have no name, so that no browser sends them, also without this script.

import { encoded, seal } from "./grants.js";

const form = document.querySelector("form[data-grant]");
const HOUR = 3_600_000;

if (form && globalThis.crypto?.subtle) {
  form.querySelector("button[type=submit]").disabled = false;
  form.querySelector("[data-unsealable]").hidden = true;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const until = new Date(Date.now() + Number(form.querySelector("[data-hours]").value) * HOUR);
    const notAfter = `${until.toISOString().slice(0, 19)}Z`;
    const { product, case: caseId, key_id, public_key } = form.dataset;
    const bound = { product, installation: "", case: caseId, key_id, not_after: notAfter, notice: form.dataset.notice };
    const sealed = await seal(new TextEncoder().encode(JSON.stringify(content())), public_key, bound);
    form.elements.grant_id.value = crypto.randomUUID();
    form.elements.not_after.value = notAfter;
    form.elements.sealed.value = encoded(sealed);
    for (const input of form.querySelectorAll("[data-secret]")) input.value = "";
    form.submit();
  });
}

/** What is sealed: as `support_grant()` of the SDK has it. */
function content() {
  const whole = {};
  for (const input of form.querySelectorAll("[data-secret]")) {
    if (!input.value) continue;
    const path = input.dataset.secret.split(".");
    const last = path.pop();
    path.reduce((inner, name) => (inner[name] ??= {}), whole)[last] = input.value;
  }
  const accounts = Object.entries(whole.accounts ?? {}).map(([kind, each]) => ({ kind, ...each }));
  return { ...whole, accounts: accounts.filter((each) => each.name) };
}
