// The fields of a schema: each with its kind and its note; what has fields of its own opens.

import { kind, resolved } from "./description.js";
import { make, prose, text } from "./elements.js";

function inner(spec, schema) {
  const found = resolved(spec, schema);
  if (found.items) return inner(spec, found.items);
  if (found.anyOf) return inner(spec, found.anyOf[0]);
  return found.properties ? found : null;
}

export function fields(spec, schema, title = "Fields") {
  const found = inner(spec, schema);
  if (!found) return [];
  const element = make("details", { className: "fields" }, text("summary", "", title));
  element.addEventListener("toggle", () => {
    if (!element.open || element.childElementCount > 1) return;
    for (const [name, field] of Object.entries(found.properties))
      element.append(make("div", {}, text("code", "", name), ` ${kind(field)} `, prose("span", "note", field.description ?? ""),
        ...fields(spec, field, `fields of ${name}`)));
  });
  return [element];
}
