// Calls of local models: each family's own syntax, constrained and read back, through the official client.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { Gateway, makeFolder, makeModel } from './lib/gateway.mjs';

let gateway, client;

const turns = `{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ m.thinking }}
{% endfor %}{{ reasoning_effort }}{{ enable_thinking }}assistant: `;
// What a template says of its family is in a comment here: the tiny models write what the grammar makes them write.
const families = {
  hermes: '<tool_call>\n{"name": ..., "arguments": ...}\n</tool_call>',
  xml: '<tool_call><function=f><parameter=p> </think>',
  glm: '<tool_call>f<arg_key>k</arg_key>\n<arg_value>v</arg_value>\n',
  mistral: '[TOOL_CALLS]f[ARGS]{}',
  harmony: '<|start|>assistant<|channel|>final<|message|>',
  gemma: '<|tool_call>call:f{k:v}<tool_call|>',
  lfm: 'List of tools: [',
};

const tools = [
  {
    type: 'function',
    function: {
      name: 'weather',
      strict: true,
      parameters: {
        type: 'object',
        properties: { city: { type: 'string', enum: ['Oslo', 'São Paulo'] }, days: { type: 'integer', minimum: 1, maximum: 9 }, unit: { enum: ['C', 'F', null] } },
        required: ['city', 'days', 'unit'],
        additionalProperties: false,
      },
    },
  },
  { type: 'function', function: { name: 'now' } },
];
const messages = [{ role: 'user', content: 'x' }];

function check(call) {
  const value = JSON.parse(call.function.arguments);
  assert.match(call.id, /^call_/);
  if (call.function.name === 'now') return assert.deepEqual(value, {});
  assert.equal(call.function.name, 'weather');
  assert.deepEqual(Object.keys(value).sort(), ['city', 'days', 'unit']);
  assert.ok(['Oslo', 'São Paulo'].includes(value.city) && value.days >= 1 && value.days <= 9 && ['C', 'F', null].includes(value.unit));
}

before(async () => {
  const folder = makeFolder();
  for (const [name, sign] of Object.entries(families)) {
    writeFileSync(join(folder, `${name}.jinja`), `${turns}{# ${sign} #}`);
    makeModel(folder, `${name}.gguf`, ['--tokenizer', 'gpt2', '--pre', 'qwen2', '--context', '2048', '--chat-template', join(folder, `${name}.jinja`)]);
  }
  gateway = await Gateway.start(
    `models:\n${Object.keys(families).map((name) => `  - {name: ${name}, file: ${folder}/${name}.gguf, context: 2048, threads: 1}\n`).join('')}`,
    { folder },
  );
  client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'none', maxRetries: 0 });
});

after(() => gateway.stop());

for (const model of Object.keys(families)) {
  test(`${model}: a call that is required comes whole and streamed, and fits its tool`, async () => {
    // A model of random weights may never stop reasoning: another seed does.
    const ask = { model, messages, tools, tool_choice: { type: 'function', function: { name: 'weather' } }, max_tokens: 300 };
    let whole;
    for (ask.seed = 1; ask.seed < 30; ask.seed++) {
      whole = (await client.chat.completions.create(ask)).choices[0];
      if (whole.finish_reason !== 'length') break;
    }
    assert.equal(whole.finish_reason, 'tool_calls', JSON.stringify(whole));
    assert.equal(whole.message.tool_calls.length, 1);
    check(whole.message.tool_calls[0]);
    const stream = client.chat.completions.stream(ask);
    const streamed = (await stream.finalChatCompletion()).choices[0];
    assert.equal(streamed.finish_reason, 'tool_calls');
    assert.deepEqual(streamed.message.tool_calls[0].function.arguments, whole.message.tool_calls[0].function.arguments);
  });
}

test('arguments that are JSON arrive in pieces, the first of which has id and name', async () => {
  const stream = await client.chat.completions.create({ model: 'hermes', messages, tools, tool_choice: 'required', parallel_tool_calls: false, max_tokens: 900, seed: 1, stream: true });
  const pieces = [];
  for await (const chunk of stream) pieces.push(...(chunk.choices[0]?.delta.tool_calls ?? []));
  assert.ok(pieces[0].id && pieces[0].function.name);
  assert.ok(pieces.slice(1).every((p) => !p.id && p.index === 0), 'one call only');
  check({ id: pieces[0].id, function: { name: pieces[0].function.name, arguments: pieces.map((p) => p.function.arguments ?? '').join('') } });
});

test('strict tools hold a call that the model makes of itself', async () => {
  for (const model of ['hermes', 'lfm'])
    for (const seed of [1, 2]) {
      const r = (await client.chat.completions.create({ model, messages, tools, max_tokens: 60, seed })).choices[0];
      for (const call of r.message.tool_calls ?? []) if (r.finish_reason !== 'length') check(call);
    }
});

test('beside response_format the answer is a call or follows the schema', async () => {
  const schema = { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'], additionalProperties: false };
  const seen = new Set();
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    const r = (await client.chat.completions.create({ model: 'mistral', messages, tools, seed, temperature: 2, max_tokens: 900, response_format: { type: 'json_schema', json_schema: { name: 's', strict: true, schema } } })).choices[0];
    if (r.finish_reason === 'length') continue;
    seen.add(r.finish_reason);
    if (r.finish_reason === 'tool_calls') r.message.tool_calls.forEach(check);
    else assert.deepEqual(Object.keys(JSON.parse(r.message.content)), ['ok']);
  }
  assert.ok(seen.size > 0);
});

test('reasoning goes before a call, is counted, and its effort reaches the template', async () => {
  const off = await gateway.chat('xml', 'x', { reasoning_effort: 'none', max_tokens: 1 });
  const high = await gateway.chat('xml', 'x', { reasoning_effort: 'high', chat_template_kwargs: { enable_thinking: 'maybe so, but only after a long while of waiting' }, max_tokens: 1 });
  assert.equal(off.status, 200, JSON.stringify(off.body));
  assert.ok(high.body.usage.prompt_tokens > off.body.usage.prompt_tokens);
  const grammar = 'root ::= "y"';
  const r = await gateway.chat('xml', 'x', { grammar, max_tokens: 300, temperature: 0 });
  assert.equal(r.status, 200, JSON.stringify(r.body));
  if (r.body.choices[0].finish_reason === 'stop') assert.equal(r.body.choices[0].message.content, 'y');
  const reasoned = r.body.choices[0].message.reasoning_content ?? '';
  assert.equal(reasoned.length > 0, r.body.usage.completion_tokens_details.reasoning_tokens > 0);
  const wrong = await gateway.chat('xml', 'x', { reasoning_effort: 'enormous' });
  assert.equal(wrong.status, 400);
  assert.match(wrong.body.error.message, /reasoning_effort/);
});

test('a conversation with reasoning and calls is replayed', async () => {
  const r = await client.chat.completions.create({
    model: 'hermes',
    max_tokens: 2,
    tools,
    messages: [
      { role: 'user', content: 'x' },
      { role: 'assistant', content: null, reasoning_content: 'hm', tool_calls: [{ id: 'c1', type: 'function', function: { name: 'now', arguments: '{}' } }] },
      { role: 'tool', tool_call_id: 'c1', content: 'noon' },
    ],
  });
  assert.equal(r.object, 'chat.completion');
});
