// The official SDK for Node.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.FASTMOCK_URL ?? "http://127.0.0.1:8080/v1", apiKey: "sk-test" });
const question = { model: "gpt-4o", messages: [{ role: "user", content: "Hello" }] };

const answer = await client.chat.completions.create(question);
console.log(answer.choices[0].message.content);

let text = "";
for await (const chunk of await client.chat.completions.create({ ...question, stream: true })) {
  text += chunk.choices[0].delta.content ?? "";
}
console.log(text);

const vectors = await client.embeddings.create({ model: "text-embedding-3-small", input: ["a text", "another"] });
console.log(vectors.data.length, vectors.data[0].embedding.length);

for await (const model of client.models.list()) {
  console.log(model.id);
}
