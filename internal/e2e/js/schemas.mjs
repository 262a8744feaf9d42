// The published schemas, compiled by ajv.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

// load returns a function that holds a value against the schema with an $id, or
// with a file name, and throws what is wrong.
export function load(dir) {
  // Strict about keywords, not about style: a schema may leave the type to the one it refers to.
  const ajv = new Ajv2020({ allErrors: true, strict: true, strictTypes: false, strictRequired: false });
  addFormats(ajv);
  const ids = {};
  for (const file of readdirSync(dir).filter((f) => f.endsWith(".json"))) {
    const schema = JSON.parse(readFileSync(join(dir, file), "utf8"));
    ajv.addSchema(schema);
    ids[file] = schema.$id;
  }
  return (name, value) => {
    const validate = ajv.getSchema(ids[name] ?? name);
    if (!validate) throw new Error(`no schema ${name}`);
    if (!validate(value)) throw new Error(`${name}: ${ajv.errorsText(validate.errors)}`);
  };
}
