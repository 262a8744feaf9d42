// Reads n messages of a stream through a JetStream consumer, as CloudEvents with
// the official SDK, holds each against the schema that it names, and prints what
// it has read, one JSON value a line.
//
// Usage: node read.mjs NATS_URL SCHEMAS_DIR STREAM N
import { jetstream, jetstreamManager, AckPolicy } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { HTTP } from "cloudevents";
import { load } from "./schemas.mjs";

const [url, dir, stream, n] = process.argv.slice(2);
const valid = load(dir);
const nc = await connect({ servers: url });
const manager = await jetstreamManager(nc);
await manager.consumers.add(stream, { durable_name: "javascript", ack_policy: AckPolicy.Explicit });
const consumer = await jetstream(nc).consumers.get(stream, "javascript");
const messages = await consumer.fetch({ max_messages: Number(n), expires: 30_000 });
for await (const m of messages) {
  // The SDK tells structured from binary by the headers, as the binding asks.
  const event = HTTP.toEvent({ headers: { "content-type": m.headers.get("Content-Type") }, body: m.string() });
  event.validate();
  valid(event.dataschema, m.json());
  console.log(JSON.stringify({ subject: m.subject, event, time: m.json().time })); // the SDK's times end at milliseconds
  await m.ackAck();
}
await nc.close();
