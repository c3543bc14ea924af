// The page: the OpenAPI document of this API, each operation ready to be sent.

import { operations } from "./description.js";
import { make, prose, text } from "./elements.js";
import { operation } from "./operation.js";

const byId = id => document.getElementById(id);
const [key, showKey] = [byId("key"), byId("show-key")];

// The key stays in this tab, until it is closed.
key.value = sessionStorage.getItem("key") ?? "";

const listeners = [];
const settings = {
  base: new URL(".", location.href).href.replace(/\/$/, ""),
  key: () => key.value.trim(),
  shownKey: () => showKey.checked && key.value.trim() ? key.value.trim() : null,
  onChange: listener => listeners.push(listener),
};
for (const field of [key, showKey])
  field.addEventListener("input", () => {
    sessionStorage.setItem("key", settings.key());
    listeners.forEach(listener => listener());
  });

function openNamed() {
  const named = byId(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) {
    named.open = true;
    named.scrollIntoView();
  }
}

function index(groups) {
  const [links, sections] = [[], []];
  for (const [tag, members] of groups) {
    const heading = text("h2", "", tag);
    byId("index").append(heading);
    const first = links.length;
    for (const { id, method, path } of members) {
      const link = make("a", { href: `#${id}` }, text("span", `method ${method.toLowerCase()}`, method), path.replace(/^\/v1/, ""));
      link.addEventListener("click", () => { if (location.hash === `#${id}`) openNamed(); });
      links.push(link);
      byId("index").append(link);
    }
    sections.push([heading, links.slice(first)]);
  }
  byId("find").addEventListener("input", event => {
    for (const link of links) link.hidden = !link.textContent.toLowerCase().includes(event.target.value.toLowerCase());
    for (const [heading, members] of sections) heading.hidden = members.every(link => link.hidden);
  });
}

try {
  const spec = await (await fetch("openapi.json")).json();
  const all = operations(spec);
  byId("about").replaceChildren(...prose("p", "", spec.info.description).childNodes);
  byId("operations").append(...all.map(described => operation(spec, described, settings)));
  index(Map.groupBy ? Map.groupBy(all, ({ tags }) => tags[0]) : new Map([["operations", all]]));
  addEventListener("hashchange", openNamed);
  openNamed();
  document.documentElement.dataset.ready = all.length;
} catch (error) {
  byId("about").textContent = `openapi.json cannot be read: ${error.message}`;
}
