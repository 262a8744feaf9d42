// Sends requests to the micro service, holds each request that is to be served and
// every answer against its schema, and prints the answers, one JSON value a line.
//
// Usage: node request.mjs NATS_URL SCHEMAS_DIR REQUESTS
// where REQUESTS is [{"endpoint": "refresh" | "get" | "oauth_uri", "code": "expected, or empty", "body": …}].
import { connect } from "@nats-io/transport-node";
import { load } from "./schemas.mjs";

const [url, dir, list] = process.argv.slice(2);
const valid = load(dir);
const nc = await connect({ servers: url });

for (const { endpoint, code, body } of JSON.parse(list)) {
  if (code !== "400") valid(`api.${endpoint}.request.json`, body);
  const answer = await nc.request(`mx.api.member.${endpoint}`, JSON.stringify(body), { timeout: 30_000 });
  const told = answer.headers?.get("Nats-Service-Error-Code") ?? "";
  valid(told ? "api.error.json" : `api.${endpoint}.response.json`, answer.json());
  console.log(JSON.stringify({ endpoint, code: told, words: answer.headers?.get("Nats-Service-Error") ?? "", body: answer.json() }));
}
await nc.close();
