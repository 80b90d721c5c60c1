// The Vercel AI SDK with its defaults: OpenAI's provider speaks responses, Anthropic's messages.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const baseURL = process.env.FASTMOCK_URL ?? "http://127.0.0.1:8080/v1";
const models = [
  createOpenAI({ baseURL, apiKey: "sk-test" })("gpt-4o"),
  createAnthropic({ baseURL, apiKey: "sk-ant-test" })("claude-sonnet-4-5"),
];
const called = [];
const tools = {
  getWeather: tool({
    description: "The weather in a city",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => called.push(city) && `22 degrees in ${city}`,
  }),
};

for (const model of models) {
  const { text, usage } = await generateText({ model, prompt: "Hello" });
  console.log(text, usage.outputTokens > 0);

  const stream = streamText({ model, prompt: "Hello" });
  let streamed = "";
  for await (const part of stream.textStream) streamed += part;
  console.log(streamed === text, await stream.finishReason);

  called.length = 0;
  const loop = { model, tools, stopWhen: stepCountIs(5), prompt: "What is the weather in Paris?" };
  const done = await generateText(loop);
  console.log(called.length, done.steps.length, done.finishReason);
  const streamedLoop = streamText(loop);
  await streamedLoop.consumeStream();
  console.log(called.length, (await streamedLoop.steps).length);
  const once = await generateText({ ...loop, stopWhen: stepCountIs(1), toolChoice: "required" });
  console.log(once.toolCalls[0].toolName, Object.keys(once.toolCalls[0].input).join(" "));

  const output = Output.object({ schema: z.object({ city: z.string(), degrees: z.number() }) });
  const report = await generateText({ model, output, prompt: "What is the weather in Paris?" });
  console.log(Object.keys(report.output).sort().join(" "));
}
