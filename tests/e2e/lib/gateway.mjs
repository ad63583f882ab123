// Starts and stops a real gateway for a test: its own folder, configuration, state and port.
import { spawn, execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export const root = resolve(new URL('../../..', import.meta.url).pathname);
export const build = resolve(root, process.env.WEIR_BUILD ?? 'build');
export const weir = join(build, 'weir');
export const shared = process.env.WEIR_SHARED ?? resolve(root, '../shared');
export const long = !!process.env.WEIR_LONG;

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// A small model with random weights: its words mean nothing, but everything about it is real.
export function makeModel(folder, name = 'tiny.gguf', args = []) {
  const file = join(folder, name);
  execFileSync(join(build, 'tools', 'gguf_make'), [file, ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
  return file;
}

export function makeFolder() {
  return mkdtempSync(join(tmpdir(), 'weir-e2e-'));
}

export class Gateway {
  // `config` is the YAML without `listen` and `state`; env is added to a nearly empty environment.
  // `under`: a command that runs it, as ['prlimit', '--nofile=96'].
  static async start(config, { folder = makeFolder(), env = {}, args = [], wait = true, keep = false, state, under = [] } = {}) {
    const g = new Gateway();
    g.folder = folder;
    g.keep = keep;
    g.config = join(folder, 'weir.yaml');
    g.state = join(folder, 'weir.db');
    g.stateUrl = state ?? `sqlite:${g.state}`; // `state`: another one, as postgresql://...
    writeFileSync(g.config, `listen: 127.0.0.1:0\nstate: ${g.stateUrl}\n${config}`);
    g.log = '';
    g.out = '';
    const pass = {};
    for (const name of ['ASAN_OPTIONS', 'LSAN_OPTIONS', 'UBSAN_OPTIONS', 'TSAN_OPTIONS', 'WEIR_ISA'])
      if (process.env[name]) pass[name] = process.env[name];
    const [program, ...line] = [...under, weir, 'serve', '--config', g.config, ...args];
    g.process = spawn(program, line, {
      cwd: folder,
      env: { PATH: process.env.PATH, ...pass, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    g.exited = new Promise((done) => {
      g.process.on('exit', (code, signal) => done({ code, signal }));
      g.process.on('error', (e) => done({ error: e.message })); // it isn't there, or may not be run
    });
    g.process.stderr.on('data', (d) => (g.log += d));
    if (process.env.WEIR_SHOW_LOG) g.process.stderr.pipe(process.stderr);
    g.url = await new Promise((done, fail) => {
      g.process.stdout.on('data', (d) => {
        g.out += d;
        const found = /weir \S+ is at (\S+)/.exec(g.out);
        if (found) done(found[1]);
      });
      g.exited.then((how) => fail(new Error(`the gateway ended at once: ${JSON.stringify(how)}\n${g.log}`)));
    });
    g.port = Number(new URL(g.url).port);
    if (wait) await g.enginesUp();
    return g;
  }

  // Waits until no embedded engine is still starting.
  async enginesUp(ms = 60000) {
    const until = Date.now() + ms;
    for (;;) {
      const { body } = await this.get('/readyz');
      if (!Object.values(body.models).includes('starting')) return body;
      if (Date.now() > until) throw new Error(`engines do not come up: ${JSON.stringify(body)}\n${this.log}`);
      await sleep(25);
    }
  }

  async get(path, headers = {}) {
    const r = await fetch(this.url + path, { headers });
    const text = await r.text();
    let body = text;
    try {
      body = JSON.parse(text);
    } catch {
      // not JSON: the text itself
    }
    return { status: r.status, headers: r.headers, body };
  }

  async post(path, body, headers = {}, options = {}) {
    const r = await fetch(this.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
      ...options,
    });
    const text = await r.text();
    let parsed = text;
    try {
      parsed = JSON.parse(text);
    } catch {
      // a stream: the text itself
    }
    return { status: r.status, headers: r.headers, body: parsed };
  }

  chat(model, content, more = {}, headers = {}, options = {}) {
    const messages = Array.isArray(content) ? content : [{ role: 'user', content }];
    return this.post('/v1/chat/completions', { model, messages, ...more }, headers, options);
  }

  // Rows of `weir audit WHAT --json`.
  audit(what) {
    const text = execFileSync(weir, ['audit', what, '--json', '--state', `sqlite:${this.state}`], {
      maxBuffer: 1 << 28,
    }).toString();
    return text.split('\n').filter(Boolean).map((line) => JSON.parse(line));
  }

  // Process ids of the workers.
  workers() {
    try {
      return execFileSync('pgrep', ['-P', String(this.process.pid), 'weir-engine'])
        .toString()
        .split('\n')
        .filter(Boolean)
        .map(Number);
    } catch {
      return [];
    }
  }

  async stop(signal = 'SIGTERM', ms = 40000) {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill(signal);
    let timer;
    const late = new Promise((done) => (timer = setTimeout(done, ms, null)));
    const how = await Promise.race([this.exited, late]);
    clearTimeout(timer);
    if (!how) {
      this.process.kill('SIGKILL');
      throw new Error(`the gateway did not stop on ${signal}\n${this.log}`);
    }
    // A sanitizer's report is a failure wherever it comes from; so is an end that was not asked for.
    const report = /(AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|a loop ends before)[^]*/.exec(this.log);
    if (report) throw new Error(report[0].slice(0, 4000));
    if (signal === 'SIGTERM' && how.code !== 0) throw new Error(`the gateway ended with ${JSON.stringify(how)}\n${this.log}`);
    if (!this.keep) rmSync(this.folder, { recursive: true, force: true });
    return how;
  }
}

// The data of each server-sent event of a text.
export function events(text) {
  return text
    .split('\n\n')
    .filter((block) => block.startsWith('data: '))
    .map((block) => block.slice(6))
    .map((data) => (data === '[DONE]' ? data : JSON.parse(data)));
}

export function streamedText(text) {
  return events(text)
    .filter((e) => e !== '[DONE]' && e.choices?.length)
    .map((e) => e.choices[0].delta?.content ?? '')
    .join('');
}

export const dreams = join(shared, 'models', 'dreams.gguf');
export const hasDreams = existsSync(dreams);
