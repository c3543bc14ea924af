// One operation: its parameters, its request in three forms (sent, curl, Python), and its replies.

import { kind, resolved } from "./description.js";
import { make, prose, text } from "./elements.js";
import { fields } from "./fields.js";
import { download, show } from "./sending.js";
import { curl, program } from "./snippets.js";

export function operation(spec, described, settings) {
  const parts = make("div", { className: "parts" });
  const element = make("details", { className: "operation", id: described.id },
    make("summary", {},
      text("span", `method ${described.method.toLowerCase()}`, described.method), text("span", "path", described.path),
      prose("span", "what", described.summary), text("span", "scope", described["x-scope"])),
    parts);
  // Made when it is opened: a page of every operation's fields is long.
  element.addEventListener("toggle", () => {
    if (element.open && !parts.hasChildNodes()) parts.append(...opened(spec, described, settings));
  });
  return element;
}

function opened(spec, described, settings) {
  const inputs = described.parameters.map(parameter => [parameter, input(parameter)]);
  const body = described.body
    && make("textarea", { rows: 5, spellcheck: false, ariaLabel: "body", value: JSON.stringify(described.body.example, null, 2) });
  const request = () => filled(described, inputs, body, settings);
  const left = make("div", {},
    inputs.length ? text("h3", "", "Parameters") : null,
    inputs.length ? make("table", {}, ...inputs.map(([parameter, field]) => row(parameter, field))) : null,
    body ? text("h3", "", "Body") : null, body || null,
    ...body ? fields(spec, described.body.schema) : [],
    ...replies(spec, described));
  const snippets = shownSnippets(request, settings);
  for (const field of [...inputs.map(([, field]) => field), ...body ? [body] : []]) field.addEventListener("input", snippets.update);
  settings.onChange(snippets.update);
  return [left, make("div", {}, snippets.element, ...sent(described, request))];
}

function row(parameter, field) {
  return make("tr", {},
    make("td", {}, text("code", "", parameter.name), make("br"),
      parameter.required ? text("span", "needed", "needed ") : null,
      text("small", "", parameter.in === "header" ? "header" : parameter.schema.enum || parameter.schema.items?.enum ? "" : kind(parameter.schema))),
    make("td", {}, field, prose("div", "note", [parameter.description,
      parameter.schema.items?.enum && `With commas between: ${parameter.schema.items.enum.join(", ")}.`].filter(Boolean).join(" "))));
}

function input({ name, schema, required, example }) {
  const choices = schema.enum ?? (schema.type === "boolean" ? ["true", "false"] : null);
  if (choices)
    return make("select", { name, ariaLabel: name },
      ...["", ...choices].map(value => make("option", { value, textContent: value || (schema.default ? `${schema.default} (default)` : "–") })));
  return make("input", {
    name, ariaLabel: name, spellcheck: false, autocomplete: "off",
    value: required ? example ?? "" : "", placeholder: schema.default ?? [].concat(example ?? "").join(","),
  });
}

// What is filled in, as a request.
function filled(described, inputs, body, settings) {
  let path = described.path;
  const [query, headers] = [new URLSearchParams(), {}];
  for (const [parameter, field] of inputs) {
    const value = field.value.trim();
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (value && parameter.in === "header") headers[parameter.name] = value;
    else if (value)
      for (const one of parameter.schema.items ? value.split(",") : [value]) query.append(parameter.name, one.trim());
  }
  const asked = query.get("format") ?? (described.whole ? "jsonl" : "json");
  const form = asked === "array" ? "json" : asked;
  const name = query.get("entity") ?? (described.path.endsWith("export") ? "markets" : described.path.split("/").pop().replace(/\W/g, ""));
  return {
    method: described.method, url: settings.base + path + (query.size ? `?${query}` : ""), headers, body: body?.value, key: settings.key(),
    live: described.live, lines: form !== "json", file: described.whole ? `${name}.${form}` : null, saved: `${name}.${form}`,
  };
}

function shownSnippets(request, settings) {
  const forms = { curl, Python: program };
  let chosen = "curl";
  const code = make("pre", { className: "snippet", tabIndex: 0 });
  const buttons = Object.keys(forms).map(name => make("button", { type: "button", role: "tab", textContent: name }));
  const copy = make("button", { type: "button", className: "copy", textContent: "Copy" });
  const update = () => {
    for (const button of buttons) button.setAttribute("aria-selected", button.textContent === chosen);
    code.textContent = forms[chosen]({ ...request(), key: settings.shownKey() });
    code.dataset.form = chosen;
  };
  for (const button of buttons) button.addEventListener("click", () => { chosen = button.textContent; update(); });
  copy.addEventListener("click", () => navigator.clipboard?.writeText(code.textContent));
  update();
  return { element: make("div", {}, make("div", { className: "tabs" }, ...buttons, copy), code), update };
}

// The buttons, and what came.
function sent(described, request) {
  const send = make("button", { type: "button", className: "send", textContent: described.live ? "Listen" : "Send" });
  const save = make("button", { type: "button", className: "download", textContent: "Download", hidden: described.live || described.method !== "GET" });
  const stop = make("button", { type: "button", className: "stop", textContent: "Stop", disabled: true });
  const status = make("div", { className: "status", ariaLive: "polite" });
  const answer = make("pre", { className: "answer", hidden: true, tabIndex: 0 });
  const view = {
    status(words, kind) { status.textContent = words; status.dataset.kind = kind; },
    body(words) { answer.hidden = !words; answer.className = "answer"; answer.textContent = words; },
    event(words, most) {
      answer.hidden = false;
      answer.className = "answer live";
      answer.prepend(make("div", {}, text("i", "", `${new Date().toLocaleTimeString()} `), `${words}\n\n`));
      while (answer.childElementCount > most) answer.lastChild.remove();
    },
  };
  let running = null;
  const work = doing => async () => {
    running = new AbortController();
    [send.disabled, save.disabled, stop.disabled] = [true, true, false];
    view.status("…", "running");
    try { await doing(request(), running.signal, view); } catch (error) {
      const stopped = error.name === "AbortError";
      view.status(stopped ? `${status.textContent} · stopped` : `no answer: ${error.message}`, stopped ? "stopped" : "bad");
    }
    [send.disabled, save.disabled, stop.disabled] = [false, false, true];
  };
  send.addEventListener("click", work(show));
  save.addEventListener("click", work(download));
  stop.addEventListener("click", () => running.abort());
  return [make("div", { className: "actions" }, send, save, stop), status, answer];
}

function replies(spec, described) {
  const found = [text("h3", "", `Reply ${described.status}`)];
  for (const [media, content] of Object.entries(described.reply.content ?? {})) {
    const example = typeof content.example === "string" ? content.example : JSON.stringify(content.example, null, 2);
    found.push(text("small", "", media), text("pre", "example", example), ...fields(spec, content.schema));
  }
  if (!described.media.length) found.push(text("small", "", "It has no body."));
  const errors = make("details", { className: "fields" }, text("summary", "", `Errors ${described.errors.map(([code]) => code).join(", ")}`));
  for (const [code, why] of described.errors) errors.append(prose("div", "", `${code}: ${why}`));
  errors.append(text("pre", "", JSON.stringify(resolved(spec, { $ref: "#/components/schemas/Problem" }).example, null, 2)));
  return [...found, errors];
}
