// A client of docs/protocol.md in one file, whole enough to be used; one process at a time for each state file:
//     [LICENSE_KEY=…] node client.mjs ENDPOINT PRODUCT_KEY STATE_FILE [STATUS]
// Prints one line of JSON. Leaves with 0 when nothing waits any more, with 75 when something waits for the next run.
import { createHash, createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import * as fs from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

const REFUSED = [400, 413, 415, 422], BUSY = [429, 500, 502, 503, 504], MOST_WAITING = 500;
const stripped = (text) => text.replace(/^\p{White_Space}+|\p{White_Space}+$/gu, "");  // trim() strips another set
const sha256 = (data) => createHash("sha256").update(data).digest("hex");
const hmac = (secret, head, body) =>
  createHmac("sha256", Buffer.from(secret, "base64url")).update(head).update(body).digest("hex");

export const keyDigest = (product, key) => sha256(`license\n${product}\n${stripped(key)}`);
export const receipt = (secret, sent, answer) => `v1 hmac=${hmac(secret, `receipt\n${sha256(sent)}\n`, answer)}`;
export const signature = ({ product, key, installation_id, secret }, method, path, body) =>
  `v1 product=${product} key=${key} installation=${installation_id} ` +
  `hmac=${hmac(secret, `v1\n${method}\n${path}\n`, body)}`;

export function isReceipt(header, secret, sent, answer) {
  const given = Buffer.from(header ?? ""), right = Buffer.from(receipt(secret, sent, answer));
  return given.length === right.length && timingSafeEqual(given, right);
}

export const uuid7 = (time = Date.now().toString(16).padStart(12, "0")) =>
  `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`;

function save(file, state) {  // cut short anywhere, a whole state is on the disk: the old one or the new one
  fs.writeFileSync(`${file}.new`, JSON.stringify(state), { mode: 0o600 });
  const toDisk = (path) => { const open = fs.openSync(path, "r"); fs.fsyncSync(open); fs.closeSync(open); };
  toDisk(`${file}.new`);
  fs.renameSync(`${file}.new`, file);
  toDisk(dirname(file));
}

async function post(url, body, headers) {
  const options = { method: "POST", body, redirect: "manual", signal: AbortSignal.timeout(30_000) };
  const answer = await fetch(url, { ...options, headers: { "Content-Type": "application/json", ...headers } });
  return { status: answer.status, headers: answer.headers, body: Buffer.from(await answer.arrayBuffer()) };
}

async function enrol({ endpoint, productKey }, old = { queue: [] }) {
  const forked = old.enrol === "forked", body = JSON.stringify(forked ? { forked_from: old.installation_id } : {});
  const proof = forked && { "Telemetry-Signature": signature(old, "POST", "/v1/enroll", body) };
  const answer = await post(`${endpoint}/v1/enroll`, body, { Authorization: `Bearer ${productKey}`, ...proof });
  if (answer.status !== 201) throw new Error(`enrolling was answered with ${answer.status} ${answer.body}`);
  const queue = old.queue.map((upload, index) => upload.replace(/"sequence":\d+/, `"sequence":${index + 1}`));
  return { ...JSON.parse(answer.body), sequence: queue.length, queue, enrol: null, doubted: false };  // all moves
}

function enqueue(state, status, licenseKey) {
  const license = { status, ...(licenseKey && { key_digest: keyDigest(state.product, licenseKey) }) };
  const ping = { ping_id: uuid7(), sequence: ++state.sequence, occurred_at: new Date().toISOString(), license,
    privacy: { level: "system" }, os: { type: process.platform === "win32" ? "windows" : process.platform } };
  state.queue.push(JSON.stringify({ upload_id: uuid7(), sdk: { name: "node-example", version: "1" }, pings: [ping] }));
  state.queue.splice(0, state.queue.length - MOST_WAITING);  // the oldest are given up: a hole that the server counts
}

async function send(vendor, state) {
  const [body] = state.queue, header = { "Telemetry-Signature": signature(state, "POST", "/v1/pings", body) };
  const answer = await post(`${vendor.endpoint}/v1/pings`, body, header), { status } = answer;
  const promised = isReceipt(answer.headers.get("Telemetry-Receipt"), state.secret, body, answer.body);
  const result = status === 200 && promised ? JSON.parse(answer.body).results[0] : { status: "waits", http: status };
  const vouched = promised && JSON.parse(answer.body).status === status;  // a receipt covers the body only
  const unknown = /^40[13] application\/problem\+json/.test(`${status} ${answer.headers.get("Content-Type")}`);
  if (REFUSED.includes(status) && vouched) result.status = "refused";
  else if (REFUSED.includes(status)) state.queue.push(state.queue.shift());  // who knows whose word: others go first
  else if (status === 410 && vouched) state.stopped = true;
  else if (unknown) state.doubted ? (state.enrol = "unknown") : (state.not_before = Date.now() + 86_400_000);
  else if (BUSY.includes(status))
    state.not_before = Date.now() + 1000 * (Number(answer.headers.get("Retry-After")) || 60 * Math.random());
  state.doubted = unknown || (state.doubted && !promised);
  if (result.status === "forked") state.enrol = "forked";
  else if (result.status !== "waits") state.queue.shift();
  return result;
}

async function run(vendor, file, status = "unlicensed") {
  const state = fs.existsSync(file) ? JSON.parse(fs.readFileSync(file)) : await enrol(vendor), results = [];
  enqueue(state, status, process.env.LICENSE_KEY);
  save(file, state);  // before anything is sent: from now on this number belongs to these bytes
  const halted = () => state.stopped || Date.now() < state.not_before || results.at(-1)?.status === "waits";
  for (let left = state.queue.length + 1; left && state.queue.length && !halted(); left--) {  // one more for a fork
    if (state.enrol) save(file, Object.assign(state, await enrol(vendor, state)));
    results.push(await send(vendor, state));
    save(file, state);
  }
  return { installation_id: state.installation_id, results, waiting: state.queue.length };
}

if (process.argv[1] && fs.realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const [endpoint, productKey, file, status] = process.argv.slice(2);
  if (!file) throw new Error("usage: node client.mjs ENDPOINT PRODUCT_KEY STATE_FILE [STATUS]");
  const report = await run({ endpoint: endpoint.replace(/\/+$/, ""), productKey }, file, status)
    .catch((error) => ({ error: String(error.cause ?? error), waiting: 1 }));
  console.log(JSON.stringify(report));
  process.exitCode = report.waiting ? 75 : 0;
}
