// Has the official parser read an AsyncAPI document, and prints what it complains
// of as JSON; fails when that is an error or a warning.
//
// Usage: node asyncapi.mjs FILE
import { fromFile, Parser } from "@asyncapi/parser";

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
console.log(JSON.stringify({
  version: document?.version(),
  channels: document?.allChannels().length,
  operations: document?.allOperations().length,
  messages: document?.allMessages().length,
  diagnostics: diagnostics.map(({ severity, code, message, path }) => ({ severity, code, message, path: path.join("/") })),
}));
process.exitCode = document && diagnostics.every(({ severity }) => severity > 1) ? 0 : 1;
