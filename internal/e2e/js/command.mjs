// Publishes refresh commands made with the official SDK, waits for the result of
// each, reads it with the SDK, and prints it, one JSON value a line.
//
// Usage: node command.mjs NATS_URL SCHEMAS_DIR COMMANDS
// where COMMANDS is [{"form": "structured" | "binary" | "plain" | "subject", "user": …, "member": …, "command_id": …}].
import { jetstream } from "@nats-io/jetstream";
import { connect, headers } from "@nats-io/transport-node";
import { CloudEvent, HTTP } from "cloudevents";
import { load } from "./schemas.mjs";

const subject = "mx.commands.member.refresh";
const [url, dir, list] = process.argv.slice(2);
const valid = load(dir);
const nc = await connect({ servers: url });
const js = jetstream(nc);

function encode(form, command) {
  const event = new CloudEvent({ type: "member.refresh", source: "/javascript", id: `id ${command.command_id}`, data: command });
  switch (form) {
    case "plain":
      return { subject, body: JSON.stringify(command), headers: {} };
    case "subject":
      return { subject: `${subject}.${command.user}.${command.member}`, body: JSON.stringify({ command_id: command.command_id }), headers: {} };
    default:
      return { subject, ...HTTP[form](event) };
  }
}

for (const { form, ...command } of JSON.parse(list)) {
  valid("member.refresh.json", command);
  const results = nc.subscribe(`mx.results.member.refresh.${command.command_id}`, { max: 1, timeout: 30_000 });
  await nc.flush();
  const message = encode(form, command);
  const h = headers();
  for (const [name, value] of Object.entries(message.headers)) {
    // The SDK leaves the percent-encoding of attributes to the transport.
    h.set(name, name.startsWith("ce-") ? encodeURI(String(value)) : value);
  }
  await js.publish(message.subject, message.body, { headers: h });
  for await (const m of results) {
    const event = HTTP.toEvent({ headers: { "content-type": m.headers.get("Content-Type") }, body: m.string() });
    event.validate();
    valid("member.refresh.result.json", m.json());
    console.log(JSON.stringify({ form, ...event.data }));
  }
}
await nc.close();
