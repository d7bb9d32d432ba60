"use strict";
// Asks the authenticator, and sends its answer as a form. The server checks it.

const form = document.querySelector("[data-passkey]");
const problem = form.querySelector("[data-problem]");
const answer = form.querySelector("[name=credential]");

const bytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (each) => each.charCodeAt(0));
const base64url = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
const described = (list) => (list || []).map((each) => ({ ...each, id: bytes(each.id) }));

function options() {
  const asked = JSON.parse(form.dataset.options);
  asked.challenge = bytes(asked.challenge);
  if (asked.user) asked.user.id = bytes(asked.user.id);
  asked.excludeCredentials = described(asked.excludeCredentials);
  asked.allowCredentials = described(asked.allowCredentials);
  return { publicKey: asked };
}

function inJson(credential) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = base64url(credential.response[name]);
  }
  const id = base64url(credential.rawId);
  return JSON.stringify({ id, rawId: id, type: credential.type, response, clientExtensionResults: {} });
}

async function ask() {
  problem.hidden = true;
  try {
    const credential = await navigator.credentials[form.dataset.passkey](options());
    answer.value = inJson(credential);
    form.submit();
  } catch (error) {
    const known = { InvalidStateError: "You have a passkey on this device already." };
    problem.textContent = known[error.name] || "The browser did not give a passkey. Try again, or use another way.";
    problem.hidden = false;
  }
}

form.addEventListener("submit", (event) => {
  if (answer.value) return;
  event.preventDefault();
  if (window.PublicKeyCredential) {
    ask();
  } else {
    problem.textContent = "This browser has no passkeys for this address.";
    problem.hidden = false;
  }
});
if (form.dataset.passkey === "get" && window.PublicKeyCredential) ask();
