// What is sensitive leaves as pseudonyms and comes back as it was: the official clients against clouds that repeat what they
// were sent, in pieces cut anywhere. The clouds record every byte.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { clients, png } from './lib/clients.mjs';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, makeFolder, makeModel, weir } from './lib/gateway.mjs';
import { createKey } from './lib/verbs.mjs';

const kinds = ['openai', 'anthropic', 'gemini', 'ollama'];
const paths = { openai: '/v1', gemini: '/v1beta' };
const names = ['openai chat', 'openai responses', 'anthropic', 'ollama'];
const originals = ['Anna Nowak', 'Nowak', 'anna.b@lipowa-poczta.pl', '4539 5787 6362 1486', '4539 5787', '12 Main Street', '62704', 'ghp_aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789'];
const text = 'Write to Anna Nowak <anna.b@lipowa-poczta.pl>: card 4539 5787 6362 1486, I live at 12 Main Street\nSpringfield, IL 62704. "Dear Ms Nowak" – Grüße 🗼, token ghp_aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789.';
const clouds = {};
const made = {};
let gateway, folder;

before(async () => {
  for (const kind of kinds) clouds[kind] = await Cloud.start();
  folder = makeFolder();
  const key = createKey(folder, '--name', 'clients');
  gateway = await Gateway.start(
    `auth: keys
on_sensitive: redact
redact: {never: [PHI], key: "\${REDACT_KEY}"}
providers:
${kinds.map((kind) => `  ${kind}: {kind: ${kind}, base_url: "${clouds[kind].url}${paths[kind] ?? ''}", api_key: "\${SIM_KEY}", retries: 0, breaker: off}`).join('\n')}
models:
  - {name: house, file: "${makeModel(folder)}", context: 2048, threads: 1}
${kinds.map((kind) => `  - {name: at-${kind}, provider: ${kind}, model: far-1}`).join('\n')}
routes:
  - name: auto
    rules:
      - {name: out, use: [at-openai, house], redact: true}
`,
    { folder, env: { SIM_KEY: 'sk-simulated', REDACT_KEY: 'a-key-for-tests' } },
  );
  gateway.key = /weir_\S+/.exec(key.toString())[0];
  for (const name of names) made[name] = clients[name]?.(gateway.url, gateway.key);
});

after(async () => {
  await gateway?.stop();
  for (const cloud of Object.values(clouds)) await cloud.stop();
});

// Cut at any character, so that every placeholder is split somewhere.
function pieces(s) {
  const all = [...s], out = [];
  for (let at = 0; at < all.length; ) {
    const n = 1 + Math.floor(Math.random() * 5);
    out.push(all.slice(at, at + n).join(''));
    at += n;
  }
  return out;
}
// What the user said last, in any of the shapes.
function said(body) {
  const last = (body.messages ?? body.contents).at(-1);
  const content = last.content ?? last.parts;
  return typeof content === 'string' ? content : content.map((part) => part.text ?? '').join('');
}

test('keys of one name had the same pseudonyms: a provider could tell that both know the same person', async () => {
  const other = createKey(folder, '--name', 'clients', '--team', 'other');
  const seenOf = async (key) => {
    const headers = { authorization: `Bearer ${key}` };
    for (let i = 0; (await gateway.get('/v1/models', headers)).status === 401 && i < 100; i++) await new Promise((done) => setTimeout(done, 100));
    const r = await gateway.chat('at-openai', 'Please write to anna.b@lipowa-poczta.pl today.', {}, headers);
    assert.equal(r.status, 200);
    return said(clouds.openai.requests.at(-1).body);
  };
  const [first, again, others] = [await seenOf(gateway.key), await seenOf(gateway.key), await seenOf(other)];
  assert.doesNotMatch(first + others, /lipowa/);
  assert.equal(first, again);
  assert.notEqual(first, others);
});
const usage = { input: 12, output: 5 };
const repeat = (make = (s) => s) => (request, body) => ({ text: pieces(make(said(body))), usage });
const headers = () => ({ authorization: `Bearer ${gateway.key}` });

function nothingLeft(kind) {
  const bytes = clouds[kind].received() + JSON.stringify(clouds[kind].requests.map((r) => r.body));
  for (const original of originals) assert.ok(!bytes.includes(original), `${original} arrived at ${kind}`);
}

for (const name of names)
  for (const kind of kinds)
    for (const stream of [false, true]) {
      const how = `${name} at ${kind}, ${stream ? 'streamed' : 'whole'}`;
      const skip = clients[name] ? false : 'not installed';
      test(`${how}: an answer`, { skip }, async () => {
        clouds[kind].behaviour = repeat();
        const r = await made[name].ask({ model: `at-${kind}`, text, stream });
        assert.equal(r.text, text);
        nothingLeft(kind);
        assert.match(said(clouds[kind].requests.at(-1).body), /Write to PERSON_\d+ <user\d+@example\.com>: card 4000 00/);
      });

      test(`${how}: JSON and Markdown`, { skip }, async () => {
        clouds[kind].behaviour = repeat((s) => `**${s}**\n\n\`\`\`json\n${JSON.stringify({ echo: [s] })}\n\`\`\`\n`);
        const r = await made[name].ask({ model: `at-${kind}`, text, stream });
        assert.equal(r.text, `**${text}**\n\n\`\`\`json\n${JSON.stringify({ echo: [text] })}\n\`\`\`\n`);
        nothingLeft(kind);
      });

      test(`${how}: a tool's arguments, and its result on the way back`, { skip }, async () => {
        clouds[kind].behaviour = (request, body) => ({
          text: [], usage, tools: [{ id: 'call_a', name: 'weather', arguments: pieces(JSON.stringify({ city: said(body) })) }],
        });
        const { calls } = await made[name].ask({ model: `at-${kind}`, text, tools: true, stream });
        assert.deepEqual(calls.map((c) => [c.name, c.input]), [['weather', { city: text }]]);
        clouds[kind].behaviour = { text: ['fine'], usage };
        const turns = made[name].turns({ ...calls[0], input: { city: text } }, `For Anna Nowak: ${text}`);
        const r = await made[name].ask({ model: `at-${kind}`, turns, tools: true, stream });
        assert.equal(r.text, 'fine');
        nothingLeft(kind);
      });
    }

test('the same person is the same in every turn, and another key is another conversation', async () => {
  clouds.openai.behaviour = repeat();
  const first = await gateway.chat('at-openai', text, {}, headers());
  assert.equal(first.headers.get('x-weir-rule'), 'named-redacted');
  assert.equal(first.headers.get('x-weir-redacted'), '5');
  const one = said(clouds.openai.requests.at(-1).body);
  const messages = [
    { role: 'user', content: text },
    { role: 'assistant', content: first.body.choices[0].message.content },
    { role: 'user', content: 'And what did I tell you of ANNA NOWAK?' },
  ];
  const second = await gateway.chat('at-openai', messages, {}, headers());
  assert.equal(second.body.choices[0].message.content, 'And what did I tell you of ANNA NOWAK?');
  const sent = clouds.openai.requests.at(-1).body.messages;
  assert.deepEqual([sent[0].content, sent[1].content], [one, one]);
  nothingLeft('openai');
});

test('two choices, their log-probabilities and a stop string', async () => {
  clouds.openai.behaviour = {
    handle: async (request, response, body) => {
      const answer = said(body);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const chunk = (index, delta, more = {}) =>
        response.write(`data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index, delta, finish_reason: null, ...more }] })}\n\n`);
      const cut = [pieces(answer), pieces(answer)];
      for (let i = 0; i < Math.max(cut[0].length, cut[1].length); i++)
        for (const c of [0, 1])
          if (cut[c][i])
            chunk(c, { content: cut[c][i] }, { logprobs: { content: [{ token: cut[c][i], logprob: -0.5, bytes: [...Buffer.from(cut[c][i])], top_logprobs: [] }] } });
      chunk(0, {}, { finish_reason: 'stop' });
      chunk(1, {}, { finish_reason: 'stop' });
      response.end('data: [DONE]\n\n');
    },
  };
  const r = await gateway.chat('at-openai', text, { n: 2, logprobs: true, stop: ['Anna Nowak!'] }, headers());
  assert.equal(r.body.choices.length, 2);
  for (const choice of r.body.choices) {
    assert.equal(choice.message.content, text);
    assert.equal(choice.logprobs.content.map((t) => t.token).join(''), text);
  }
  assert.match(clouds.openai.requests.at(-1).body.stop[0], /^PERSON_\d+!$/);
  nothingLeft('openai');
});

test('what cannot be masked stays, and so does a category that never leaves', async () => {
  const count = () => kinds.reduce((n, kind) => n + clouds[kind].requests.length, 0);
  const was = count();
  const image = [{ type: 'text', text }, { type: 'image_url', image_url: { url: `data:image/png;base64,${png}` } }];
  for (const content of [image, 'My sister has cancer, mail anna.b@lipowa-poczta.pl', 'write to anna.b at lipowa-poczta dot pl, who is waiting for it so long already, please']) {
    const r = await gateway.chat('at-openai', content, { max_tokens: 4 }, headers());
    assert.notEqual(r.headers.get('x-weir-rule'), 'named-redacted');
    const auto = await gateway.chat('auto', content, { max_tokens: 4 }, headers());
    assert.equal(auto.headers.get('x-weir-redacted'), null);
  }
  const r = await gateway.chat('auto', text, { max_tokens: 4 }, { ...headers(), 'x-weir-boundary': 'local' });
  assert.equal(r.headers.get('x-weir-provider'), 'local');
  assert.equal(count(), was);
});

test('a rule that masks falls back to the local model with the text as it came', async () => {
  clouds.openai.behaviour = { mode: 'status', status: 500 };
  const r = await gateway.chat('auto', text, { max_tokens: 4 }, headers());
  assert.equal(r.status, 200);
  assert.equal(r.headers.get('x-weir-provider'), 'local');
  assert.equal(r.headers.get('x-weir-redacted'), null);
  clouds.openai.behaviour = repeat();
  const out = await gateway.chat('auto', text, {}, headers());
  assert.equal(out.body.choices[0].message.content, text);
  assert.equal(out.headers.get('x-weir-rule'), 'out');
  nothingLeft('openai');
});

test('an error that repeats the prompt is restored', async () => {
  clouds.openai.behaviour = (request, body) => ({ mode: 'status', status: 400, error: { error: { message: `bad: ${said(body)}`, type: 'invalid_request_error' } } });
  const r = await gateway.chat('at-openai', 'My name is Anna Nowak.', {}, headers());
  assert.equal(r.status, 400);
  assert.ok(r.body.error.message.includes('My name is Anna Nowak.'), r.body.error.message);
});

test('the record tells what was masked and holds none of it', async () => {
  clouds.openai.behaviour = repeat();
  const r = await gateway.chat('at-openai', text, {}, headers());
  const id = r.headers.get('x-request-id');
  const row = gateway.audit('ledger').find((l) => l.request_id === id);
  assert.deepEqual(row.decision.redacted, { PERSON: 1, EMAIL_ADDRESS: 1, CREDIT_CARD: 1, STREET_ADDRESS: 1, GITHUB_PAT: 1 });
  const left = gateway.audit('egress').find((e) => e.request_id === id);
  assert.deepEqual([left.rule, left.boundary, left.zone], ['named-redacted', 'any', 'cloud']);
  for (const file of readdirSync(folder)) {
    if (!file.startsWith('weir.db')) continue;
    const bytes = readFileSync(`${folder}/${file}`).toString('latin1');
    for (const original of ['Nowak', 'lipowa', '4539 5787', 'ghp_a']) assert.ok(!bytes.includes(original), `${original} is in ${file}`);
  }
  for (const original of originals) assert.ok(!gateway.log.includes(original));
});

test('weir route says that it would be masked; weir redact shows how, and back', () => {
  const run = (args, input) => execFileSync(weir, args, { input }).toString().trim().split('\n').map((l) => JSON.parse(l));
  const env = { ...process.env, SIM_KEY: 'x', REDACT_KEY: 'y' };
  const body = JSON.stringify({ model: 'auto', messages: [{ role: 'user', content: text }] });
  const [decision] = execFileSync(weir, ['route', '--config', gateway.config], { input: body + '\n', env }).toString().trim().split('\n').map((l) => JSON.parse(l));
  assert.equal(decision.redacted.PERSON, 1);
  assert.match(decision.reason, /rule out masks what leaves \(PERSON 1, /);
  const lines = [{ id: 7, text }, { text: 'nothing here' }, { text: 'my sister has cancer' }];
  const file = `${folder}/texts.jsonl`;
  writeFileSync(file, lines.map((l) => JSON.stringify(l)).join('\n'));
  const masked = run(['redact', file]);
  assert.equal(masked[0].id, 7);
  for (const original of originals) assert.ok(!masked[0].text.includes(original));
  assert.deepEqual([masked[1].text, masked[1].map, masked[1].stays], ['nothing here', {}, undefined]);
  assert.match(masked[2].stays, /health cannot be masked/);
  const back = run(['redact', '--restore', '-'], masked.map((l) => JSON.stringify(l)).join('\n') + '\n');
  assert.deepEqual(back.map((l) => l.text), lines.map((l) => l.text));
});
