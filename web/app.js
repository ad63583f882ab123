// The page's whole logic: list the models, send the conversation, show the answer as it comes and where it came from.
'use strict';

const $ = (id) => document.getElementById(id);
let messages = [];
let running = null; // the AbortController of the answer that is coming
let grades = false; // does the gateway keep them?

function headers() {
  const key = sessionStorage.getItem('key');
  const h = { 'content-type': 'application/json' };
  if (key) h.authorization = `Bearer ${key}`;
  if ($('inside').checked) h['x-weir-boundary'] = 'local';
  return h;
}

// A gateway with keys answers 401 once; the key is kept for this tab only. A provider's 401 is not about it.
const wantsKey = (response) => response.status === 401 && !response.headers.get('x-weir-provider');
async function request(path, options = {}) {
  let response = await fetch(path, { ...options, headers: headers() });
  if (wantsKey(response)) {
    const key = prompt('This gateway wants an API key:');
    if (!key) return response;
    sessionStorage.setItem('key', key.trim());
    response = await fetch(path, { ...options, headers: headers() });
    if (wantsKey(response)) sessionStorage.removeItem('key');
  }
  return response;
}

// Who has scrolled back to read is left there.
const atEnd = () => $('talk').scrollHeight - $('talk').scrollTop - $('talk').clientHeight < 40;
const toEnd = () => ($('talk').scrollTop = $('talk').scrollHeight);

function add(role, text = '') {
  const article = document.createElement('article');
  article.className = role;
  const body = document.createElement('div');
  body.textContent = text;
  article.append(body);
  $('talk').append(article);
  toEnd();
  return { article, body };
}

// What a model thinks before it answers: folded, and seen to grow.
function addThought({ article, body }) {
  const details = document.createElement('details');
  const summary = document.createElement('summary');
  summary.textContent = 'thinking';
  const thought = document.createElement('div');
  details.append(summary, thought);
  article.insertBefore(details, body);
  return thought;
}

async function problem(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `the gateway answered ${response.status}`;
  }
}

async function listModels() {
  const response = await request('/v1/models');
  if (!response.ok) return void add('error', await problem(response));
  const { data } = await response.json();
  for (const { id } of data) $('model').append(new Option(id, id));
  if (!data.length)
    add('error', 'No model is configured: start with MODEL=file.gguf, or set a provider key (see the README).');
  const feedback = await request('/v1/feedback');
  if (!feedback.ok) return void add('error', await problem(feedback));
  grades = (await feedback.json()).kept;
}

// Calls each(data) for every server-sent event of a response.
async function readEvents(response, each) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    let end;
    while ((end = rest.indexOf('\n\n')) >= 0) {
      const event = rest.slice(0, end);
      rest = rest.slice(end + 2);
      // Else a comment: the stream says that it lives.
      if (event.startsWith('data: ') && event !== 'data: [DONE]') each(JSON.parse(event.slice(6)));
    }
  }
}

// Where an answer came from, and how much of the question was masked for those who gave it.
function addOrigin({ article }, headers) {
  const footer = document.createElement('footer');
  const of = (name) => headers.get(`x-weir-${name}`);
  footer.textContent = `${of('model')} · ${of('provider')} · rule ${of('rule')}`;
  if (of('redacted')) footer.textContent += ` · ${of('redacted')} masked`;
  article.append(footer);
  if (grades) addThumbs(footer, headers.get('x-request-id'));
}

// How good it was, for `weir calibrate`; who changes their mind presses the other one.
function addThumbs(footer, id) {
  const buttons = [];
  for (const [thumb, sign, title] of [['up', '👍', 'a good answer'], ['down', '👎', 'a bad answer']]) {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = sign;
    button.title = title;
    button.addEventListener('click', async () => {
      const response = await request('/v1/feedback', { method: 'POST', body: JSON.stringify({ request_id: id, thumb }) });
      if (!response.ok) return void add('error', await problem(response));
      for (const one of buttons) one.ariaPressed = String(one === button);
    });
    buttons.push(button);
  }
  footer.append(...buttons);
}

// `talk` is the conversation that was asked: "New conversation" may have begun another one before the answer ends.
async function answer(talk) {
  running = new AbortController();
  const body = JSON.stringify({ model: $('model').value, messages: talk, stream: true });
  const shown = add('assistant'); // empty: it is waited for
  let text = '';
  let thought = null;
  let response;
  let complete = false;
  try {
    response = await request('/v1/chat/completions', { method: 'POST', body, signal: running.signal });
    if (!response.ok) throw new Error(await problem(response));
    await readEvents(response, (event) => {
      if (event.error) throw new Error(event.error.message);
      const delta = event.choices[0]?.delta ?? {};
      const follow = atEnd();
      if (delta.reasoning_content) {
        thought ??= addThought(shown);
        thought.textContent += delta.reasoning_content;
      }
      text += delta.content ?? '';
      shown.body.textContent = text;
      if (follow) toEnd();
    });
    complete = true;
  } finally {
    if (text) talk.push({ role: 'assistant', content: text });
    if (text || thought || complete) addOrigin(shown, response.headers);
    else shown.article.remove();
  }
}

$('ask').addEventListener('submit', async (event) => {
  event.preventDefault();
  if (running) return void running.abort();
  const text = $('text').value.trim();
  if (!text || !$('model').value) return;
  $('text').value = '';
  const talk = messages;
  talk.push({ role: 'user', content: text });
  add('user', text);
  $('send').textContent = 'Stop';
  try {
    await answer(talk);
  } catch (e) {
    if (e.name !== 'AbortError') add('error', e.message);
  } finally {
    if (talk.at(-1)?.role === 'user') {
      talk.pop(); // without an answer it is not part of what is asked next
      if (talk === messages && !$('text').value) $('text').value = text; // but can be asked again
    }
    running = null;
    $('send').textContent = 'Send';
  }
});

$('text').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (!running) $('ask').requestSubmit();
  }
});

$('clear').addEventListener('click', () => {
  if (running) running.abort();
  messages = [];
  $('talk').replaceChildren();
  $('text').focus();
});

listModels().catch((e) => add('error', `the gateway does not answer: ${e.message}`));
