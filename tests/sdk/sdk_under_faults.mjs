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

async function use(key) {
  const openai = new OpenAI({ apiKey: key, baseURL: `${url}/v1`, timeout: 2000 });
  const anthropic = new Anthropic({ apiKey: key, baseURL: url, timeout: 2000 });
  await Promise.all(Array.from({ length: 2 * runs }, (_, number) => {
    const stream = number % 2 === 0;
    const ask = (name) => ({
      model: "gpt-4o", stream, messages: [{ role: "user", content: `question ${number} ${name}` }],
    });
    return Promise.all([
      attempt(async () => {
        const answer = await openai.chat.completions.create(ask("openai"), limited());
        if (stream) await read(answer);
      }),
      attempt(async () => {
        const answer = await anthropic.messages.create({ ...ask("anthropic"), max_tokens: 90 }, limited());
        if (stream) await read(answer);
      }),
    ]);
  }));
}

await Promise.all(keys.map(use));
