// Seals support access in the browser, by WebCrypto alone: RFC 9180, base mode, DHKEM(P-256, HKDF-SHA256),
// HKDF-SHA256, AES-256-GCM. docs/support.md describes the envelope; tests/wire/grants.json has its vectors.

const FORMAT = "license-telemetry/grant/v1";
const BOUND = ["product", "installation", "case", "key_id", "not_after", "notice"];
const SUITE = Uint8Array.of(0, 1);
const P256 = { name: "ECDH", namedCurve: "P-256" };
const KEM_ID = joined("KEM", Uint8Array.of(0, 0x10));
const HPKE_ID = joined("HPKE", Uint8Array.of(0, 0x10, 0, 1, 0, 2));
const NOTHING = new Uint8Array();

/** The envelope as bytes: suite, encapsulated key, ciphertext and tag. `publicKey`: a point, in base64url. */
export async function seal(plaintext, publicKey, bound) {
  const ephemeral = await crypto.subtle.generateKey(P256, false, ["deriveBits"]);
  return sealWith(ephemeral, plaintext, decoded(publicKey), info(bound));
}

/** The `info` of the seal: the format and what it is bound to, each after its length in two bytes. */
export function info(bound) {
  const fields = [FORMAT, ...BOUND.map((name) => bound[name])].map((text) => joined(text));
  return joined(...fields.flatMap((field) => [number(field.length), field]));
}

export async function sealWith(ephemeral, plaintext, recipient, info) {
  const encapsulated = new Uint8Array(await crypto.subtle.exportKey("raw", ephemeral.publicKey));
  const other = await crypto.subtle.importKey("raw", recipient, P256, false, []);
  const shared = await crypto.subtle.deriveBits({ name: "ECDH", public: other }, ephemeral.privateKey, 256);
  const { key, nonce } = await keySchedule(new Uint8Array(shared), joined(encapsulated, recipient), info);
  const cipher = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["encrypt"]);
  const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv: nonce }, cipher, plaintext);
  return joined(SUITE, encapsulated, new Uint8Array(sealed));
}

/** The key and the nonce of AES-256-GCM. RFC 9180, sections 4.1 and 5.1. */
export async function keySchedule(shared, kemContext, info) {
  const prk = await extract(KEM_ID, NOTHING, "eae_prk", shared);
  const secret = await expand(KEM_ID, prk, "shared_secret", kemContext, 32);
  const idHash = await extract(HPKE_ID, NOTHING, "psk_id_hash", NOTHING);
  const context = joined(Uint8Array.of(0), idHash, await extract(HPKE_ID, NOTHING, "info_hash", info));
  const main = await extract(HPKE_ID, secret, "secret", NOTHING);
  return {
    key: await expand(HPKE_ID, main, "key", context, 32),
    nonce: await expand(HPKE_ID, main, "base_nonce", context, 12),
  };
}

async function hmac(key, message) {
  // An empty key is one of zeros, which WebCrypto asks for.
  const bytes = key.length ? key : new Uint8Array(32);
  const imported = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, message));
}

function extract(suite, salt, label, input) {
  return hmac(salt, joined("HPKE-v1", suite, label, input));
}

/** At most 32 bytes: one block of HKDF. */
async function expand(suite, key, label, info, length) {
  const block = await hmac(key, joined(number(length), "HPKE-v1", suite, label, info, Uint8Array.of(1)));
  return block.slice(0, length);
}

function number(value) {
  return Uint8Array.of(value >> 8, value & 0xff);
}

function joined(...parts) {
  const bytes = parts.map((part) => (typeof part === "string" ? new TextEncoder().encode(part) : part));
  const whole = new Uint8Array(bytes.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of bytes) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function decoded(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (each) => each.charCodeAt(0));
}

export function encoded(bytes) {
  const text = btoa(Array.from(bytes, (each) => String.fromCharCode(each)).join(""));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
