// A client that says exactly what a test wants it to say.
import net from 'node:net';

// Sends pieces (strings or buffers; numbers are pauses in ms), collects what comes back until the server closes or
// `ms` have passed. `end`: close our sending side after the last piece.
export function raw(port, pieces, { end = false, ms = 5000, until } = {}) {
  return new Promise((done) => {
    const socket = net.connect(port, '127.0.0.1');
    let text = '';
    let closed = false;
    const finish = () => {
      clearTimeout(timer);
      socket.destroy();
      done({ text, closed });
    };
    const timer = setTimeout(finish, ms);
    socket.on('data', (d) => {
      text += d.toString('latin1');
      if (until && text.includes(until)) finish();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      closed = true;
      finish();
    });
    socket.on('connect', async () => {
      for (const piece of pieces) {
        if (typeof piece === 'number') await new Promise((r) => setTimeout(r, piece));
        else if (!socket.destroyed) socket.write(piece);
      }
      if (end) socket.end();
    });
  });
}

export const get = (path, headers = '') => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`;

export function post(path, body, headers = '') {
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(body);
  return Buffer.concat([
    Buffer.from(
      `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${bytes.length}\r\n${headers}\r\n`,
    ),
    bytes,
  ]);
}

export const status = (text) => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]);
