// Small helpers: elements, numbers for people, requests.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function bits(rate) {
  if (rate === null || rate === undefined) return "–";
  const units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"];
  let unit = 0;
  while (rate >= 1000 && unit < units.length - 1) { rate /= 1000; unit += 1; }
  return `${rate >= 100 ? Math.round(rate) : Number(rate.toPrecision(3))} ${units[unit]}`;
}

// The answer; throws an Error with the lab's own message where it refuses.
export async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const answer = await fetch(path, options);
  const type = answer.headers.get("Content-Type") || "";
  const value = type.startsWith("application/json") ? await answer.json() : { message: await answer.text() };
  if (!answer.ok) throw new Error(value.message);
  return value;
}
