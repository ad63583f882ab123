// Ollama's API with its official client, unchanged: served by a local model and by clouds of every shape; and the
// official OpenAI client served by an Ollama.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Ollama } from 'ollama';
import OpenAI from 'openai';
import { tinyBert } from './lib/bert.mjs';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, makeFolder, makeModel, sleep } from './lib/gateway.mjs';

const clouds = ['openai', 'anthropic', 'gemini', 'ollama'];
const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==';
let gateway, cloud, client, openai, folder;

const template = `{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for m in messages %}{{ m.role }}: {{ m.content }}
{% endfor %}{# <tool_call>{"name": ..., "arguments": ...}</tool_call> #}assistant: `;

before(async () => {
  folder = makeFolder();
  cloud = await Cloud.start();
  makeModel(folder, 'tiny.gguf', ['--context', '512']);
  writeFileSync(join(folder, 'tools.jinja'), template);
  makeModel(folder, 'tools.gguf', ['--tokenizer', 'gpt2', '--pre', 'qwen2', '--context', '1024', '--chat-template', join(folder, 'tools.jinja')]);
  writeFileSync(join(folder, 'bert.gguf'), tinyBert());
  gateway = await Gateway.start(
    `on_sensitive: allow
providers:
${clouds.map((kind) => `  ${kind}: {kind: ${kind}, base_url: "${cloud.url}${kind === 'openai' ? '/v1' : ''}", api_key: "\${KEY}"}`).join('\n')}
models:
  - {name: house, file: ${folder}/tiny.gguf, context: 256, slots: 2, threads: 1}
  - {name: tools, file: ${folder}/tools.gguf, context: 1024, threads: 1}
  - {name: bert, file: ${folder}/bert.gguf, threads: 1}
${clouds.map((kind) => `  - {name: at-${kind}, provider: ${kind}, model: far}`).join('\n')}
`,
    { folder, env: { KEY: 'sk-test-0123456789' } },
  );
  client = new Ollama({ host: gateway.url });
  openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'none', maxRetries: 0 });
});

after(async () => {
  await gateway.stop();
  await cloud.stop();
});

const hello = [{ role: 'user', content: 'Tell me.' }];
const weather = {
  type: 'function',
  function: {
    name: 'weather',
    description: 'of a place',
    parameters: { type: 'object', required: ['city'], properties: { city: { type: 'string', description: 'where' } } },
  },
};
const collect = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
};
const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/;

test('a local model, whole and streamed, says the same and how long it took', async () => {
  const options = { seed: 7, num_predict: 12, temperature: 0.9 };
  const whole = await client.chat({ model: 'house', messages: hello, options });
  assert.equal(whole.model, 'house');
  assert.match(whole.created_at, rfc3339);
  assert.equal(whole.message.role, 'assistant');
  assert.equal(whole.done, true);
  assert.ok(['stop', 'length'].includes(whole.done_reason));
  assert.ok(whole.eval_count > 0 && whole.prompt_eval_count > 0);
  assert.ok(whole.prompt_eval_duration > 0 && whole.eval_duration > 0);
  assert.ok(whole.total_duration >= whole.prompt_eval_duration + whole.eval_duration);
  const chunks = await collect(await client.chat({ model: 'house', messages: hello, options, stream: true }));
  assert.equal(chunks.map((c) => c.message.content).join(''), whole.message.content);
  assert.ok(chunks.slice(0, -1).every((c) => c.done === false && rfc3339.test(c.created_at)));
  const last = chunks.at(-1);
  assert.equal(last.done, true);
  assert.equal(last.eval_count, whole.eval_count);
  const generated = await client.generate({ model: 'house:latest', prompt: 'Tell me.', options });
  assert.equal(generated.response, whole.message.content);
  assert.equal(generated.model, 'house');
});

test('streaming is the default, as NDJSON', async () => {
  const r = await gateway.post('/api/generate', { model: 'house', prompt: 'Tell me.', options: { num_predict: 4 } });
  assert.match(r.headers.get('content-type'), /^application\/x-ndjson/);
  const lines = r.body.trim().split('\n').map((line) => JSON.parse(line));
  assert.ok(lines.length > 1);
  assert.ok(lines.at(-1).done);
});

test('raw continues the text as it stands', async () => {
  const options = { seed: 3, num_predict: 8, temperature: 0 };
  const raw = await client.generate({ model: 'house', prompt: 'Tell me.', raw: true, options });
  const same = await openai.completions.create({ model: 'house', prompt: 'Tell me.', max_tokens: 8, temperature: 0, seed: 3 });
  assert.equal(raw.response, same.choices[0].text);
});

test('a format is what the answer follows', async () => {
  const schema = { type: 'object', properties: { a: { type: 'integer', minimum: 0, maximum: 9 } }, required: ['a'], additionalProperties: false };
  const r = await client.chat({ model: 'house', messages: hello, format: schema, options: { seed: 1, num_predict: 100 } });
  if (r.done_reason === 'stop') assert.deepEqual(Object.keys(JSON.parse(r.message.content)), ['a']);
  const any = await client.generate({ model: 'house', prompt: 'x', format: 'json', options: { seed: 2, num_predict: 60 } });
  assert.match(any.response.trim(), /^\{/);
});

test('an empty prompt loads the model, keep_alive 0 unloads it, ps shows it', async () => {
  const loaded = await client.generate({ model: 'house', prompt: '', keep_alive: '10m' });
  assert.equal(loaded.done_reason, 'load');
  const ps = await client.ps();
  const shown = ps.models.find((m) => m.name === 'house');
  assert.equal(shown.context_length, 256);
  assert.ok(shown.size > 0);
  const left = new Date(shown.expires_at) - Date.now();
  assert.ok(left > 8 * 60e3 && left <= 10 * 60e3, `${left}`);
  const unloaded = await client.chat({ model: 'house', messages: [], keep_alive: 0 });
  assert.equal(unloaded.done_reason, 'unload');
  for (let i = 0; i < 200 && (await client.ps()).models.some((m) => m.name === 'house'); i++) await sleep(20);
  assert.ok(!(await client.ps()).models.some((m) => m.name === 'house'));
  const again = await client.chat({ model: 'house', messages: hello, options: { num_predict: 2 } });
  assert.ok(again.load_duration > 0);
});

test('tags and show tell of the models without loading them', async () => {
  await client.chat({ model: 'tools', messages: [], keep_alive: 0 });
  for (let i = 0; i < 200 && (await client.ps()).models.some((m) => m.name === 'tools'); i++) await sleep(20);
  const { models } = await client.list();
  for (const name of ['house', 'tools', 'bert', 'at-openai']) assert.ok(models.some((m) => m.name === name && m.model === name), name);
  assert.ok(models.find((m) => m.name === 'house').size > 1000);
  const shown = await client.show({ model: 'tools' });
  assert.deepEqual(shown.capabilities, ['completion', 'tools']);
  assert.equal(shown.details.format, 'gguf');
  assert.equal(shown.details.family, 'llama');
  assert.equal(shown.model_info['llama.context_length'], 1024);
  assert.equal(shown.model_info['tokenizer.ggml.tokens'], null);
  assert.match(shown.template, /tool_call/);
  assert.deepEqual((await client.show({ model: 'bert' })).capabilities, ['embedding']);
  assert.ok(!(await client.ps()).models.some((m) => m.name === 'tools'));
  assert.match((await gateway.get('/api/version')).body.version, /^\d+\.\d+/);
  assert.equal((await fetch(gateway.url, { method: 'HEAD' })).status, 200);
});

test('embeddings, new and old', async () => {
  const both = await client.embed({ model: 'bert', input: ['hello', 'world'] });
  assert.equal(both.embeddings.length, 2);
  assert.ok(Math.abs(both.embeddings[0].reduce((s, x) => s + x * x, 0) - 1) < 1e-3);
  assert.ok(both.prompt_eval_count > 0 && both.total_duration > 0);
  const one = await client.embed({ model: 'bert', input: 'hello' });
  assert.deepEqual(one.embeddings[0], both.embeddings[0]);
  const old = await client.embeddings({ model: 'bert', prompt: 'hello' });
  assert.equal(old.embedding.length, one.embeddings[0].length);
});

test('what cannot be done is an error in their words', async () => {
  await assert.rejects(client.chat({ model: 'absent', messages: hello }), (e) => {
    assert.equal(e.status_code, 404);
    assert.equal(e.error, "model 'absent' not found");
    return true;
  });
  const is400 = (pattern) => (e) => {
    assert.equal(e.status_code, 400, e.message);
    assert.match(e.error, pattern);
    return true;
  };
  await assert.rejects(client.chat({ model: 'house', messages: hello, options: { num_ctx: 100000 } }), is400(/num_ctx.*256/));
  await assert.rejects(client.chat({ model: 'house', messages: hello, options: { no_such: 1 } }), is400(/no_such/));
  await assert.rejects(client.chat({ model: 'house', messages: [{ role: 'user', content: 'word '.repeat(2000) }] }), is400(/256/));
  await assert.rejects(client.chat({ model: 'house', messages: [{ role: 'user', content: 'x', images: [png] }] }), is400(/images/));
  await assert.rejects(client.chat({ model: 'house', messages: [{ role: 'nobody', content: 'x' }] }), is400(/role/));
  await assert.rejects(client.pull({ model: 'x' }), (e) => e.status_code === 501);
});

test('an aborted answer stops the model', async () => {
  const mine = new Ollama({ host: gateway.url });
  const stream = await mine.chat({ model: 'house', messages: hello, stream: true, options: { num_predict: 200, temperature: 0 } });
  await assert.rejects(async () => {
    for await (const _ of stream) mine.abort();
  }, /abort/i);
  for (let i = 0; i < 200; i++) {
    const text = (await gateway.get('/metrics')).body;
    if (/weir_engine_active\{model="house"\} 0/.test(text)) return;
    await sleep(20);
  }
  assert.fail('the model still works');
});

for (const kind of clouds) {
  const model = `at-${kind}`;

  test(`${kind}: whole, streamed, with usage`, async () => {
    cloud.behaviour = { text: ['Hello', ' wörld'], usage: { input: 11, output: 5 } };
    const whole = await client.chat({ model, messages: hello, options: { temperature: 0.5, num_predict: 50 } });
    assert.equal(whole.message.content, 'Hello wörld');
    assert.equal(whole.done_reason, 'stop');
    assert.equal(whole.prompt_eval_count, 11);
    assert.equal(whole.eval_count, 5);
    const chunks = await collect(await client.chat({ model, messages: hello, stream: true }));
    assert.equal(chunks.map((c) => c.message.content).join(''), 'Hello wörld');
    assert.equal(chunks.at(-1).eval_count, 5);
    const generated = await client.generate({ model, prompt: 'x', system: 'y' });
    assert.equal(generated.response, 'Hello wörld');
  });

  test(`${kind}: tools there and back`, async () => {
    cloud.behaviour = { text: [], tools: [{ id: 'call_1', name: 'weather', arguments: ['{"z": 1, ', '"city": "Oslo"}'] }] };
    for (const stream of [false, true]) {
      const r = await client.chat({ model, messages: hello, tools: [weather], stream });
      const answers = stream ? await collect(r) : [r];
      const calls = answers.flatMap((c) => c.message.tool_calls ?? []);
      assert.equal(calls.length, 1);
      assert.equal(calls[0].function.name, 'weather');
      assert.equal(JSON.stringify(calls[0].function.arguments), '{"z":1,"city":"Oslo"}'); // the order is kept
    }
    cloud.behaviour = {};
    const r = await client.chat({
      model,
      messages: [
        ...hello,
        { role: 'assistant', content: '', tool_calls: [{ function: { name: 'weather', arguments: { city: 'Oslo' } } }] },
        { role: 'tool', content: 'rain', tool_name: 'weather' },
      ],
      tools: [weather],
    });
    assert.equal(r.message.content, 'Hello from the cloud');
    assert.match(JSON.stringify(cloud.requests.at(-1).body), /rain/);
  });

  test(`${kind}: images and formats are passed on`, async () => {
    cloud.behaviour = {};
    await client.chat({ model, messages: [{ role: 'user', content: 'what?', images: [png] }] });
    assert.ok(JSON.stringify(cloud.requests.at(-1).body).includes(png));
    if (kind === 'openai' || kind === 'ollama') {
      const format = { type: 'object', properties: { a: { type: 'integer' } } };
      await client.chat({ model, messages: hello, format });
      const { body } = cloud.requests.at(-1);
      assert.deepEqual(kind === 'ollama' ? body.format : body.response_format.json_schema.schema, format);
    }
  });

  test(`${kind}: errors keep their status`, async () => {
    for (const status of [400, 429, 500]) {
      cloud.behaviour = { mode: 'status', status, error: kind === 'ollama' ? { error: 'simulated' } : undefined };
      await assert.rejects(client.chat({ model, messages: hello }), (e) => {
        assert.ok(e.status_code === status || (status === 500 && e.status_code >= 500), `${e.status_code} for ${status}`);
        assert.ok(e.error.length > 0);
        return true;
      });
    }
    cloud.behaviour = { mode: 'truncate', text: ['Hello', ' there'] };
    await assert.rejects(async () => collect(await client.chat({ model, messages: hello, stream: true })), /./);
  });
}

test('an Ollama gets what came in its own shape as it came', async () => {
  cloud.behaviour = {};
  await client.chat({ model: 'at-ollama', messages: hello, think: 'high', keep_alive: '3m', options: { num_ctx: 999, num_gpu: 1, brand_new: 7, stop: ['x'] } });
  const { body, url } = cloud.requests.at(-1);
  assert.equal(url, '/api/chat');
  assert.deepEqual(body.options, { num_ctx: 999, num_gpu: 1, brand_new: 7, stop: ['x'] });
  assert.equal(body.think, 'high');
  assert.equal(body.keep_alive, '3m');
  assert.equal(body.model, 'far');
  await client.generate({ model: 'at-ollama', prompt: 'p', system: 's', template: '{{ .Prompt }}' });
  assert.equal(cloud.requests.at(-1).url, '/api/generate');
  assert.deepEqual([cloud.requests.at(-1).body.prompt, cloud.requests.at(-1).body.system, cloud.requests.at(-1).body.template], ['p', 's', '{{ .Prompt }}']);
});

test('the OpenAI client is served by an Ollama: whole, streamed, tools, structured, images', async () => {
  const model = 'at-ollama';
  cloud.behaviour = { text: ['Hel', 'lo'], thinking: ['hm'], usage: { input: 4, output: 3 } };
  const r = await openai.chat.completions.create({
    model,
    messages: [
      { role: 'developer', content: 'Be kind.' },
      { role: 'user', content: [{ type: 'text', text: 'what?' }, { type: 'image_url', image_url: { url: `data:image/png;base64,${png}` } }] },
    ],
    temperature: 0.25,
    max_tokens: 9,
    seed: 5,
    stop: ['END'],
    response_format: { type: 'json_schema', json_schema: { name: 'a', schema: { type: 'object' } } },
  });
  assert.equal(r.choices[0].message.content, 'Hello');
  assert.equal(r.choices[0].message.reasoning_content, 'hm');
  assert.deepEqual([r.usage.prompt_tokens, r.usage.completion_tokens], [4, 3]);
  const { body, headers } = cloud.requests.at(-1);
  assert.equal(headers.authorization, 'Bearer sk-test-0123456789');
  assert.deepEqual(body.messages[0], { role: 'system', content: 'Be kind.' });
  assert.deepEqual(body.messages[1], { role: 'user', content: 'what?', images: [png] });
  assert.deepEqual(body.format, { type: 'object' });
  assert.deepEqual(body.options, { temperature: 0.25, seed: 5, num_predict: 9, stop: ['END'] });
  const stream = await openai.chat.completions.create({ model, messages: hello, stream: true });
  assert.equal((await collect(stream)).map((c) => c.choices[0]?.delta.content ?? '').join(''), 'Hello');
  cloud.behaviour = { text: [], tools: [{ id: 'call_9', name: 'weather', arguments: ['{"city":"Oslo"}'] }] };
  const t = await openai.chat.completions.create({ model, messages: hello, tools: [weather] });
  assert.equal(t.choices[0].finish_reason, 'tool_calls');
  assert.equal(t.choices[0].message.tool_calls[0].function.arguments, '{"city":"Oslo"}');
  cloud.behaviour = {};
  await openai.completions.create({ model, prompt: 'Once', max_tokens: 3 });
  assert.equal(cloud.requests.at(-1).url, '/api/generate');
  assert.equal(cloud.requests.at(-1).body.raw, true);
});

test('a malformed or cut answer of an Ollama is one error', async () => {
  for (const behaviour of [{ mode: 'malformed' }, { mode: 'html' }, { mode: 'truncate', text: [] }, { mode: 'status', status: 404, error: { error: 'no such model' } }]) {
    cloud.behaviour = behaviour;
    await assert.rejects(openai.chat.completions.create({ model: 'at-ollama', messages: hello }), (e) => e instanceof OpenAI.APIError);
  }
  cloud.behaviour = { mode: 'drip', text: ['Hé', 'llo'] };
  const r = await openai.chat.completions.create({ model: 'at-ollama', messages: hello });
  assert.equal(r.choices[0].message.content, 'Héllo');
});
