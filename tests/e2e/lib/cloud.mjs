// A cloud that the tests run on loopback: speaks OpenAI's, Anthropic's, Gemini's and Ollama's streams and whole answers,
// records every byte that reaches it, and fails in every way it is told to.
import http from 'node:http';
import { wholeAnswer } from './cloud_whole.mjs';

// These end before the answer does.
const partial = new Set(['truncate', 'stall', 'broken-mid-stream', 'reset-mid-stream']);

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export class Cloud {
  static async start(behaviour = {}) {
    const c = new Cloud();
    c.behaviour = behaviour; // see `serve`; a function (request, body) => behaviour is asked for each request
    c.bytes = []; // everything that arrived, as it arrived
    c.requests = []; // {method, url, headers, body}
    c.connections = 0;
    c.aborted = 0; // requests whose client left before the end
    c.sockets = new Set();
    c.server = http.createServer((request, response) => c.take(request, response));
    c.server.keepAliveTimeout = 60000;
    c.server.on('connection', (socket) => {
      c.connections++;
      c.sockets.add(socket);
      socket.on('data', (d) => c.bytes.push(Buffer.from(d)));
      socket.on('close', () => c.sockets.delete(socket));
      socket.on('error', () => {});
    });
    await new Promise((done) => c.server.listen(0, '127.0.0.1', done));
    c.port = c.server.address().port;
    c.url = `http://127.0.0.1:${c.port}`;
    return c;
  }

  received() {
    return Buffer.concat(this.bytes).toString('latin1');
  }

  async take(request, response) {
    const pieces = [];
    request.on('error', () => {});
    for await (const piece of request) pieces.push(piece);
    const text = Buffer.concat(pieces).toString();
    let body = text;
    try {
      body = JSON.parse(text);
    } catch {
      // recorded as it is
    }
    this.requests.push({ method: request.method, url: request.url, headers: request.headers, body });
    response.on('close', () => {
      if (!response.writableEnded) this.aborted++;
    });
    const b = typeof this.behaviour === 'function' ? this.behaviour(request, body) : this.behaviour;
    try {
      if (b?.handle) return await b.handle(request, response, body, text);
      await this.serve(request, response, body, b ?? {});
    } catch (e) {
      if (!response.destroyed) response.destroy(e);
    }
  }

  // behaviour: {mode: 'ok'|'status'|'hang'|'reset'|'truncate'|'malformed'|'html'|'drip'|'reset-after-headers'|
  //             'reset-mid-stream'|'stall'|'broken-mid-stream'|'split'|'giant'|'long-length'|'short-length'|'late',
  //             status, headers, error, delay: ms before anything (late),
  //             streams: also where it is asked for a whole answer, text: [pieces], tools: [{id,name,arguments:[pieces]}], usage: {input, output, cached, written, begun: Anthropic's first count, untold: its last event has none}, gap: ms,
  //             handle: (request, response, body) => answers all by itself (see servers.mjs),
  //             blocks: [content blocks of Anthropic's, sent in pieces], finish: a reason in the shape's own word}
  async serve(request, response, body, b) {
    const mode = b.mode ?? 'ok';
    if (mode === 'hang') return;
    if (mode === 'reset') return void request.socket.resetAndDestroy();
    if (mode === 'status') {
      response.writeHead(b.status, { 'content-type': 'application/json', ...b.headers });
      return void response.end(
        JSON.stringify(b.error ?? { error: { message: `simulated ${b.status}`, type: 'simulated_error' } }),
      );
    }
    if (mode === 'html') {
      response.writeHead(200, { 'content-type': 'text/html' });
      return void response.end('<html>not an API</html>');
    }
    if (request.url.endsWith('/count_tokens')) {
      response.writeHead(200, { 'content-type': 'application/json', ...b.headers });
      return void response.end(JSON.stringify({ input_tokens: b.usage?.input ?? 7 }));
    }
    if (b.delay) await sleep(b.delay);
    if (response.destroyed) return;
    if (mode === 'long-length' || mode === 'short-length') return this.lieAboutLength(request, body, mode);
    const ollama = request.url.startsWith('/api/');
    const whole = b.streams ? undefined : wholeAnswer(request, body, b);
    const type = whole ? 'application/json' : ollama ? 'application/x-ndjson' : 'text/event-stream';
    response.writeHead(200, { 'content-type': type, ...b.headers });
    if (mode === 'reset-after-headers') {
      response.flushHeaders();
      await sleep(20);
      return void request.socket.resetAndDestroy();
    }
    if (mode === 'giant') {
      response.write(`data: {"choices":[{"delta":{"content":"${'x'.repeat(5 << 20)}`);
      return void response.end('"}}]}\n\n');
    }
    if (mode === 'malformed') return void response.end(`${whole || ollama ? '' : 'data: '}{"choices":[{"delta":{"content":"x"}\n\n`);
    const write = async (piece, paced = false) => {
      if (paced && b.gap) await sleep(b.gap);
      if (response.destroyed) throw new Error('client left');
      if (mode === 'split')
        for (let i = 0; i < Buffer.byteLength(piece); i += 3) {
          response.write(Buffer.from(piece).subarray(i, i + 3));
          await sleep(0);
        }
      else if (mode === 'drip')
        for (const byte of Buffer.from(piece)) {
          response.write(Buffer.from([byte]));
          await sleep(0);
        }
      else if (!response.write(piece)) await new Promise((done) => response.once('drain', done).once('close', done));
    };
    if (whole) await this.whole(write, JSON.stringify(whole), b, mode);
    else if (request.url.endsWith('/messages')) await this.anthropic(write, body, b, mode);
    else if (request.url.endsWith(':streamGenerateContent?alt=sse')) await this.gemini(write, request, b, mode);
    else if (ollama) await this.ollama(write, request, body, b, mode);
    else await this.openai(write, body, b, mode);
    if (mode === 'stall') return;
    if (mode === 'broken-mid-stream') return void response.end('data: {"choices":[{"delta":{"content":"x"}\n\n');
    if (mode === 'reset-mid-stream') {
      await sleep(20);
      return void request.socket.resetAndDestroy();
    }
    if (mode === 'truncate') {
      await sleep(20); // what was written is on its way
      return void response.destroy();
    }
    response.end();
  }

  async whole(write, text, b, mode) {
    if (b.gap) await sleep(b.gap * ((b.text?.length ?? 4) - 1));
    await write(partial.has(mode) ? text.slice(0, text.length >> 1) : text);
  }

  // A content-length that is longer or shorter than the answer, written by hand: Node would not send it.
  lieAboutLength(request, body, mode) {
    const answer = JSON.stringify({
      id: 'chatcmpl-sim',
      object: 'chat.completion',
      model: body.model,
      choices: [{ index: 0, message: { role: 'assistant', content: 'a lie' }, finish_reason: 'stop' }],
    });
    const length = Buffer.byteLength(answer) + (mode === 'long-length' ? 1000 : -20);
    request.socket.end(
      `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n${answer}`,
    );
  }

  async openai(write, body, b, mode) {
    const text = b.text ?? ['Hello', ' from', ' the', ' cloud'];
    const usage = b.usage ?? { input: 7, output: text.length, cached: 0 };
    const chunk = (delta, finish = null) =>
      `data: ${JSON.stringify({
        id: 'chatcmpl-sim',
        object: 'chat.completion.chunk',
        created: 1,
        model: body.model,
        choices: [{ index: 0, delta, finish_reason: finish }],
      })}\n\n`;
    await write(chunk({ role: 'assistant', content: '' }));
    let paced = false; // the first piece comes at once
    for (const piece of text) {
      await write(chunk({ content: piece }), paced);
      paced = true;
    }
    if (partial.has(mode)) return;
    let index = 0;
    for (const tool of b.tools ?? []) {
      await write(
        chunk({ tool_calls: [{ index, id: tool.id, type: 'function', function: { name: tool.name, arguments: '' } }] }),
      );
      for (const piece of tool.arguments) await write(chunk({ tool_calls: [{ index, function: { arguments: piece } }] }));
      index++;
    }
    await write(chunk({}, b.finish ?? (b.tools ? 'tool_calls' : 'stop')));
    if (body.stream_options?.include_usage)
      await write(
        `data: ${JSON.stringify({
          id: 'chatcmpl-sim',
          object: 'chat.completion.chunk',
          created: 1,
          model: body.model,
          choices: [],
          usage: {
            prompt_tokens: usage.input,
            completion_tokens: usage.output,
            total_tokens: usage.input + usage.output,
            prompt_tokens_details: { cached_tokens: usage.cached ?? 0 },
          },
        })}\n\n`,
      );
    await write('data: [DONE]\n\n');
  }

  async anthropic(write, body, b, mode) {
    const text = b.text ?? ['Hello', ' from', ' the', ' cloud'];
    const usage = b.usage ?? { input: 7, output: text.length, cached: 0 };
    const event = (data, paced) => write(`event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`, paced);
    await event({
      type: 'message_start',
      message: {
        id: 'msg_sim',
        type: 'message',
        role: 'assistant',
        model: body.model,
        content: [],
        stop_reason: null,
        usage: {
          input_tokens: usage.input,
          cache_read_input_tokens: usage.cached ?? 0,
          cache_creation_input_tokens: usage.written ?? 0,
          output_tokens: usage.begun ?? 1,
        },
      },
    });
    await event({ type: 'ping' });
    if (b.blocks) {
      let at = 0;
      for (const block of b.blocks) await this.anthropicBlock(event, block, at++);
      await this.anthropicEnd(event, b.finish ?? 'end_turn', usage);
      return;
    }
    await event({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } });
    let paced = false;
    for (const piece of text) {
      await event({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: piece } }, paced);
      paced = true;
    }
    if (partial.has(mode)) return;
    await event({ type: 'content_block_stop', index: 0 });
    let index = 1;
    for (const tool of b.tools ?? []) {
      await event({
        type: 'content_block_start',
        index,
        content_block: { type: 'tool_use', id: tool.id, name: tool.name, input: {} },
      });
      for (const piece of tool.arguments)
        await event({ type: 'content_block_delta', index, delta: { type: 'input_json_delta', partial_json: piece } });
      await event({ type: 'content_block_stop', index });
      index++;
    }
    await this.anthropicEnd(event, b.finish ?? (b.tools ? 'tool_use' : 'end_turn'), usage);
  }

  async anthropicEnd(event, stop_reason, usage) {
    await event({
      type: 'message_delta',
      delta: { stop_reason, stop_sequence: null },
      ...(usage.untold ? {} : { usage: { output_tokens: usage.output } }),
    });
    await event({ type: 'message_stop' });
  }

  // A block as Anthropic streams it: begun empty, then its text, thought, signature or input in two halves.
  async anthropicBlock(event, block, index) {
    const { thinking, signature, text, citations, ...rest } = block;
    const begun = { ...rest };
    const deltas = [];
    const halves = (s) => [s.slice(0, s.length >> 1), s.slice(s.length >> 1)];
    if (text !== undefined) {
      begun.text = '';
      if (citations) begun.citations = [];
      for (const half of halves(text)) deltas.push({ type: 'text_delta', text: half });
      for (const citation of citations ?? []) deltas.push({ type: 'citations_delta', citation });
    } else if (thinking !== undefined) {
      Object.assign(begun, { thinking: '', signature: '' });
      for (const half of halves(thinking)) deltas.push({ type: 'thinking_delta', thinking: half });
      deltas.push({ type: 'signature_delta', signature });
    } else if (rest.input) {
      begun.input = {};
      for (const half of halves(JSON.stringify(rest.input))) deltas.push({ type: 'input_json_delta', partial_json: half });
    }
    await event({ type: 'content_block_start', index, content_block: begun });
    for (const delta of deltas) await event({ type: 'content_block_delta', index, delta });
    await event({ type: 'content_block_stop', index });
  }

  async gemini(write, request, b, mode) {
    const text = b.text ?? ['Hello', ' from', ' the', ' cloud'];
    const usage = b.usage ?? { input: 7, output: text.length, cached: 0 };
    const modelVersion = /models\/([^:]+):/.exec(request.url)[1];
    const event = (candidate, usageMetadata, paced) =>
      write(
        `data: ${JSON.stringify({ candidates: [{ ...candidate, index: 0 }], usageMetadata, modelVersion, responseId: 'sim' })}\r\n\r\n`,
        paced,
      );
    let paced = false;
    for (const piece of text) {
      await event({ content: { parts: [{ text: piece }], role: 'model' } }, { promptTokenCount: usage.input }, paced);
      paced = true;
    }
    if (partial.has(mode)) return;
    const parts = (b.tools ?? []).map((tool) => ({
      functionCall: { id: tool.id, name: tool.name, args: JSON.parse(tool.arguments.join('')) },
    }));
    if (parts.length) await event({ content: { parts, role: 'model' } }, { promptTokenCount: usage.input });
    await event(
      { content: { parts: [{ text: '' }], role: 'model' }, finishReason: b.finish ?? 'STOP' },
      {
        promptTokenCount: usage.input,
        cachedContentTokenCount: usage.cached ?? 0,
        candidatesTokenCount: usage.output,
        totalTokenCount: usage.input + usage.output,
      },
    );
  }

  async ollama(write, request, body, b, mode) {
    const text = b.text ?? ['Hello', ' from', ' the', ' cloud'];
    const usage = b.usage ?? { input: 7, output: text.length, cached: 0 };
    const chat = request.url === '/api/chat';
    const line = (words, more = {}, paced = false) =>
      write(
        `${JSON.stringify({
          model: body.model,
          created_at: '2026-11-20T12:00:00.123456789Z',
          ...(chat
            ? { message: { role: 'assistant', content: words.content ?? '', ...words } }
            : { response: words.content ?? '', thinking: words.thinking }),
          done: false,
          ...more,
        })}\n`,
        paced,
      );
    for (const thinking of b.thinking ?? []) await line({ thinking });
    let paced = false;
    for (const content of text) {
      await line({ content }, {}, paced);
      paced = true;
    }
    if (mode === 'truncate') return;
    for (const [index, tool] of (b.tools ?? []).entries())
      await line({
        tool_calls: [{ id: tool.id, function: { index, name: tool.name, arguments: JSON.parse(tool.arguments.join('')) } }],
      });
    await line(
      {},
      {
        done: true,
        done_reason: b.finish ?? 'stop',
        total_duration: 5e6,
        load_duration: 1e6,
        prompt_eval_count: usage.input,
        prompt_eval_duration: 2e6,
        eval_count: usage.output,
        eval_duration: 2e6,
      },
    );
  }

  async stop() {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((done) => this.server.close(done));
  }
}
