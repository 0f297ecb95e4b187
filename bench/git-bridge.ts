/**
 * `git http-backend` behind an HTTP server on loopback: `node git-bridge.ts ROOT` prints its URL. Run by the benchmark as a process of its
 * own, so that its CPU can be told from that of git. Loopback only and for trusted requests: it checks nothing.
 *
 * Repositories `ROOT/OWNER/NAME.git` are made on the first push, with what an expert would set: bitmaps, commit graph, no gc in the middle
 * of a push. Everything else is git's default, syncs to disk included.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';

const SETTINGS = [
  'http.receivepack=true',
  'uploadpack.allowFilter=true',
  'uploadpack.allowAnySHA1InWant=true',
  'receive.autogc=false',
  'gc.auto=0',
  'repack.writeBitmaps=true',
  'pack.writeBitmapHashCache=true',
  'core.commitGraph=true',
  'gc.writeCommitGraph=true',
];
const HEAD_BYTES_MAX = 65_536;
/** An answer up to this size is sent with its length. */
const GATHER_BYTES_MAX = 32_768;

const root = process.argv[2] ?? '';
const environment = { ...process.env, GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null', HOME: root, LC_ALL: 'C' };

const server = createServer((incoming, outgoing) => {
  serve(incoming, outgoing).catch((error: unknown) => {
    process.stderr.write(`git-bridge: ${incoming.url}: ${String(error)}\n`);
    outgoing.destroy();
  });
});
server.requestTimeout = 0;
server.keepAliveTimeout = 600_000;
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') process.stdout.write(`http://127.0.0.1:${address.port}\n`);
});

async function serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const [path = '', query = ''] = (incoming.url ?? '').split('?', 2) as [string, string?];
  const repository = /^\/([\w-]+\/[\w-]+\.git)\//.exec(path)?.[1];
  if (repository === undefined) {
    outgoing.writeHead(404).end();
    return;
  }
  if (/receive-pack/.test(incoming.url ?? '')) makeRepository(join(root, repository));
  const { headers } = incoming;
  const child = spawn('git', ['http-backend'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      ...environment,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      PATH_INFO: path,
      QUERY_STRING: query,
      REQUEST_METHOD: incoming.method ?? '',
      REMOTE_ADDR: '127.0.0.1',
      CONTENT_TYPE: headers['content-type'] ?? '',
      ...(headers['content-length'] === undefined ? {} : { CONTENT_LENGTH: headers['content-length'] }),
      HTTP_CONTENT_ENCODING: headers['content-encoding'] ?? '',
      GIT_PROTOCOL: String(headers['git-protocol'] ?? ''),
    },
  });
  child.stdin.on('error', () => undefined); // git may answer without reading to the end
  incoming.pipe(child.stdin);
  await relay(child.stdout, outgoing);
}

/** CGI's header lines (RFC 3875) to HTTP's, then the body as it comes. */
async function relay(stdout: AsyncIterable<Buffer>, outgoing: ServerResponse): Promise<void> {
  let waiting: Buffer = Buffer.alloc(0);
  let bodyAt = -1;
  let streaming = false;
  for await (const chunk of stdout) {
    if (streaming) {
      if (!outgoing.write(chunk)) await new Promise((resolve) => outgoing.once('drain', resolve));
      continue;
    }
    waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk]);
    if (bodyAt < 0) bodyAt = readHead(waiting, outgoing);
    if (bodyAt >= 0 && waiting.length - bodyAt > GATHER_BYTES_MAX) {
      streaming = true;
      outgoing.write(waiting.subarray(bodyAt));
    }
  }
  if (bodyAt < 0) throw new Error('git http-backend sent no header');
  if (streaming) {
    outgoing.end();
  } else {
    outgoing.setHeader('Content-Length', waiting.length - bodyAt);
    outgoing.end(waiting.subarray(bodyAt));
  }
}

/** Sets status and headers; where the body starts, or -1 while the head is not complete. */
function readHead(bytes: Buffer, outgoing: ServerResponse): number {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) {
    if (bytes.length > HEAD_BYTES_MAX) throw new Error('git http-backend sent an endless header');
    return -1;
  }
  for (const line of bytes.toString('latin1', 0, end).split('\r\n')) {
    const colon = line.indexOf(':');
    const [name, value] = [line.slice(0, colon), line.slice(colon + 1).trim()];
    if (name.toLowerCase() === 'status') outgoing.statusCode = Number.parseInt(value, 10);
    else outgoing.setHeader(name, value);
  }
  return end + 4;
}

function makeRepository(folder: string): void {
  if (existsSync(folder)) return;
  const settings = SETTINGS.flatMap((setting) => ['-c', setting]);
  execFileSync('git', [...settings, 'init', '-q', '--bare', '--template=', '-b', 'main', folder], { env: environment });
  for (const setting of SETTINGS) {
    const [key = '', value = ''] = setting.split('=');
    execFileSync('git', ['-C', folder, 'config', key, value], { env: environment });
  }
}
