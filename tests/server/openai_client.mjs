// What OpenAI's package for JavaScript must be able to do; prints what it did as JSON.
import assert from "node:assert/strict";
import OpenAI from "openai";

const { ADDRESS, MODEL, EMBEDDER } = process.env;
const client = new OpenAI({ baseURL: `${ADDRESS}/v1`, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France? Answer in one word." }];
const ask = { model: MODEL, messages, temperature: 0, max_tokens: 20 };
const done = [];

const whole = await client.chat.completions.create(ask);
assert(whole.choices[0].message.content.length > 0);
assert(whole.usage.total_tokens > 0);
done.push("chat");

let text = "";
for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(text, whole.choices[0].message.content);
done.push("stream");

const tool = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: {
      type: "object",
      properties: { city: { type: "string", maxLength: 20 } },
      required: ["city"],
      additionalProperties: false,
    },
  },
};
const called = await client.chat.completions.create({
  ...ask, tools: [tool], tool_choice: "required", parallel_tool_calls: false, max_tokens: 80,
});
const call = called.choices[0].message.tool_calls[0];
assert.equal(call.function.name, "get_weather");
assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)), ["city"]);
done.push("tools");

const schema = { type: "object", properties: { colour: { enum: ["red", "blue"] } }, required: ["colour"], additionalProperties: false };
const formed = await client.chat.completions.create({
  ...ask, response_format: { type: "json_schema", json_schema: { name: "colour", schema } },
});
assert(["red", "blue"].includes(JSON.parse(formed.choices[0].message.content).colour));
done.push("structured output");

const embedded = await client.embeddings.create({ model: EMBEDDER, input: ["a", "b"] });
assert.equal(embedded.data.length, 2);
assert.equal(embedded.data[0].embedding.length, 384);
done.push("embeddings");

await assert.rejects(client.chat.completions.create({ ...ask, model: "nothing" }), { status: 404 });
await assert.rejects(client.chat.completions.create({ ...ask, nonsense: 1 }), /nonsense: unknown field/);
done.push("errors");

const stream = await client.chat.completions.create({ ...ask, max_tokens: 4000, stream: true, ignore_eos: true });
for await (const chunk of stream) {
  if (chunk.choices[0]?.delta?.content) break;
}
stream.controller.abort();
done.push("cancellation");

console.log(JSON.stringify(done));
