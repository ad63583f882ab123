// The web page's own script against a real gateway, in as much of a browser as it uses.
import test, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import vm from 'node:vm';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, root, sleep } from './lib/gateway.mjs';

let cloud, gateway;
before(async () => {
  cloud = await Cloud.start();
  gateway = await Gateway.start(`stream_keep_alive: 100ms
on_sensitive: redact
providers: {sim: {kind: openai, base_url: "${cloud.url}/v1", retries: 0}}
models: [{name: gpt, provider: sim, price: {input: 1, output: 1}}]
`);
});
after(async () => {
  await gateway?.stop();
  await cloud?.stop();
});

class Element {
  constructor() {
    this.children = [];
    this.listeners = {};
    this.textContent = this.value = '';
    this.scrollHeight = this.scrollTop = this.clientHeight = 0;
  }
  append(...more) {
    for (const one of more) one.parent = this;
    this.children.push(...more);
  }
  remove() {
    this.parent.children.splice(this.parent.children.indexOf(this), 1);
  }
  focus() {}
  insertBefore(one, before) {
    this.children.splice(this.children.indexOf(before), 0, one);
  }
  replaceChildren() {
    this.children = [];
  }
  addEventListener(type, listener) {
    this.listeners[type] = listener;
  }
  text() {
    return [this.textContent, ...this.children.map((c) => c.text())].filter(Boolean).join(' ');
  }
}

// The page, once it knows the models; ask() resolves at the answer's end.
async function open(where = gateway) {
  const ids = {};
  const $ = (id) => (ids[id] ??= new Element());
  const page = { $, talk: () => $('talk').text() };
  page.ask = (text) => {
    $('text').value = text;
    return $('ask').listeners.submit({ preventDefault() {} });
  };
  page.clear = () => $('clear').listeners.click();
  const Option = class extends Element {};
  vm.runInNewContext(readFileSync(join(root, 'web/app.js'), 'utf8'), {
    document: { getElementById: $, createElement: () => new Element() },
    sessionStorage: { getItem: () => null },
    fetch: (path, options) => fetch(where.url + path, options),
    AbortController, TextDecoderStream, Option,
  });
  while (!$('model').children.length) await sleep(10);
  $('model').value = 'gpt';
  return page;
}

const asked = () => cloud.requests.at(-1).body.messages.map((m) => `${m.role}: ${m.content}`);

test('the page holds a conversation and says where answers came from', async () => {
  cloud.behaviour = {};
  const page = await open();
  await page.ask('one');
  await page.ask('two');
  assert.deepEqual(asked(), ['user: one', 'assistant: Hello from the cloud', 'user: two']);
  assert.match(page.talk(), /Hello from the cloud gpt · sim · rule named/);
  await page.ask('write to anna.nowak@posteo.de');
  assert.match(page.talk(), /rule named\S* · 1 masked/);
});

test('answers are graded by a thumb where grades are kept, and nowhere else', async () => {
  cloud.behaviour = {};
  const keeping = await Gateway.start(`feedback: thumbs.jsonl
providers: {sim: {kind: openai, base_url: "${cloud.url}/v1", retries: 0}}
models: [{name: gpt, provider: sim}]
`);
  try {
    const page = await open(keeping);
    await page.ask('one');
    const [up, down] = page.$('talk').children[1].children.at(-1).children;
    assert.deepEqual([up.textContent, down.textContent], ['👍', '👎']);
    await up.listeners.click();
    await down.listeners.click();
    assert.deepEqual([up.ariaPressed, down.ariaPressed], ['false', 'true']);
    const lines = readFileSync(join(keeping.folder, 'thumbs.jsonl'), 'utf8').trim().split('\n').map((l) => JSON.parse(l));
    assert.deepEqual(lines.map((l) => l.scores), [{ gpt: 1 }, { gpt: 0 }]);
    assert.equal(lines[0].request_id, lines[1].request_id);
  } finally {
    await keeping.stop();
  }
  const page = await open();
  await page.ask('one');
  assert.ok(!page.talk().includes('👍'));
});

test('a stream that says that it lives while a prompt is read does not break the page', async () => {
  cloud.behaviour = { delay: 700 };
  const page = await open();
  await page.ask('slow');
  assert.match(page.talk(), /Hello from the cloud/);
  assert.ok(!/JSON|token/.test(page.talk()), page.talk());
});

test('a question that got an error is not asked again with the next one', async () => {
  const page = await open();
  cloud.behaviour = { mode: 'status', status: 400 };
  await page.ask('refused');
  assert.match(page.talk(), /simulated 400/);
  cloud.behaviour = {};
  await page.ask('next');
  assert.deepEqual(asked(), ['user: next']);
});

test('a question that got no answer had to be typed again, and left an empty answer behind', async () => {
  const page = await open();
  cloud.behaviour = { mode: 'status', status: 400 };
  await page.ask('a long question');
  assert.equal(page.$('text').value, 'a long question');
  assert.deepEqual(page.$('talk').children.map((c) => c.className), ['user', 'error']);
  cloud.behaviour = { mode: 'hang' };
  const stopped = page.ask('another');
  await sleep(300); // the stream has said that it lives, which is no answer yet
  assert.deepEqual(page.$('talk').children.map((c) => c.className), ['user', 'error', 'user', 'assistant'], 'it is seen that an answer is waited for');
  page.$('text').value = 'typed meanwhile';
  page.$('ask').listeners.submit({ preventDefault() {} });
  await stopped;
  assert.equal(page.$('text').value, 'typed meanwhile');
  assert.deepEqual(page.$('talk').children.map((c) => c.className), ['user', 'error', 'user']);
});

test('who had scrolled back was taken to the end by each word', async () => {
  const page = await open();
  const talk = page.$('talk');
  cloud.behaviour = { streams: true, gap: 100, text: ['one ', 'two ', 'three '] };
  talk.scrollHeight = 1000;
  talk.clientHeight = 300;
  const running = page.ask('count');
  while (!/one/.test(page.talk())) await sleep(10);
  assert.equal(talk.scrollTop, 1000);
  talk.scrollTop = 100;
  await running;
  assert.equal(talk.scrollTop, 100);
});

test('what was left of an old conversation does not begin the new one', async () => {
  cloud.behaviour = { streams: true, gap: 300, text: ['one ', 'two ', 'three ', 'four '] };
  const page = await open();
  const old = page.ask('count');
  while (!/one/.test(page.talk())) await sleep(10);
  page.clear();
  await old;
  cloud.behaviour = {};
  await page.ask('fresh');
  assert.deepEqual(asked(), ['user: fresh']);
});

test('what a model thinks is shown before its answer', async () => {
  cloud.behaviour = {
    handle: (request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (const delta of [{ reasoning_content: 'let me ' }, { reasoning_content: 'see' }, { content: 'done' }])
        response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: null }] })}\n\n`);
      response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] })}\n\n`);
      response.end('data: [DONE]\n\n');
    },
  };
  const page = await open();
  await page.ask('think');
  assert.match(page.talk(), /thinking let me see done/);
  await page.ask('more');
  assert.equal(asked()[1], 'assistant: done');
});

test("a provider that refuses this gateway's key does not make the page ask for one", async () => {
  const page = await open(); // whose `prompt` is not there
  cloud.behaviour = { mode: 'status', status: 401 };
  await page.ask('who pays?');
  assert.match(page.talk(), /refused this gateway's credentials/);
});
