// Providers of every kind that speaks OpenAI's shape, each refusing what the real one refuses, and the official client.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, makeFolder, weir } from './lib/gateway.mjs';
import { serverHandler, servers } from './lib/servers.mjs';

const OpenAI = await import('openai').then((m) => m.default, () => null);
const skip = OpenAI ? false : 'the openai package is not installed';
const kinds = skip ? [] : Object.keys(servers);
const clouds = {};
let gateway, client;

before(async () => {
  if (skip) return;
  for (const kind of kinds) clouds[kind] = await Cloud.start({ handle: serverHandler(kind) });
  const lines = kinds.map(
    (kind) =>
      `  p-${kind}: {kind: ${kind}, base_url: "${clouds[kind].url}", api_key: "\${SIM_KEY}", headers: {X-Title: Weir, X-Team: "\${TEAM}"}}`,
  );
  gateway = await Gateway.start(
    `providers:\n${lines.join('\n')}\nmodels:\n${kinds.map((k) => `  - {name: ${k}, provider: p-${k}, model: m}`).join('\n')}\n`,
    { env: { SIM_KEY: 'sk-simulated', TEAM: 'blue' } },
  );
  client = new OpenAI({ apiKey: 'none', baseURL: `${gateway.url}/v1`, maxRetries: 0 });
});

after(async () => {
  await gateway?.stop();
  for (const cloud of Object.values(clouds)) await cloud.stop();
});

const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object', properties: { a: { type: 'number' } } } } }];

for (const kind of kinds) {
  test(`${kind}: an answer, streamed, with its usage`, async () => {
    const stream = await client.chat.completions.create({
      model: kind,
      messages: [{ role: 'developer', content: 'be brief' }, { role: 'user', content: 'hi' }],
      max_completion_tokens: 50,
      store: true,
      user: 'u',
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '', thought = '', usage;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? '';
      thought += chunk.choices[0]?.delta?.reasoning_content ?? '';
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, 'Grüße all');
    assert.equal(thought, servers[kind].reasoning ? 'hm' : '');
    assert.equal(usage.prompt_tokens, 10);
    assert.equal(usage.completion_tokens, 5);
    assert.equal(usage.prompt_tokens_details.cached_tokens, 4);
    const { headers } = clouds[kind].requests.at(-1);
    assert.equal(headers['x-title'], 'Weir');
    assert.equal(headers['x-team'], 'blue');
  });

  test(`${kind}: a tool is called and its result sent back${servers[kind].noTools ? ': refused by name' : ''}`, async () => {
    const ask = { model: kind, tools, messages: [{ role: 'user', content: 'call f' }], tool_choice: servers[kind].noRequired ? 'auto' : 'required' };
    if (servers[kind].noTools) {
      const asked = clouds[kind].requests.length;
      await assert.rejects(client.chat.completions.create(ask), (e) => e.status === 400 && /has no 'tools'/.test(e.message));
      assert.equal(clouds[kind].requests.length, asked, 'nothing was sent');
      return;
    }
    const { choices: [{ message, finish_reason }] } = await client.chat.completions.create(ask);
    assert.equal(finish_reason, 'tool_calls');
    assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), { a: 1 });
    // A conversation that began elsewhere has ids of another's.
    message.tool_calls[0].id = 'call_of_another_provider';
    const back = await client.chat.completions.create({
      model: kind,
      messages: [...ask.messages, message, { role: 'tool', tool_call_id: 'call_of_another_provider', content: '42' }],
    });
    assert.equal(back.choices[0].message.content, 'Grüße all');
  });
}

test('what a provider refuses is answered with its name, and nothing is sent', { skip }, async () => {
  for (const [kind, member, value] of [['groq', 'logprobs', true], ['mistral', 'top_k', 5], ['gemini-openai', 'seed', 1]]) {
    const asked = clouds[kind].requests.length;
    await assert.rejects(
      client.chat.completions.create({ model: kind, messages: [{ role: 'user', content: 'hi' }], [member]: value }),
      (e) => e.status === 400 && e.message.includes(member),
    );
    assert.equal(clouds[kind].requests.length, asked);
  }
});

test('a wrong kind, quirk, header or version is an error of the configuration that names its line', () => {
  const folder = makeFolder();
  const check = (line) => {
    writeFileSync(join(folder, 'weir.yaml'), `providers:\n  x: {${line}}\n`);
    try {
      execFileSync(weir, ['serve', '--check', '--config', join(folder, 'weir.yaml')], { stdio: 'pipe' });
      return '';
    } catch (e) {
      return `${e.status} ${e.stderr}`;
    }
  };
  assert.equal(check('kind: groq'), '', 'knows where it is');
  assert.equal(check('kind: openai, quirks: vllm, base_url: "http://127.0.0.1:1/v1"'), '');
  assert.match(check('kind: grok'), /^2 .*weir.yaml:2: no kind 'grok': .*groq/s);
  assert.match(check('kind: azure'), /^2 .*base_url/s);
  assert.match(check('kind: openai, quirks: nobody'), /^2 .*weir.yaml:2: .*quirks.*vllm/s);
  assert.match(check('kind: groq, api_version: "1"'), /^2 .*api_version/s);
  assert.match(check('kind: groq, headers: {Host: evil}'), /^2 .*Host/s);
  assert.match(check('kind: groq, headers: [a]'), /^2 .*headers/s);
  assert.match(check('kind: groq, headers: {"x y": a}'), /^2 .*weir.yaml:2: a header's name is not valid/s);
  assert.match(check('kind: groq, headers: {x: "a\\r\\nHost: evil"}'), /^2 .*weir.yaml:2: .*control characters/s);
  writeFileSync(join(folder, 'value'), 'a\n');
  assert.equal(check(`kind: groq, headers: {x: "file:${join(folder, 'value')}"}`), '');
  // These were only found when the gateway started.
  for (const url of ['http://u:p@127.0.0.1/v1', 'http://127.0.0.1/v1?a=b', 'http://127.0.0.1/v 1', 'http://example.com/v1'])
    assert.match(check(`kind: openai, base_url: "${url}"`), /^2 weir: .*weir.yaml:2: provider 'x': the base_url /s, url);
  assert.match(check('kind: openai, base_url: "https://h/v1", proxy: foo'), /^2 .*weir.yaml:2: provider 'x': the proxy must be written like http:/s);
});
