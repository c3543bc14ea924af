// What the OpenAPI document says, as the page shows it.

export function resolved(spec, thing) {
  while (thing?.$ref)
    thing = thing.$ref.slice(2).split("/").reduce((part, name) => part[name], spec);
  return thing;
}

export function operations(spec) {
  const found = [];
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, described] of Object.entries(methods)) {
      const [status, reply] = Object.entries(described.responses).find(([code]) => code < "300");
      const media = Object.keys(reply.content ?? {});
      found.push({
        ...described, id: described.operationId, method: method.toUpperCase(), path, status, media, reply,
        body: described.requestBody?.content["application/json"],
        live: media.includes("text/event-stream"),
        // What streams has no tag.
        whole: media.includes("application/x-ndjson") && !reply.headers?.ETag,
        errors: Object.entries(described.responses).filter(([code]) => code >= "300")
          .map(([code, other]) => [code, resolved(spec, other).description]),
      });
    }
  }
  return found;
}

export function kind(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.items) return [`list of ${kind(schema.items)}`, ...[].concat(schema.type).filter(t => t === "null")].join(" or ");
  if (schema.enum) return schema.enum.join(" · ");
  return [].concat(schema.format ?? [], schema.type ?? "any").filter((t, n) => !(n && schema.format && t === "string")).join(" or ");
}
