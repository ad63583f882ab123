// A model hub on loopback that speaks Hugging Face's and Ollama's protocols: an origin that knows who asks, and a
// store of blobs at another address that the origin sends on to, with byte ranges. It fails in every way it is told to.
import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';

export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
export const commit = 'c0ffee'.padEnd(40, '0');

const listen = async (server) => {
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return `http://127.0.0.1:${server.address().port}`;
};

export class Hub {
  // files: {path: Buffer} of the repository owner/repo; `fault(request, url, n)` may answer itself: true, or
  // give {cut: bytes, status, headers, lie: {...}} for the n-th blob request
  static async start(files) {
    const h = new Hub();
    h.files = files;
    h.asked = []; // {where, url, range, authorization}
    h.sent = 0; // bytes of blobs
    h.fault = () => null;
    h.blobs = http.createServer((q, r) => h.blob(q, r));
    h.origin = http.createServer((q, r) => h.index(q, r));
    h.blobsUrl = await listen(h.blobs);
    h.url = await listen(h.origin);
    return h;
  }

  note(where, q) {
    this.asked.push({ where, url: q.url, range: q.headers.range, authorization: q.headers.authorization });
  }

  index(q, r) {
    this.note('origin', q);
    const json = (body, status = 200, headers = {}) => {
      r.writeHead(status, { 'content-type': 'application/json', ...headers });
      r.end(JSON.stringify(body));
    };
    if (this.private && q.headers.authorization !== `Bearer ${this.private}`) return json({ error: 'who?' }, 401);
    if (q.url === '/api/models/owner/repo/refs') return json({ branches: [{ name: 'other', targetCommit: 'x' }, { name: 'main', targetCommit: this.commit ?? commit }] });
    const tree = /^\/api\/models\/owner\/repo\/tree\/([^?]+)\?recursive=true(&page=(\d))?$/.exec(q.url);
    if (tree) {
      const entry = ([path, bytes]) => ({ type: 'file', oid: '1'.repeat(40), size: bytes.length, path, lfs: { oid: this.lie?.[path] ?? sha256(bytes), size: bytes.length } });
      const all = Object.entries(this.files).map(entry), half = all.length >> 1;
      if (tree[3] || all.length < 2) return json([{ type: 'directory', path: 'sub' }, { type: 'file', path: 'README.md', size: 3 }, ...all.slice(tree[3] ? half : 0)]);
      return json(all.slice(0, half), 200, { link: `<${this.next ?? `${this.url}${q.url}&page=2`}>; rel="next"` });
    }
    const manifest = /^\/v2\/library\/tiny\/manifests\/(.*)$/.exec(q.url);
    if (manifest) {
      if (manifest[1] !== 'latest' && manifest[1] !== '1b') return json({ errors: [{ code: 'MANIFEST_UNKNOWN' }] }, 404);
      const layer = (type, bytes) => ({ mediaType: `application/vnd.ollama.image.${type}`, digest: this.digest ?? `sha256:${sha256(bytes)}`, size: bytes.length });
      const [model, adapter, template, params, ...more] = Object.values(this.files);
      return json({ schemaVersion: 2, mediaType: q.headers.accept, config: layer('config', Buffer.from('{}')), layers: [...(params ? [layer('template', template), layer('params', params), ...['system', 'messages', 'license', 'license'].slice(0, more.length).map((type, i) => layer(type, more[i]))] : []), layer('adapter', adapter), layer('model', model)] });
    }
    const resolve = /^\/owner\/repo\/resolve\/[0-9a-f]{40}\/(.*)$/.exec(q.url), blob = /^\/v2\/library\/tiny\/blobs\/sha256:(.*)$/.exec(q.url);
    if (resolve || blob) {
      const bytes = resolve ? this.files[decodeURIComponent(resolve[1])] : Object.values(this.files).find((b) => sha256(b) === blob[1]);
      if (!bytes) return json({}, 404);
      r.writeHead(302, { location: this.to?.(bytes) ?? `${this.blobsUrl}/blob/${sha256(bytes)}?signed=%2Fyes` });
      return r.end();
    }
    json({}, 404);
  }

  async blob(q, r) {
    this.note('blobs', q);
    const bytes = Object.values(this.files).find((b) => q.url.includes(sha256(b)));
    const fault = this.fault(q, this.asked.filter((a) => a.where === 'blobs').length) ?? {};
    if (fault.hang) return;
    if (fault.status) {
      r.writeHead(fault.status, fault.headers ?? {});
      return r.end('simulated');
    }
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(q.headers.range ?? '').map(Number);
    let part = bytes.subarray(from, to + 1);
    if (fault.wrong) part = randomBytes(part.length);
    r.writeHead(206, {
      'content-range': fault.range ?? `bytes ${from}-${to}/${bytes.length}`,
      'content-length': fault.more ? part.length + 1000 : part.length,
    });
    const end = fault.cut ?? part.length;
    for (let at = 0; at < end; at += 65536) {
      const piece = part.subarray(at, Math.min(at + 65536, end));
      this.sent += piece.length;
      if (!r.write(piece)) await new Promise((done) => r.once('drain', done).once('close', done));
      if (r.destroyed) return;
      if (fault.slow) await new Promise((done) => setTimeout(done, fault.slow));
    }
    if (fault.more) return void r.end(Buffer.alloc(1000));
    if (fault.cut !== undefined) return void setTimeout(() => r.destroy(), 20);
    r.end();
  }

  async stop() {
    for (const s of [this.origin, this.blobs]) {
      s.closeAllConnections();
      await new Promise((done) => s.close(done));
    }
  }
}
