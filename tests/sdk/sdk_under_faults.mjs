// Calls each session RUNS times, with the retries of the official SDKs; errors are theirs to report.
import OpenAI from "openai";
import Anthropic from "@anthropic-ai/sdk";

const { url, keys, runs } = JSON.parse(process.argv[2]);

async function read(stream) {
  for await (const _ of stream);
}

async function attempt(call) {
  try {
    await call();
  } catch {
    // of the fault
  }
}

// The SDKs bound the time until the headers alone, and a stalled stream has none.
const limited = () => ({ signal: AbortSignal.timeout(8_000) });

async function use(key, number) {
  const openai = new OpenAI({ apiKey: key, baseURL: `${url}/v1`, timeout: 2000 });
  const anthropic = new Anthropic({ apiKey: key, baseURL: url, timeout: 2000 });
  const ask = (stream, name) => ({
    model: "gpt-4o", stream, messages: [{ role: "user", content: `question ${number} ${stream} ${name}` }],
  });
  await Promise.all([false, true].flatMap((stream) => [
    attempt(async () => {
      const answer = await openai.chat.completions.create(ask(stream, "openai"), limited());
      if (stream) await read(answer);
    }),
    attempt(async () => {
      const answer = await anthropic.messages.create({ ...ask(stream, "anthropic"), max_tokens: 90 }, limited());
      if (stream) await read(answer);
    }),
  ]));
}

await Promise.all(keys.flatMap((key) => Array.from({ length: runs }, (_, number) => use(key, number))));
