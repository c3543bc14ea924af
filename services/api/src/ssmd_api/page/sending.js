// Sending a request, and showing what comes: a part of what is long, events as they come, until it is stopped.

const SHOWN_BYTES = 256 * 1024;
const SHOWN_EVENTS = 200;

function options({ method, key, headers, body }, signal) {
  return { method, signal, body: body || undefined, cache: "no-store", headers: key ? { ...headers, "X-API-Key": key } : headers };
}

const size = bytes => bytes < 10_000 ? `${bytes} bytes` : bytes < 10_000_000 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

function told(reply, began) {
  const source = reply.headers.get("X-Ssmd-Source");
  const left = /r=(\d+)/.exec(reply.headers.get("RateLimit") ?? "")?.[1];
  return [`${reply.status} ${reply.statusText}`, `${Math.round(performance.now() - began)} ms`,
    source ? `from ${source}` : null, left ? `${left} requests left` : null].filter(Boolean).join(" · ");
}

const good = reply => reply.ok ? "good" : "bad";

// Shows at most SHOWN_BYTES of a reply; the rest is not read.
export async function show(request, signal, view) {
  const began = performance.now();
  const reply = await fetch(request.url, options(request, signal));
  if (request.live && reply.ok) return follow(reply, view, told(reply, began));
  const decoder = new TextDecoder();
  let [raw, bytes, whole] = ["", 0, true];
  if (reply.body) {
    for (const reader = reply.body.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      // One piece may be of megabytes: it is unpacked already.
      raw += decoder.decode(value.subarray(0, SHOWN_BYTES - bytes), { stream: true });
      bytes += value.length;
      if (bytes >= SHOWN_BYTES) {
        whole = false;
        await reader.cancel();
        break;
      }
    }
  }
  view.status(told(reply, began) + (whole ? ` · ${size(bytes)}` : ""), good(reply));
  let shown = raw || "(no body)";
  try { shown = JSON.stringify(JSON.parse(raw), null, 2); } catch { /* It is no JSON, or a part of one. */ }
  view.body(shown + (whole ? "" : `\n… more than ${size(SHOWN_BYTES)}: the rest was not read. Download saves the whole reply.`));
}

// Events as they come; the newest SHOWN_EVENTS stay.
async function follow(reply, view, first) {
  view.status(`${first} · waiting for changes`, "good");
  view.body("");
  const decoder = new TextDecoder();
  let [pending, count] = ["", 0];
  for (const reader = reply.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    const events = (pending + decoder.decode(value, { stream: true })).split("\n\n");
    pending = events.pop();
    for (const event of events) {
      if (!event.includes("data:")) continue;
      count += 1;
      view.event(event, SHOWN_EVENTS);
    }
    view.status(`${first} · ${count} changes`, "good");
  }
  view.status(`${first} · ${count} changes · the stream ended`, "good");
}

// Saves a reply as a file; it never becomes a part of the page.
export async function download(request, signal, view) {
  const began = performance.now();
  const reply = await fetch(request.url, options(request, signal));
  if (!reply.ok) {
    view.status(told(reply, began), "bad");
    view.body(await reply.text());
    return;
  }
  let bytes = 0;
  const counted = reply.body.pipeThrough(new TransformStream({
    transform(chunk, controller) {
      bytes += chunk.length;
      view.status(`${reply.status} ${reply.statusText} · ${size(bytes)} so far`, "good");
      controller.enqueue(chunk);
    },
  }));
  const address = URL.createObjectURL(await new Response(counted).blob());
  const link = Object.assign(document.createElement("a"), { href: address, download: request.saved });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  view.status(`${told(reply, began)} · ${size(bytes)} saved as ${request.saved}`, "good");
}
