// The request that is filled in, as a command and as a program. `key` null: taken from the environment.

const shell = value => `'${value.replaceAll("'", "'\\''")}'`;
const python = JSON.stringify;

export function curl({ method, url, key, headers, body, live, file }) {
  const lines = [`curl ${live ? "-N " : ""}${method === "GET" ? "" : `-X ${method} `}${shell(url)}`];
  lines.push(key === null ? `-H "X-API-Key: $SSMD_DATA_API_KEY"` : `-H ${shell(`X-API-Key: ${key}`)}`);
  for (const [name, value] of Object.entries(headers)) lines.push(`-H ${shell(`${name}: ${value}`)}`);
  if (body) lines.push(`-d ${shell(body)}`);
  if (file) lines.push(`--compressed -o ${shell(file)}`);
  return lines.join(" \\\n  ");
}

export function program({ method, url, key, headers, body, live, lines: isText, file }) {
  const imports = [body || live || isText || file || method === "DELETE" ? null : "import json", key === null ? "import os" : null,
    body ? "import json" : null, file ? "import shutil" : null].filter(Boolean).sort();
  const sent = [["X-API-Key", key === null ? `os.environ["SSMD_DATA_API_KEY"]` : python(key)],
    ...Object.entries(headers).map(([name, value]) => [name, python(value)])];
  const lines = [
    ...imports, "from urllib.request import Request, urlopen", "", "request = Request(", `    ${python(url)},`,
    ...(method === "GET" ? [] : [`    method=${python(method)},`]),
    `    headers={${sent.map(([name, value]) => `${python(name)}: ${value}`).join(", ")}},`,
    ...(body ? [`    data=${python(body)}.encode(),`] : []), ")"];
  if (live) lines.push("with urlopen(request) as reply:", "    for line in reply:", `        print(line.decode(), end="", flush=True)`);
  else if (file) lines.push(`with urlopen(request) as reply, open(${python(file)}, "wb") as file:`, "    shutil.copyfileobj(reply, file)");
  else if (method === "DELETE") lines.push("with urlopen(request) as reply:", "    print(reply.status)");
  else if (isText) lines.push("with urlopen(request) as reply:", `    print(reply.read().decode(), end="")`);
  else lines.push("with urlopen(request) as reply:", "    print(json.dumps(json.load(reply), indent=2))");
  return lines.join("\n") + "\n";
}
