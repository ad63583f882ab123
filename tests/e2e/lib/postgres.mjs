// A real PostgreSQL for a test, on a socket of its own; null where none is installed.
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const versions = '/usr/lib/postgresql';

export class Postgres {
  static start() {
    if (!existsSync(versions)) return null;
    const p = new Postgres();
    p.bin = join(versions, readdirSync(versions).sort().at(-1), 'bin');
    p.folder = mkdtempSync(join(tmpdir(), 'weir-pg-'));
    chmodSync(p.folder, 0o777); // PostgreSQL refuses to run as root
    p.run('initdb', '-D', `${p.folder}/data`, '-U', 'weir', '--auth=trust', '--no-sync', '-E', 'UTF8', '--locale=C');
    p.go();
    p.url = `postgresql:///postgres?host=${p.folder}&user=weir`;
    return p;
  }

  run(program, ...args) {
    const who = process.getuid() === 0 ? { uid: 65534, gid: 65534 } : {};
    execFileSync(join(this.bin, program), args, { stdio: 'ignore', cwd: '/', ...who });
  }

  go() {
    this.run('pg_ctl', '-D', `${this.folder}/data`, '-w', '-t', '60', '-l', `${this.folder}/log`, '-o', `-k ${this.folder} -c listen_addresses='' -c fsync=off`, 'start');
  }

  halt() {
    this.run('pg_ctl', '-D', `${this.folder}/data`, '-w', '-m', 'immediate', 'stop');
  }

  stop() {
    this.halt();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
