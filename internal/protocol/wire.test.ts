/** Real git clients against the encoders and parsers alone: a server of a few lines answers what a test tells it to. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import type { ObjectFormat } from '../object/mod.ts';
import { FLUSH } from '../pktline/mod.ts';
import {
  type AdvertisedRef,
  encodeError,
  encodeLsRefs,
  encodeReceivePackAdvertisement,
  encodeReport,
  encodeUploadPackAdvertisement,
  encodeV2Advertisement,
  type ProtocolLimits,
  parseV0Request,
  parseV2Request,
  type ReceiveRequest,
  ReceiveRequestParser,
  type V0Request,
  type V2FetchRequest,
} from './mod.ts';

const LIMITS: ProtocolLimits = {
  commandsMax: 100,
  commandBytesMax: 1 << 20,
  refNameBytesMax: 1000,
  pushOptionsMax: 10,
  wantsMax: 100,
  havesMax: 100,
  shallowsMax: 100,
  refPrefixesMax: 100,
  objectInfosMax: 100,
  serverOptionsMax: 10,
  deepenNotMax: 10,
  filterBytesMax: 1000,
  filterDepthMax: 4,
};
const SERVER = { agent: 'packhouse/test', sessionId: 'session-1' };
const A = 'a'.repeat(40);
const B = 'b'.repeat(40);
const REFS: readonly AdvertisedRef[] = [
  { name: 'refs/heads/main', oid: A, peeled: null },
  { name: 'refs/tags/v1', oid: B, peeled: A },
];
const HEAD = { target: 'refs/heads/main', oid: A };

type Answer = (request: IncomingMessage, body: Buffer) => Buffer;

let server: Server;
let answer: Answer;
let url: string;
let home: string;

async function git(args: readonly string[], options: { readonly fails?: boolean } = {}): Promise<string> {
  const run = promisify(execFile)('git', args, {
    cwd: home,
    env: { PATH: process.env.PATH, HOME: home, GIT_CONFIG_NOSYSTEM: '1', GIT_TERMINAL_PROMPT: '0', LC_ALL: 'C' },
  });
  if (options.fails !== true) return (await run).stdout;
  return run.then(
    () => assert.fail(`git ${args.join(' ')} was to fail`),
    (error: { stderr: string }) => error.stderr,
  );
}

async function commitIn(folder: string, format: ObjectFormat): Promise<string> {
  await git(['init', '-q', '-b', 'main', `--object-format=${format}`, folder]);
  const who = ['-c', 'user.name=n', '-c', 'user.email=e@example.org'];
  await git([...who, '-C', folder, 'commit', '-q', '--allow-empty', '-m', 'one']);
  return (await git(['-C', folder, 'rev-parse', 'HEAD'])).trim();
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const bytes = answer(request, Buffer.concat(chunks));
  const path = new URL(request.url ?? '', 'http://localhost');
  const service = path.searchParams.get('service');
  const type = service === null ? `${path.pathname.split('/').pop()}-result` : `${service}-advertisement`;
  response.writeHead(200, { 'content-type': `application/x-${type}` }).end(bytes);
}

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'wire-'));
  server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => response.writeHead(500).end(String(error)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/repo.git`;
});

after(async () => {
  server.close();
  await rm(home, { recursive: true, force: true });
});

describe('git reads advertisements', () => {
  const shown = [
    `ref: refs/heads/main\tHEAD`,
    `${A}\tHEAD`,
    `${A}\trefs/heads/main`,
    `${B}\trefs/tags/v1`,
    `${A}\trefs/tags/v1^{}`,
    '',
  ].join('\n');

  for (const version of [0, 1] as const) {
    it(`of version ${version}: HEAD, its symref and peeled tags`, async () => {
      answer = () => encodeUploadPackAdvertisement({ ...SERVER, version, format: 'sha1', refs: REFS, head: HEAD });
      assert.equal(await git(['-c', `protocol.version=${version}`, 'ls-remote', '--symref', url]), shown);
    });
  }

  it('of version 2, and asks ls-refs with the prefixes it wants', async () => {
    answer = (request, body) => {
      if (request.method === 'GET') return encodeV2Advertisement({ ...SERVER, format: 'sha1' });
      const asked = parseV2Request(body, { format: 'sha1', limits: LIMITS });
      assert.ok(asked.command === 'ls-refs' && asked.agent?.startsWith('git/'));
      return encodeLsRefs({ refs: REFS, head: HEAD }, asked);
    };
    assert.equal(await git(['ls-remote', '--symref', url]), shown);
    assert.equal(await git(['ls-remote', url, 'refs/tags/v1']), `${B}\trefs/tags/v1\n`);
  });

  for (const format of ['sha1', 'sha256'] as const) {
    it(`of an empty ${format} repository, which it clones; version 2 tells it the unborn branch`, async () => {
      const head = { target: 'refs/heads/trunk', oid: null };
      for (const version of [0, 2]) {
        answer = (request, body) => {
          if (version === 0) return encodeUploadPackAdvertisement({ ...SERVER, version, format, refs: [], head });
          if (request.method === 'GET') return encodeV2Advertisement({ ...SERVER, format });
          const asked = parseV2Request(body, { format, limits: LIMITS });
          assert.ok(asked.command === 'ls-refs');
          return encodeLsRefs({ refs: [], head }, asked);
        };
        const folder = `empty-${format}-${version}`;
        // Clients up to 2.40 make such a clone a SHA-1 repository, whatever is advertised.
        await git(['-c', `protocol.version=${version}`, 'clone', '-q', url, folder]);
        if (version === 2) assert.equal(await git(['-C', folder, 'symbolic-ref', 'HEAD']), 'refs/heads/trunk\n');
      }
    });
  }
});

describe('git pushes', () => {
  for (const format of ['sha1', 'sha256'] as const) {
    for (const advertised of [format, 'either'] as const) {
      it(`from a ${format} repository to one that is ${advertised}, and reads the report`, async () => {
        const folder = `push-${format}-${advertised}`;
        const tip = await commitIn(folder, format);
        let taken: { request: ReceiveRequest; rest: Buffer } | undefined;
        answer = (request, body) => {
          if (request.method === 'GET')
            return encodeReceivePackAdvertisement({ ...SERVER, version: 0, format: advertised, refs: [] });
          const parser = new ReceiveRequestParser({ format: advertised === 'either' ? null : format, limits: LIMITS });
          const pushed = parser.push(body);
          assert.ok(pushed);
          taken = { request: pushed, rest: parser.rest() };
          const refs = pushed.commands.map(({ ref }) => ({ ref, error: ref.endsWith('main') ? null : 'not today' }));
          return Buffer.concat([encodeReport({ unpack: 'ok', refs }, { version: 2, sideband: pushed.sideband }), FLUSH]);
        };
        const told = await git(['-C', folder, 'push', '-o', 'a=b', url, 'HEAD:refs/heads/main', 'HEAD:refs/heads/no'], {
          fails: true,
        });
        assert.match(told, /HEAD -> main/);
        assert.match(told, /\[remote rejected\] HEAD -> no \(not today\)/);
        const zero = '0'.repeat(tip.length);
        assert.deepEqual(taken?.request.commands, [
          { old: zero, new: tip, ref: 'refs/heads/main' },
          { old: zero, new: tip, ref: 'refs/heads/no' },
        ]);
        assert.deepEqual([taken.request.format, taken.request.reportStatus, taken.request.sideband], [format, 2, true]);
        assert.deepEqual(taken.request.pushOptions, ['a=b']);
        assert.equal(taken.rest.toString('latin1', 0, 4), 'PACK');
      });
    }
  }

  it('only deletions without a pack', async () => {
    await commitIn('delete', 'sha1');
    let rest: Buffer | undefined;
    answer = (request, body) => {
      if (request.method === 'GET') return encodeReceivePackAdvertisement({ ...SERVER, version: 1, format: 'sha1', refs: REFS });
      const parser = new ReceiveRequestParser({ format: 'sha1', limits: LIMITS });
      const pushed = parser.push(body);
      rest = parser.rest();
      assert.equal(pushed?.expectsPack, false);
      return Buffer.concat([
        encodeReport({ unpack: 'ok', refs: [{ ref: 'refs/tags/v1', error: null }] }, { version: 2, sideband: true }),
        FLUSH,
      ]);
    };
    await git(['-c', 'protocol.version=1', '-C', 'delete', 'push', '-q', url, ':refs/tags/v1']);
    assert.equal(rest?.length, 0);
  });
});

describe('git fetches', () => {
  it('by requests that are read in full, and shows the error it gets (version 2)', async () => {
    const tip = await commitIn('fetch-2', 'sha1');
    let asked: V2FetchRequest | undefined;
    answer = (request, body) => {
      if (request.method === 'GET') return encodeV2Advertisement({ ...SERVER, format: 'sha1' });
      const parsed = parseV2Request(body, { format: 'sha1', limits: LIMITS });
      if (parsed.command === 'ls-refs') return encodeLsRefs({ refs: REFS, head: HEAD }, parsed);
      assert.ok(parsed.command === 'fetch');
      asked = parsed;
      return encodeError(`upload-pack: not our ref ${A}`);
    };
    const options = ['--depth=3', '--filter=blob:limit=1k', '--server-option=x'];
    const told = await git(['-C', 'fetch-2', 'fetch', ...options, url, 'refs/heads/main'], { fails: true });
    assert.match(told, /remote error: upload-pack: not our ref a{40}/);
    assert.ok(asked);
    assert.deepEqual([asked.wants, asked.wantRefs], [[A], []]);
    assert.deepEqual(asked.haves, [tip]);
    assert.deepEqual(
      [asked.deepen.depth, asked.filter, asked.serverOptions],
      [3, { kind: 'blob:limit', limitBytes: 1024 }, ['x']],
    );
    assert.ok(asked.thinPack && asked.ofsDelta);
  });

  it('by requests that are read in full (version 0)', async () => {
    await commitIn('fetch-0', 'sha1');
    let asked: V0Request | undefined;
    answer = (request, body) => {
      if (request.method === 'GET')
        return encodeUploadPackAdvertisement({ ...SERVER, version: 0, format: 'sha1', refs: REFS, head: HEAD });
      asked = parseV0Request(body, { format: 'sha1', limits: LIMITS });
      return encodeError('no more today');
    };
    const command = [
      '-c',
      'protocol.version=0',
      '-C',
      'fetch-0',
      'fetch',
      '--shallow-since=2001-01-01',
      '--filter=tree:0',
      url,
      'main',
    ];
    assert.match(await git(command, { fails: true }), /remote error: no more today/);
    assert.ok(asked);
    assert.deepEqual(
      [asked.wants, asked.multiAck, asked.sidebandPayloadBytes, asked.noDone],
      [[A], 'multi_ack_detailed', 65515, true],
    );
    assert.deepEqual(asked.filter, { kind: 'tree', depth: 0 });
    assert.ok(asked.deepen.since !== null && asked.deepen.since > 978_000_000 && asked.deepen.depth === 0);
  });
});
