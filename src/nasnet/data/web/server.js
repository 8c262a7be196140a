// Requests to the service this page came from. A refusal is an Error with the service's own words.

const TRIES = 4;

/** What the service said no with. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/**
 * Ask, and wait and ask again where the service is busy (429 with Retry-After).
 *
 * @param {string} path
 * @param {RequestInit} [request]
 * @returns {Promise<Response>} an answer of 2xx
 */
export async function ask(path, request = {}) {
  for (let tried = 1; ; tried += 1) {
    const answer = await fetch(path, { credentials: "same-origin", ...request });
    if (answer.ok) return answer;
    if (answer.status !== 429 || tried === TRIES) {
      throw new Refused(answer.status, await reason(answer));
    }
    await pause(Number(answer.headers.get("Retry-After")) || 1, request.signal);
  }
}

/** The same, for an answer in JSON. */
export async function askJson(path, request) {
  return (await ask(path, request)).json();
}

/**
 * Post pictures as a form.
 *
 * @param {string} path
 * @param {File[]} pictures
 * @param {AbortSignal} signal
 */
export function post(path, pictures, signal) {
  const body = new FormData();
  for (const picture of pictures) body.append("files", picture, picture.name || "picture");
  return ask(path, { method: "POST", body, signal });
}

async function reason(answer) {
  try {
    return (await answer.json()).error;
  } catch {
    return `${answer.status} ${answer.statusText}`;
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
