// What pages do with JavaScript: local times, countdowns, what changes is read anew, search as one
// types. All that is shown is written by the server; without this file pages are whole, too.

const LATER = 10_000, RETRY = 3000, LONGEST_WAIT = 15_000, HISTORY = 300;
const policy = window.trustedTypes?.createPolicy("ssmd-page", { createHTML: text => text });
const parsed = text => new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, "text/html");
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const sleep = ms => new Promise(done => setTimeout(done, ms));
const main = document.getElementById("main");

// Times -----------------------------------------------------------------------------------------

const dayForm = { day: "2-digit", month: "short" };
const minuteForm = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const formats = {
  short: new Intl.DateTimeFormat(undefined, { ...dayForm, ...minuteForm }),
  far: new Intl.DateTimeFormat(undefined, { ...dayForm, year: "numeric", ...minuteForm }),
  day: new Intl.DateTimeFormat(undefined, { ...dayForm, year: "numeric" }),
  date: new Intl.DateTimeFormat(undefined, dayForm),
  minute: new Intl.DateTimeFormat(undefined, minuteForm),
  clock: new Intl.DateTimeFormat(undefined, { ...minuteForm, second: "2-digit" }),
  moment: new Intl.DateTimeFormat(undefined, { ...dayForm, ...minuteForm, second: "2-digit" }),
  farMoment: new Intl.DateTimeFormat(undefined, { ...dayForm, year: "numeric", ...minuteForm, second: "2-digit" }),
};

function length(seconds) {
  const whole = Math.floor(seconds), two = n => String(n).padStart(2, "0");
  const days = Math.floor(whole / 86400), hours = Math.floor(whole / 3600) % 24, minutes = Math.floor(whole / 60) % 60;
  if (days) return `${days.toLocaleString("en")} d ${two(hours)} h`;
  if (hours) return `${hours} h ${two(minutes)} min`;
  return minutes ? `${minutes} min ${two(whole % 60)} s` : `${whole % 60} s`;
}

function rough(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

function spelled(at, form, now, stamp = "") {
  const left = (at - now) / 1000;
  if (form === "ago") return `${rough(Math.max(0, -left))} ago`;
  if (form === "since") return rough(Math.max(0, -left));
  if (form === "until") return left > 0 ? length(left) : `overdue ${rough(-left)}`;
  if (form === "exact") return spelled(at, "second", now) + (/\.\d+/.exec(stamp)?.[0].replace(/0+$/, "") ?? "");
  if (form === "day") return formats.day.format(at);
  const isFar = at.getFullYear() !== now.getFullYear();
  if (form === "second") return (at.toDateString() === now.toDateString() ? formats.clock : isFar ? formats.farMoment : formats.moment).format(at);
  return (isFar ? formats.far : formats.short).format(at);
}

function localise(within, only = "") {
  const now = new Date();
  for (const time of all(`time[data-form]${only}`, within)) {
    const at = new Date(time.dateTime);
    if (isNaN(at)) continue;
    const text = spelled(at, time.dataset.form, now, time.dateTime);
    if (time.textContent !== text) time.textContent = text;
    if (time.dataset.form === "until") time.toggleAttribute("data-close", at - now > 0 && at - now < 300_000);
  }
}

// What the page shows, read anew --------------------------------------------------------------

const live = document.getElementById("live");
const said = document.getElementById("said");
const SOON = Number(live?.dataset.soonest ?? 1) * 1000;
let reads = 0, reading = null, again = false, readAt = Date.now(), planned = null, paused = false, lostAt = null, why = "";

async function refresh() {
  if (reading) { again = true; return reading; }
  clearTimeout(planned);
  planned = null;
  reading = readPage();
  try { await reading; } finally { reading = null; readAt = Date.now(); }
  if (again) { again = false; plan(SOON); }
  if (lost.has("page")) plan(RETRY);
}

async function readPage() {
  let reply, text;
  try {
    reply = await fetch(location.href, { cache: "no-store" });
    text = await reply.text();
  } catch { lose("The API does not answer.", "page"); return; }
  if (reply.redirected) { logIn(); return; }
  const page = parsed(text);
  if (reply.ok) {
    show(page);
    problem("");
    heard("page");
    document.documentElement.dataset.read = ++reads;
    return;
  }
  const told = page.querySelector(".notice p")?.textContent ?? `The API answered ${reply.status}.`;
  if (reply.status === 400 || reply.status === 404) problem(told); else lose(told, "page");
}

function logIn() {
  location.assign(`/ui/login?why=ended&next=${encodeURIComponent(location.pathname + location.search)}`);
}

function plan(delay) {
  const due = Math.max(Date.now() + 40, readAt + delay);
  if (paused || document.hidden) return;
  if (planned && planned.due <= due) return;
  if (planned) clearTimeout(planned.timer);
  planned = { due, timer: setTimeout(() => { planned = null; refresh(); }, due - Date.now()) };
}

function morph(before, after) {
  for (const details of all("details[id][open]", before)) after.querySelector(`#${CSS.escape(details.id)}`)?.setAttribute("open", "");
  Idiomorph.morph(before, after, {
    morphStyle: "outerHTML", ignoreActiveValue: true, restoreFocus: true,
    callbacks: {
      beforeNodeMorphed(before, after) {
        if (before.nodeType !== Node.ELEMENT_NODE) return true;
        // What is being chosen stays as it is.
        if (before.hasAttribute("data-keep") || before.matches("details.pick[open]")) return false;
        if (before.tagName === "TD" && before.parentNode.id && before.textContent !== after.textContent
            && !before.querySelector("time")) flash(before);
        return true;
      },
    },
  });
}

function show(page) {
  localise(page);
  morph(main, page.getElementById("main"));
  document.title = page.title;
  const when = document.getElementById("when"), told_when = page.getElementById("when");
  if (when && told_when && !when.open) when.replaceWith(told_when);
  document.querySelector(".unit")?.setAttribute("href", page.querySelector(".unit")?.getAttribute("href") ?? "");
  const told = page.getElementById("live")?.dataset.stream ?? "";
  if (live) live.dataset.every = page.getElementById("live")?.dataset.every ?? 0;
  if (live && live.dataset.stream !== told) { live.dataset.stream = told; restart?.(); }
  all("#main [data-plot]").forEach(plotBars);
}

function flash(cell) {
  cell.classList.remove("flash");
  requestAnimationFrame(() => cell.classList.add("flash"));
}

document.addEventListener("animationend", event => event.target.classList.remove("flash"));

function problem(text) {
  const place = document.getElementById("form-problem");
  if (place) place.textContent = text;
}

// Whether it is live --------------------------------------------------------------------------

const lost = new Map();

function lose(reason, part) {
  if (!lost.size) lostAt = Date.now();
  lost.set(part, reason);
  tell();
}

function heard(part) {
  if (lost.delete(part) && !lost.size) lostAt = null;
  tell();
}

function tell() {
  if (!live || live.dataset.state === "past") return;
  const state = paused ? "paused" : lost.size ? "lost" : live.dataset.stream ? "live" : "still";
  const age = lostAt ? ` for ${rough((Date.now() - lostAt) / 1000)}` : "";
  const text = { paused: "paused", lost: `not live${age}`, live: "live", still: "" }[state];
  why = lost.size ? [...lost.values()][0] : "";
  live.hidden = state === "still";
  if (live.textContent !== text) live.textContent = text;
  live.title = state === "lost" ? `${why} Trying again.` : state === "paused" ? "Go on (p)" : "Pause (p)";
  if (live.dataset.state !== state && (state === "lost" || live.dataset.state === "lost")) {
    said.textContent = state === "lost" ? `Not live: ${why}` : "Live again";
  }
  live.dataset.state = state;
  for (const button of all("[data-pause]")) { button.hidden = state === "still"; button.textContent = paused ? "Go on" : "Pause"; }
  main.toggleAttribute("data-stale", state === "lost" && Date.now() - lostAt > 3000);
}

function pause() {
  paused = !paused;
  tell();
  if (!paused) { refresh(); planPart(); }
}

// The stream of changes -----------------------------------------------------------------------

let restart = null;

async function follow() {
  let wait = 1000;
  for (;;) {
    const query = live.dataset.stream, stop = new AbortController();
    if (!query || document.hidden) { await changedState(); continue; }
    restart = () => stop.abort();
    const hide = () => document.hidden && stop.abort();
    document.addEventListener("visibilitychange", hide);
    try {
      const reply = await fetch(`/ui/stream?${query}`, { cache: "no-store", signal: stop.signal });
      if (reply.redirected) { logIn(); return; }
      if (!reply.ok) throw new Error((await reply.json().catch(() => ({}))).detail ?? `the API answered ${reply.status}`);
      wait = 1000;
      heard("stream");
      followed(true);
      // What changed before the stream began.
      plan(0);
      await read(reply.body, take);
      throw new Error("the stream of changes ended");
    } catch (error) {
      if (!stop.signal.aborted) lose(sentence(error.message), "stream");
      else wait = 0;
    } finally {
      document.removeEventListener("visibilitychange", hide);
      followed(false);
    }
    await sleep(wait * (0.75 + Math.random() / 2));
    wait = Math.min(Math.max(wait, 500) * 2, LONGEST_WAIT);
  }
}

const sentence = text => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, "")}.`;

const changedState = () => new Promise(done => {
  restart = done;
  document.addEventListener("visibilitychange", done, { once: true });
});

async function read(body, take) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) take(part);
  }
}

function take(text) {
  const type = /^event: (.*)$/m.exec(text)?.[1], data = /^data: (.*)$/m.exec(text)?.[1];
  if (!data) return;
  count();
  const soon = live.dataset.soon;
  if (soon) { if (soon.split(" ").includes(type)) plan(SOON); return; }
  const keys = main.querySelector("[data-keys]");
  if (!keys) { plan(SOON); return; }
  let change = {};
  try { change = JSON.parse(data); } catch { /* A message that nobody can read. */ }
  const row = change.key ?? change.data ?? {};
  const ticker = row.ticker ?? row.event_ticker ?? change.ticker ?? "";
  plan(main.querySelector(`[data-key="${CSS.escape(ticker)}"]`) ? SOON : LATER);
}

// What another stream than that of changes tells of: a part of the page, read anew alone --------

let partAt = 0, partPlanned = null;

function planPart() {
  if (!partPlanned && !paused && !document.hidden) partPlanned = setTimeout(readPart, Math.max(0, partAt + SOON - Date.now()));
}

async function readPart() {
  partPlanned = null;
  partAt = Date.now();
  const part = main.querySelector("[data-part]");
  if (!part) return;
  try {
    const reply = await fetch(part.dataset.part, { cache: "no-store" });
    if (reply.redirected) { logIn(); return; }
    const page = parsed(await reply.text()), fresh = page.getElementById(part.id);
    if (!fresh) throw new Error(page.querySelector(".notice p")?.textContent ?? `the API answered ${reply.status}`);
    localise(fresh);
    morph(part, fresh);
    heard("part");
  } catch (error) {
    lose(error instanceof TypeError ? "The API does not answer." : sentence(error.message), "part");
    setTimeout(planPart, RETRY);
  }
  partAt = Date.now();
}

async function followPart() {
  let wait = 1000;
  for (;;) {
    const from = main.querySelector("[data-follow]")?.dataset.follow;
    if (!from || document.hidden) { await sleep(1000); continue; }
    const stop = new AbortController(), hide = () => document.hidden && stop.abort();
    document.addEventListener("visibilitychange", hide);
    try {
      const reply = await fetch(from, { cache: "no-store", signal: stop.signal });
      if (reply.redirected) { logIn(); return; }
      if (!reply.ok) throw new Error((await reply.json().catch(() => ({}))).detail ?? `the API answered ${reply.status}`);
      wait = 1000;
      heard("captured");
      await read(reply.body, text => { if (text.includes("data: ")) planPart(); });
      throw new Error("the stream of market data ended");
    } catch (error) {
      if (!stop.signal.aborted) lose(sentence(error.message), "captured");
    } finally {
      document.removeEventListener("visibilitychange", hide);
    }
    await sleep(wait * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }
}

// Plots ---------------------------------------------------------------------------------------

// Changes by second, of those seconds that were followed as a whole: of others nothing is known.
const KEPT = "ssmd changes a second", second = () => Math.floor(Date.now() / 1000);
const rates = new Map(document.getElementById("rates") ? JSON.parse(sessionStorage.getItem(KEPT) ?? "[]") : []);
let plot = null, followedFrom = null;

function followed(isNow) {
  if (followedFrom !== null) for (let each = followedFrom; each < second(); each++) rates.set(each, rates.get(each) ?? 0);
  followedFrom = isNow ? second() + 1 : null;
}

function count() {
  if (followedFrom !== null && second() >= followedFrom) rates.set(second(), (rates.get(second()) ?? 0) + 1);
}

function styled(place, height, times, series, more = {}) {
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  // Colours are those of the scheme in force: a canvas knows no variables.
  const colour = name => { place.style.color = `var(${name})`; const found = getComputedStyle(place).color; place.style.color = ""; return found; };
  const axis = { stroke: () => colour("--soft"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false }, font };
  return {
    width: place.clientWidth, height, legend: { show: false }, cursor: { y: false, points: { show: false } },
    axes: [{ ...axis, grid: { show: false }, size: 24, space: 70, ...times }, { ...axis, size: 44, space: 26 }],
    series: [{}, { stroke: () => colour("--accent"), fill: () => colour("--accent-soft"), width: 1, points: { show: false }, ...series }],
    ...more,
  };
}

function drawRates() {
  const place = document.getElementById("rates");
  if (!place || !window.uPlot) return;
  const now = second() - 1, seconds = [], counts = [];
  for (let each = now - HISTORY; each <= now; each++) {
    seconds.push(each);
    counts.push(rates.get(each) ?? (followedFrom !== null && each >= followedFrom ? 0 : null));
  }
  for (const each of rates.keys()) if (each < now - HISTORY) rates.delete(each);
  const known = counts.slice(-10).filter(n => n !== null);
  const rate = document.getElementById("rate");
  if (rate && known.length) rate.textContent = `${(known.reduce((a, b) => a + b) / known.length).toFixed(1)} over ${known.length} s`;
  if (document.hidden) return;
  if (!plot) {
    place.replaceChildren();
    plot = new uPlot(styled(place, 120, { incrs: [60, 120, 300], values: (_, at) => at.map(each => formats.minute.format(each * 1000)) }, {}, { scales: { y: { range: (_, __, most) => [0, Math.max(5, most)] } } }), [seconds, counts], place);
    new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: 120 })).observe(place);
  } else plot.setData([seconds, counts]);
}

function plotBars(place) {
  if (place.dataset.drawn || !window.uPlot) return;
  place.dataset.drawn = "yes";
  const days = place.dataset.days.split(" ").map(day => Date.parse(`${day}T12:00Z`) / 1000), values = place.dataset.plot.split(" ").map(n => Number(n) || null);
  place.replaceChildren();
  const made = new uPlot(styled(place, 140, { values: (_, at) => at.map(each => formats.date.format(each * 1000)) }, { paths: uPlot.paths.bars({ size: [0.7, 40] }) }, { scales: { x: { range: (_, first, last) => [first - 43_200, last + 43_200] }, y: { range: (_, __, most) => [0, Math.max(1, most)] } } }), [days, values], place);
  new ResizeObserver(() => made.setSize({ width: place.clientWidth, height: 140 })).observe(place);
}

// Forms, keys, copying ------------------------------------------------------------------------

let typing = null;

function goTo(form, push) {
  const wanted = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value !== "") wanted.append(name, value);
  const query = wanted.toString(), place = form.getAttribute("action") + (query ? `?${query}` : "");
  if ((wanted.get("as_of") ?? "") !== (form.dataset.asOf ?? "")) { location.assign(place); return; }
  history[push ? "pushState" : "replaceState"](null, "", place);
  refresh();
}

document.addEventListener("input", event => {
  const form = event.target.closest("form[data-live-form]");
  if (!form) return;
  clearTimeout(typing);
  typing = setTimeout(() => goTo(form, false), event.target.matches("[type=search],[type=text],[type=number]") ? 250 : 0);
});
document.addEventListener("toggle", event => {
  // What was chosen while it was open is shown once it is closed.
  if (event.target.matches("#main details.pick") && !event.target.open) plan(0);
}, true);
document.addEventListener("submit", event => {
  const form = event.target.closest("form[data-live-form]");
  if (!form) return;
  event.preventDefault();
  clearTimeout(typing);
  goTo(form, true);
});
window.addEventListener("popstate", () => location.reload());

document.addEventListener("click", async event => {
  const copier = event.target.closest("[data-copy]");
  if (event.target.closest("#live, [data-pause]")) pause();
  if (!copier) return;
  try { await navigator.clipboard.writeText(copier.dataset.copy); said.textContent = "Copied"; copier.dataset.copied = "yes"; setTimeout(() => delete copier.dataset.copied, 1500); }
  catch { getSelection().selectAllChildren(copier.previousElementSibling ?? copier); }
});
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  if (event.key === "/") { event.preventDefault(); (main.querySelector("input[type=search]") ?? document.querySelector(".find input"))?.focus(); }
  if (event.key === "p" && live && !live.hidden) pause();
});

// Beginning -----------------------------------------------------------------------------------

localise(document);
// What a form made is not made again by a reload.
for (const made of all("[data-address]")) history.replaceState(null, "", made.dataset.address);
all("#main [data-plot]").forEach(plotBars);
if (live && live.dataset.state !== "past") {
  tell();
  follow();
  followPart();
  setInterval(() => { const every = Number(live.dataset.every) * 1000; if (every) plan(every); }, 1000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) plan(0); });
}
window.addEventListener("pagehide", () => {
  if (!document.getElementById("rates")) return;
  followed(false);
  sessionStorage.setItem(KEPT, JSON.stringify([...rates]));
});
setInterval(() => { localise(document, ":is([data-form=ago],[data-form=since],[data-form=until])"); tell(); drawRates(); }, 1000);
drawRates();
document.documentElement.dataset.ready = "yes";
