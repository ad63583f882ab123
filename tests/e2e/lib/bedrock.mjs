// A simulated Bedrock for a Cloud: checks the signature with its own arithmetic and answers as an event stream.
import { createHash, createHmac } from 'node:crypto';

const sha256 = (data) => createHash('sha256').update(data).digest('hex');
const hmac = (key, data) => createHmac('sha256', key).update(data).digest();

// '' when the request is signed as version 4 wants it, else what is wrong.
export function signatureFault(request, text, { accessKey, secretKey, sessionToken, region, now = Date.now() }) {
  const header = request.headers.authorization ?? '';
  const m = /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(header);
  if (!m) return `no signature: ${header}`;
  const [, key, day, inRegion, service, names, signature] = m;
  const time = request.headers['x-amz-date'];
  if (key !== accessKey || inRegion !== region || service !== 'bedrock') return `signed for ${key} ${inRegion} ${service}`;
  const at = Date.parse(time.replace(/(....)(..)(..)T(..)(..)(..)Z/, '$1-$2-$3T$4:$5:$6Z'));
  if (!(Math.abs(now - at) < 300000) || !time.startsWith(day)) return `signed at ${time}`;
  if ((request.headers['x-amz-security-token'] ?? '') !== (sessionToken ?? '')) return 'session token';
  for (const name of ['host', 'x-amz-date', ...(sessionToken ? ['x-amz-security-token'] : [])])
    if (!names.split(';').includes(name)) return `${name} is not signed`;
  const path = request.url.split('/').map(encodeURIComponent).join('/'); // encoded once more
  const canonical = [request.method, path, '', ...names.split(';').map((n) => `${n}:${request.headers[n].trim()}`), '', names, sha256(text)].join('\n');
  const scope = `${day}/${inRegion}/${service}/aws4_request`;
  const toSign = ['AWS4-HMAC-SHA256', time, scope, sha256(canonical)].join('\n');
  const derived = [day, inRegion, service, 'aws4_request'].reduce((k, part) => hmac(k, part), `AWS4${secretKey}`);
  return hmac(derived, toSign).toString('hex') === signature ? '' : 'the signature does not match';
}

const table = Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n >>> 0;
});
const crc32 = (data) => (data.reduce((crc, byte) => (crc >>> 8) ^ table[(crc ^ byte) & 255], 0xffffffff) ^ 0xffffffff) >>> 0;

// One message of the event stream.
export function message(headers, payload) {
  const head = Buffer.concat(
    Object.entries(headers).map(([name, value]) => {
      const length = Buffer.alloc(3);
      length[0] = 7;
      length.writeUInt16BE(Buffer.byteLength(value), 1);
      return Buffer.concat([Buffer.from([name.length]), Buffer.from(name), length, Buffer.from(value)]);
    }),
  );
  const body = Buffer.from(JSON.stringify(payload));
  const out = Buffer.alloc(16 + head.length + body.length);
  out.writeUInt32BE(out.length, 0);
  out.writeUInt32BE(head.length, 4);
  out.writeUInt32BE(crc32(out.subarray(0, 8)), 8);
  head.copy(out, 12);
  body.copy(out, 12 + head.length);
  out.writeUInt32BE(crc32(out.subarray(0, out.length - 4)), out.length - 4);
  return out;
}

export const event = (name, payload) =>
  Object.assign(message({ ':event-type': name, ':content-type': 'application/json', ':message-type': 'event' }, payload), { name, payload });
export const exception = (name, text) =>
  message({ ':exception-type': name, ':content-type': 'application/json', ':message-type': 'exception' }, { message: text });

// What the events come to, as one document; an exception among them has none.
function wholeOf(events) {
  const content = [], whole = { output: { message: { role: 'assistant', content } } };
  for (const { name, payload } of events) {
    if (!name) return null;
    const { contentBlockIndex: i, delta, start } = payload;
    if (name === 'contentBlockStart') content[i] = { toolUse: { ...start.toolUse, input: '' } };
    else if (delta?.toolUse) content[i].toolUse.input += delta.toolUse.input;
    else if (delta?.reasoningContent) {
      content[i] ??= { reasoningContent: { reasoningText: {} } };
      Object.assign(content[i].reasoningContent.reasoningText, delta.reasoningContent);
    } else if (delta) content[i] = { text: (content[i]?.text ?? '') + delta.text };
    else if (name === 'messageStop') whole.stopReason = payload.stopReason;
    else if (name === 'metadata') Object.assign(whole, payload);
  }
  whole.output.message.content = content.filter(Boolean);
  for (const { toolUse } of content.filter(Boolean)) if (toolUse) toolUse.input = JSON.parse(toolUse.input || '{}');
  return whole;
}

// Titan's and Cohere's embeddings: a vector says how long its text is.
const vectorOf = (text, width = 2) => [text.length, ...Array(width - 1).fill(0.5)];
const embed = ({ inputText, dimensions, texts, output_dimension: width }) =>
  inputText === undefined
    ? { id: 'e1', response_type: 'embeddings_floats', embeddings: texts.map((text) => vectorOf(text, width)), texts }
    : { embedding: vectorOf(inputText, dimensions), inputTextTokenCount: 3 };

// `handle` of a Cloud. options: the credentials; script: {status, type} or {events: [Buffer], break: true}
export function bedrockHandler(credentials, script = {}) {
  return async (request, response, body, text) => {
    const wrong = signatureFault(request, text, credentials);
    if (wrong) {
      response.writeHead(403, { 'content-type': 'application/json', 'x-amzn-errortype': 'InvalidSignatureException' });
      return void response.end(JSON.stringify({ message: wrong }));
    }
    if (script.status) {
      response.writeHead(script.status, { 'content-type': 'application/json', 'x-amzn-errortype': script.type });
      return void response.end(JSON.stringify({ message: `simulated ${script.type}` }));
    }
    const answer = (document) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(document));
    };
    if (request.url.endsWith('/invoke')) return void answer(embed(body));
    const events = script.events ?? [
      event('messageStart', { role: 'assistant' }),
      event('contentBlockDelta', { contentBlockIndex: 0, delta: { reasoningContent: { text: 'hm' } } }),
      event('contentBlockDelta', { contentBlockIndex: 0, delta: { reasoningContent: { signature: 'c2ln' } } }),
      event('contentBlockStop', { contentBlockIndex: 0 }),
      event('contentBlockDelta', { contentBlockIndex: 1, delta: { text: 'Grüße' }, p: 'abc' }),
      event('contentBlockDelta', { contentBlockIndex: 1, delta: { text: ' all' } }),
      event('contentBlockStop', { contentBlockIndex: 1 }),
      ...(body.toolConfig
        ? [
            event('contentBlockStart', { contentBlockIndex: 2, start: { toolUse: { toolUseId: 't1', name: 'f' } } }),
            event('contentBlockDelta', { contentBlockIndex: 2, delta: { toolUse: { input: '{"a"' } } }),
            event('contentBlockDelta', { contentBlockIndex: 2, delta: { toolUse: { input: ':1}' } } }),
            event('contentBlockStop', { contentBlockIndex: 2 }),
          ]
        : []),
      event('messageStop', { stopReason: body.toolConfig ? 'tool_use' : 'end_turn' }),
      event('metadata', { usage: { inputTokens: 5, outputTokens: 7, totalTokens: 42, cacheReadInputTokens: 20, cacheWriteInputTokens: 10 }, metrics: { latencyMs: 1 } }),
    ];
    const whole = request.url.endsWith('/converse') && !script.break && wholeOf(events);
    if (whole) {
      await new Promise((done) => setTimeout(done, (script.gap ?? 0) * events.length));
      return void answer(whole);
    }
    response.writeHead(200, { 'content-type': 'application/vnd.amazon.eventstream' });
    if (script.gap)
      for (const one of events) {
        if (response.destroyed) return;
        response.write(one);
        await new Promise((done) => setTimeout(done, script.gap));
      }
    const bytes = script.gap ? Buffer.alloc(0) : Buffer.concat(events);
    for (let i = 0; i < bytes.length; i += 37) response.write(bytes.subarray(i, i + 37));
    if (script.break) return void setTimeout(() => response.destroy(), 20);
    response.end();
  };
}

// The same, by a behaviour of Cloud's (see cloud.mjs): text, tools, usage, gap; status.
export function bedrockScript(credentials, b) {
  const types = { 400: 'ValidationException', 401: 'UnrecognizedClientException', 404: 'ResourceNotFoundException', 429: 'ThrottlingException', 500: 'InternalServerException', 503: 'ServiceUnavailableException' };
  if (b.mode === 'status') return bedrockHandler(credentials, { status: b.status, type: types[b.status] ?? '' });
  const delta = (contentBlockIndex, d) => event('contentBlockDelta', { contentBlockIndex, delta: d });
  const events = [event('messageStart', { role: 'assistant' })];
  for (const text of b.text ?? []) events.push(delta(0, { text }));
  if (b.text?.length) events.push(event('contentBlockStop', { contentBlockIndex: 0 }));
  for (const [i, tool] of (b.tools ?? []).entries()) {
    events.push(event('contentBlockStart', { contentBlockIndex: i + 1, start: { toolUse: { toolUseId: tool.id, name: tool.name } } }));
    for (const input of tool.arguments) events.push(delta(i + 1, { toolUse: { input } }));
    events.push(event('contentBlockStop', { contentBlockIndex: i + 1 }));
  }
  const { input, output } = b.usage;
  events.push(event('messageStop', { stopReason: b.tools ? 'tool_use' : 'end_turn' }));
  events.push(event('metadata', { usage: { inputTokens: input, outputTokens: output, totalTokens: input + output }, metrics: { latencyMs: 1 } }));
  return bedrockHandler(credentials, { events, gap: b.gap });
}
