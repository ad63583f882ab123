// What Google's own client sends is what the gateway sends for the same conversation, asked for in OpenAI's shape.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { png } from './lib/clients.mjs';
import { Cloud } from './lib/cloud.mjs';
import { Gateway } from './lib/gateway.mjs';

const genai = await import('@google/genai').then((m) => m, () => null);
const skip = genai ? false : 'the @google/genai package is not installed';
const schema = { type: 'object', properties: { city: { type: 'string', description: 'where' } }, required: ['city'] };
let cloud, gateway, google;

before(async () => {
  if (skip) return;
  cloud = await Cloud.start();
  gateway = await Gateway.start(
    `providers:
  google: {kind: gemini, base_url: "${cloud.url}/v1beta", api_key: "\${SIM_KEY}"}
models:
  - {name: gemini, provider: google, model: gemini-2.5-flash}
`,
    { env: { SIM_KEY: 'sk-simulated' } },
  );
  google = new genai.GoogleGenAI({ apiKey: 'sk-simulated', httpOptions: { baseUrl: cloud.url } });
});

after(async () => {
  await gateway?.stop();
  await cloud?.stop();
});

// Two ways of saying the same: the schema of a tool in Google's own dialect or in JSON Schema, the name of a result,
// an empty configuration or none.
function plain({ contents, systemInstruction, tools, ...rest }) {
  for (const part of contents.flatMap((c) => c.parts)) {
    const response = part.functionResponse?.response;
    if (response) part.functionResponse.response = Object.values(response)[0];
  }
  const declared = tools?.flatMap((t) => t.functionDeclarations).map(({ parametersJsonSchema, parameters = parametersJsonSchema, ...f }) => ({ ...f, parameters }));
  if (rest.generationConfig && Object.keys(rest.generationConfig).length === 0) delete rest.generationConfig;
  return { contents, system: systemInstruction?.parts, tools: declared, ...rest };
}

async function both(theirs, ours) {
  for await (const chunk of await google.models.generateContentStream({ model: 'gemini-2.5-flash', ...theirs })) void chunk;
  const a = cloud.requests.at(-1);
  const r = await gateway.post('/v1/chat/completions', { model: 'gemini', stream: true, ...ours });
  assert.equal(r.status, 200, JSON.stringify(r.body));
  const b = cloud.requests.at(-1);
  assert.equal(b.url, a.url);
  assert.equal(b.headers['x-goog-api-key'], a.headers['x-goog-api-key']);
  assert.deepEqual(plain(b.body), plain(a.body));
}

test('a question', { skip }, () =>
  both({ contents: 'Tell me.' }, { messages: [{ role: 'user', content: 'Tell me.' }] }));

test('log-probabilities were refused', { skip }, async () => {
  const messages = [{ role: 'user', content: 'Tell me.' }];
  await both({ contents: 'Tell me.', config: { responseLogprobs: true, logprobs: 2 } }, { messages, logprobs: true, top_logprobs: 2 });
  await both({ contents: 'Tell me.', config: { responseLogprobs: true } }, { messages, logprobs: true });
  const chosen = [{ token: 'It', tokenId: 1, logProbability: -0.25 }, { token: ' rains', tokenId: 2, logProbability: -1 }];
  const logprobsResult = { chosenCandidates: chosen, topCandidates: chosen.map((c) => ({ candidates: [c, { token: 'x', logProbability: -3 }] })) };
  cloud.behaviour = { handle: (request, response) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({
    candidates: [{ index: 0, content: { role: 'model', parts: [{ text: 'It rains' }] }, finishReason: 'STOP', avgLogprobs: -0.6, logprobsResult }],
    usageMetadata: { promptTokenCount: 3, candidatesTokenCount: 2 } })) };
  const r = await gateway.chat('gemini', 'hi', { logprobs: true, top_logprobs: 2 });
  assert.equal(r.body.choices[0].message.content, 'It rains');
  assert.deepEqual(r.body.choices[0].logprobs.content.map((t) => [t.token, t.logprob, t.top_logprobs.map((o) => [o.token, o.logprob])]),
    [['It', -0.25, [['It', -0.25], ['x', -3]]], [' rains', -1, [[' rains', -1], ['x', -3]]]]);
  cloud.behaviour = {};
});

test('instructions, turns, sampling, an image', { skip }, () =>
  both(
    {
      contents: [
        { role: 'user', parts: [{ text: 'One?' }] },
        { role: 'model', parts: [{ text: 'Two.' }] },
        { role: 'user', parts: [{ text: 'What is it?' }, { inlineData: { mimeType: 'image/png', data: png } }] },
      ],
      config: {
        systemInstruction: 'Be brief.', temperature: 0.5, topP: 0.9, topK: 5, maxOutputTokens: 100, stopSequences: ['x', 'y'], seed: 3,
        presencePenalty: 0.1, frequencyPenalty: 0.2, thinkingConfig: { thinkingBudget: 1024, includeThoughts: true },
      },
    },
    {
      messages: [
        { role: 'system', content: 'Be brief.' }, { role: 'user', content: 'One?' }, { role: 'assistant', content: 'Two.' },
        { role: 'user', content: [{ type: 'text', text: 'What is it?' }, { type: 'image_url', image_url: { url: `data:image/png;base64,${png}` } }] },
      ],
      temperature: 0.5, top_p: 0.9, top_k: 5, max_tokens: 100, stop: ['x', 'y'], seed: 3, presence_penalty: 0.1, frequency_penalty: 0.2,
      reasoning_effort: 'low',
    },
  ));

test('tools, a call, its result, and structured output', { skip }, () =>
  both(
    {
      contents: [
        { role: 'user', parts: [{ text: 'The weather?' }] },
        { role: 'model', parts: [{ functionCall: { id: 'c1', name: 'weather', args: { city: 'Köln' } } }] },
        { role: 'user', parts: [{ functionResponse: { id: 'c1', name: 'weather', response: { output: 'rain' } } }] },
      ],
      config: {
        responseMimeType: 'application/json', responseJsonSchema: schema,
        tools: [{ functionDeclarations: [{ name: 'weather', description: 'd', parametersJsonSchema: schema }] }],
        toolConfig: { functionCallingConfig: { mode: 'ANY', allowedFunctionNames: ['weather'] } },
      },
    },
    {
      messages: [
        { role: 'user', content: 'The weather?' },
        { role: 'assistant', content: null, tool_calls: [{ id: 'c1', type: 'function', function: { name: 'weather', arguments: '{"city":"Köln"}' } }] },
        { role: 'tool', tool_call_id: 'c1', content: 'rain' },
      ],
      response_format: { type: 'json_schema', json_schema: { name: 'p', schema } },
      tools: [{ type: 'function', function: { name: 'weather', description: 'd', parameters: schema } }],
      tool_choice: { type: 'function', function: { name: 'weather' } },
    },
  ));
