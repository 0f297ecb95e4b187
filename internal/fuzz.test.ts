/**
 * Every decoder of bytes from outside is given what real clients and tools write, mutated. Formats that take a repository or a server to
 * be made have tests of their own: `*-fuzz.test.ts` in their rooms.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { CONFIG_KEYS, ConfigError, environmentVariable, loadConfig } from './config/mod.ts';
import type { ObjectFormat } from './object/mod.ts';
import {
  applyDelta,
  applyDeltaInto,
  createDelta,
  DeltaCopies,
  decodeIdx,
  encodeIdx,
  indexForDelta,
  readDeltaSizes,
} from './packformat/mod.ts';
import { type Packet, PktReader } from './pktline/mod.ts';
import {
  isPushableRefName,
  parseFilterSpec,
  parseV0Request,
  parseV2Request,
  type ReceiveRequest,
  ReceiveRequestParser,
} from './protocol/mod.ts';
import {
  DELIM_PACKET,
  FLUSH_PACKET,
  fetchCommand,
  fuzz,
  mutants,
  packet,
  SOUND_PACK,
  scratchFolder,
  seededBytes,
  unlessRefused,
  ZERO_OID,
} from './testkit/mod.ts';

const [A, B] = ['1234567890abcdef1234567890abcdef12345678', 'feedfeedfeedfeedfeedfeedfeedfeedfeedfeed'];
const A64 = `${A}${'0'.repeat(24)}`;
const LIMITS = {
  commandsMax: 20,
  commandBytesMax: 20_000,
  refNameBytesMax: 200,
  pushOptionsMax: 5,
  wantsMax: 8,
  havesMax: 20,
  shallowsMax: 6,
  refPrefixesMax: 5,
  objectInfosMax: 6,
  serverOptionsMax: 4,
  deepenNotMax: 4,
  filterBytesMax: 300,
  filterDepthMax: 4,
};
const CLIENT = 'report-status-v2 side-band-64k object-format=sha1 agent=git/2.39.5 session-id=1.a';

const lines = (...texts: readonly string[]): Buffer[] => texts.map((text) => packet(text));

const PUSHES = [
  [...lines(`${ZERO_OID} ${A} refs/heads/main\0 ${CLIENT}`), FLUSH_PACKET, SOUND_PACK.pack],
  [...lines(`${A} ${B} refs/heads/main\0 atomic quiet ${CLIENT}`, `${A} ${ZERO_OID} refs/tags/v1`), FLUSH_PACKET],
  [
    ...lines(`shallow ${A}`, `${B} ${A} refs/heads/x\0push-options ${CLIENT}`),
    FLUSH_PACKET,
    ...lines('ci.skip', 'topic=a'),
    FLUSH_PACKET,
    SOUND_PACK.pack,
  ],
  [...lines(`${'0'.repeat(64)} ${A64} refs/heads/main\0report-status object-format=sha256`), FLUSH_PACKET],
  [...lines(`${ZERO_OID} ${A} refs/heads/gr\xfcn`), FLUSH_PACKET],
  [FLUSH_PACKET],
].map((parts) => Buffer.concat(parts));

const WANTS = `want ${A} multi_ack_detailed no-done side-band-64k thin-pack include-tag ofs-delta deepen-since deepen-not filter agent=git/2.39.5\n`;
const FETCHES_V0 = [
  [...lines(WANTS, `want ${B}\n`), FLUSH_PACKET, ...lines(`have ${B}\n`), FLUSH_PACKET],
  [...lines(WANTS, `shallow ${B}\n`, 'deepen 3\n', 'filter blob:none\n'), FLUSH_PACKET, ...lines('done\n')],
  [...lines(WANTS, 'deepen-since 1700000000\n', 'deepen-not refs/heads/x\n'), FLUSH_PACKET, ...lines(`have ${A}\n`, 'done\n')],
  [...lines(WANTS), FLUSH_PACKET],
].map((parts) => Buffer.concat(parts));

const command = (name: string, ...args: readonly string[]): Buffer =>
  Buffer.concat([
    ...lines(`command=${name}`, 'agent=git/2.39.5', 'object-format=sha1', 'server-option=a'),
    DELIM_PACKET,
    ...lines(...args),
    FLUSH_PACKET,
  ]);
const FILTERS = ['blob:none', 'blob:limit=1k', 'tree:0', 'object:type=commit', 'sparse:oid=main:f', 'combine:blob:none+tree:3'];
const FETCHES_V2 = [
  command('ls-refs', 'peel', 'symrefs', 'unborn', 'ref-prefix refs/heads/', 'ref-prefix HEAD'),
  command('fetch', 'thin-pack', 'include-tag', 'ofs-delta', `want ${A}\n`, `have ${B}\n`, 'done\n'),
  command(
    'fetch',
    `want ${A}`,
    `shallow ${B}`,
    'deepen 1',
    'deepen-relative',
    `filter ${FILTERS[5]}`,
    'wait-for-done',
    'sideband-all',
  ),
  command('fetch', `want-ref refs/heads/main`, 'deepen-since 1700000000', 'deepen-not main', 'packfile-uris http,https'),
  command('object-info', 'size', `oid ${A}`, `oid ${B}`),
  fetchCommand([A], [B]),
];

const WORDS = [
  packet('done\n'),
  FLUSH_PACKET,
  DELIM_PACKET,
  packet(`want ${B}`),
  packet(`have ${B}`),
  packet(`shallow ${B}`),
  packet('deepen 2147483647'),
  packet('filter combine:combine:combine:combine:combine:blob:none'),
  'object-format=sha256',
  'push-cert',
  '\0',
  '\n',
  A,
  A64,
  ' ',
];

const isOid = (text: string, digits = 40): boolean => text.length === digits && /^[0-9a-f]+$/.test(text);

function takePackets(reader: PktReader, into: Packet[]): null {
  for (let packet = reader.next(); packet !== null; packet = reader.next()) into.push(packet);
  return null;
}

test('packets are the same however a stream is cut, whatever was done to it', async (t) => {
  const input = fc.tuple(mutants([...PUSHES, ...FETCHES_V2], { words: WORDS }), fc.array(fc.nat(400), { maxLength: 12 }));
  await fuzz(t, input, { runs: 3000 }, ([{ bytes }, cuts]) => {
    const [whole, parts]: [Packet[], Packet[]] = [[], []];
    const first = new PktReader(bytes);
    const refused = unlessRefused(() => takePackets(first, whole) ?? 'read') === null;
    const second = new PktReader();
    let wasRefused = false;
    let at = 0;
    for (const length of [...cuts, bytes.length]) {
      if (wasRefused) break;
      second.push(bytes.subarray(at, at + length));
      at = Math.min(bytes.length, at + length);
      wasRefused = unlessRefused(() => takePackets(second, parts) ?? 'read') === null;
    }
    assert.equal(wasRefused, refused);
    assert.equal(second.position, first.position);
    assert.deepEqual(parts, whole);
    let start = 0;
    for (const packet of whole) {
      const length = Number.parseInt(bytes.toString('latin1', start, start + 4), 16);
      if (packet.kind === 'data')
        assert.ok(packet.data.equals(bytes.subarray(start + 4, start + length)) && length >= 4 && length <= 65_520);
      else assert.equal(packet.kind, ['flush', 'delim', 'response-end'][length]);
      start += Math.max(4, length);
    }
    assert.equal(start, first.position);
  });
});

function readPush(bytes: Buffer, format: ObjectFormat | null, step: number): { request: ReceiveRequest; rest: Buffer } | null {
  const parser = new ReceiveRequestParser({ format, limits: LIMITS });
  for (let at = 0; at < bytes.length; at += step) {
    const request = parser.push(bytes.subarray(at, at + step));
    if (request !== null) return { request, rest: Buffer.concat([parser.rest(), bytes.subarray(at + step)]) };
  }
  parser.end();
  return null;
}

test('a push request is refused or what it says, however it is cut', async (t) => {
  const input = fc.tuple(
    mutants(PUSHES, { words: WORDS }),
    fc.constantFrom('sha1' as const, 'sha256' as const, null),
    fc.nat(90),
  );
  await fuzz(t, input, { runs: 3000 }, ([{ bytes }, format, step]) => {
    const read = (by: number) => unlessRefused(() => readPush(bytes, format, by));
    const whole = read(bytes.length + 1);
    assert.deepEqual(read(step + 1), whole);
    if (whole === null) return;
    const { request, rest } = whole;
    const digits = request.format === 'sha1' ? 40 : 64;
    assert.ok(format === null || request.format === format);
    assert.ok(request.commands.length <= LIMITS.commandsMax && request.shallow.length <= LIMITS.shallowsMax);
    assert.ok(request.pushOptions.length <= LIMITS.pushOptionsMax);
    for (const { old, new: next, ref } of request.commands) {
      assert.ok(isOid(old, digits) && isOid(next, digits), 'oids are of the format');
      assert.ok(ref.length <= LIMITS.refNameBytesMax && bytes.includes(ref, 0, 'latin1'), 'a name is as it was sent');
    }
    for (const oid of request.shallow) assert.ok(isOid(oid, digits));
    assert.ok(rest.length === 0 || bytes.subarray(-rest.length).equals(rest), 'what follows is the end of the body');
  });
});

test('a fetch request is refused or within its limits, in each version', async (t) => {
  const input = mutants([...FETCHES_V2, ...FETCHES_V0], { words: WORDS });
  await fuzz(t, input, { runs: 4000 }, ({ bytes }) => {
    const options = { format: 'sha1' as const, limits: LIMITS, packfileUris: true };
    const second = unlessRefused(() => parseV2Request(bytes, options));
    const requests = [unlessRefused(() => parseV0Request(bytes, options)), second?.command === 'fetch' ? second : null];
    for (const request of requests) {
      if (request === null) continue;
      const { wants, haves, shallow, deepen } = request;
      for (const oid of [...wants, ...haves, ...shallow]) assert.ok(isOid(oid));
      assert.ok(wants.length <= LIMITS.wantsMax && haves.length <= LIMITS.havesMax && shallow.length <= LIMITS.shallowsMax);
      assert.ok(deepen.not.length <= LIMITS.deepenNotMax && deepen.depth >= 0 && deepen.depth <= 0x7fffffff);
    }
    if (second?.command === 'object-info')
      assert.ok(second.oids.length <= LIMITS.objectInfosMax && second.oids.every((oid) => isOid(oid)));
    if (second?.command === 'ls-refs') assert.ok(second.refPrefixes.length <= LIMITS.refPrefixesMax);
  });
});

test('a filter and a ref name are judged without fail', async (t) => {
  const corpus = [
    ...FILTERS,
    'refs/heads/main',
    'refs/tags/v1.0',
    'refs/heads/a/b.lock',
    'refs/heads/@{1}',
    'refs/heads/gr\xfcn',
  ];
  const input = mutants(
    corpus.map((text) => Buffer.from(text, 'latin1')),
    { words: ['combine:', '%2B', '+', '..', '@{', '/', '.lock', '\0', '~', '0x'] },
  );
  await fuzz(t, input, { runs: 4000 }, ({ bytes }) => {
    const text = bytes.toString('latin1');
    unlessRefused(() => parseFilterSpec(text, LIMITS));
    if (!isPushableRefName(text)) return;
    assert.match(text, /^refs\/[^/]+\/./);
    assert.doesNotMatch(text, /[\0-\x20\x7f~^:?*[\\]|\.\.|@\{|\/\/|\/\.|\.lock(\/|$)|[./]$/);
  });
});

for (const format of ['sha1', 'sha256'] as const) {
  test(`an index is refused or within its pack (${format})`, async (t) => {
    const width = format === 'sha1' ? 20 : 32;
    const hash = (bytes: Buffer): Buffer => createHash(format).update(bytes).digest();
    const table = (count: number, wide: number): Buffer => {
      const oids = Array.from({ length: count }, (_, i) => hash(Buffer.from(String(i)))).sort(Buffer.compare);
      const offsets = Float64Array.from(oids, (_, i) => (i < wide ? 2 ** 33 + i * 100 : 12 + i * 100));
      return encodeIdx(
        {
          count,
          oids: Buffer.concat(oids),
          offsets,
          crcs: new Uint32Array(count).fill(7),
          checksum: hash(oids[0] ?? Buffer.alloc(0)),
        },
        format,
      );
    };
    // With its checksum right, so that the content is judged.
    const finish = (bytes: Buffer): Buffer =>
      bytes.length < width ? bytes : Buffer.concat([bytes.subarray(0, -width), hash(bytes.subarray(0, -width))]);
    await fuzz(t, mutants([table(0, 0), table(1, 0), table(40, 0), table(40, 7)], { finish }), { runs: 1500 }, ({ bytes }) => {
      const idx = unlessRefused(() => decodeIdx(bytes, format));
      if (idx === null) return;
      assert.equal(idx.oids.length, idx.count * width);
      assert.ok(idx.offsets.length === idx.count && idx.crcs.length === idx.count && idx.checksum.length === width);
      for (const offset of idx.offsets) assert.ok(offset >= 0);
    });
  });
}

test('a delta is refused or makes the size that it claims of its base', async (t) => {
  const base = Buffer.concat([seededBytes(1, 3000), Buffer.alloc(70_000, 'abcdefgh'), seededBytes(2, 3000)]);
  const changed = [
    Buffer.concat([base.subarray(0, 2000), Buffer.from('something new'), base.subarray(1500)]),
    Buffer.concat([base.subarray(2500), base.subarray(0, 40)]),
    Buffer.alloc(0x10000, 'abcdefgh'),
  ];
  const index = indexForDelta(base);
  const deltas = changed.map((target) => Buffer.from(createDelta(index, target, 1 << 20)!));
  const copies = new DeltaCopies(1000);
  await fuzz(t, mutants(deltas), { runs: 4000, bytesMax: 1 << 26 }, ({ bytes }) => {
    const result = unlessRefused(() => applyDelta(base, bytes));
    if (result === null) return;
    const sizes = readDeltaSizes(bytes);
    assert.equal(result.length, sizes.resultSize);
    const room = Buffer.alloc(result.length + 20, 0xee);
    applyDeltaInto(base, bytes, sizes, room, 10);
    assert.ok(room.subarray(10, -10).equals(result));
    assert.deepEqual([...room.subarray(0, 10), ...room.subarray(-10)], Array(20).fill(0xee));
    if (!copies.read(bytes, sizes)) return;
    for (let i = 0; i < copies.count; i++) {
      const [from, to, length] = [copies.from[i]!, copies.to[i]!, copies.lengths[i]!];
      assert.ok(result.subarray(to, to + length).equals(base.subarray(from, from + length)));
    }
  });
});

test('a configuration is refused by name, or loads', async (t) => {
  const path = join(scratchFolder('config'), 'config.yaml');
  const yaml = Buffer.from(
    'http:\n  listen: 127.0.0.1:9000\n  idle_timeout: 60s\nstore:\n  kind: fs # files\nlimits:\n  object_bytes_max: 5GiB\n  refs_per_push_max: 100_000\n' +
      'fsck:\n  severity: {badDate: warn, zeroPaddedDate: ignore}\npush:\n  hidden_refs: [refs/hidden/, "refs/x"]\nlog: {level: info}\n',
  );
  const words = [
    '&a ',
    '*a',
    '<<: *a\n',
    '? ',
    ': ',
    '!!binary ',
    '!!js ',
    '- ',
    '|\n',
    '"',
    '\t',
    '%YAML 9.9\n---\n',
    '...\n',
    '{',
    '[',
    '\xff',
    '1e999',
    '.inf',
    '~',
    '  __proto__: 1\n',
  ];
  const env = (text: string): Record<string, string> =>
    Object.fromEntries(
      text.split('\n').map((line, i): [string, string] => [environmentVariable(CONFIG_KEYS[i % CONFIG_KEYS.length]!), line]),
    );
  await fuzz(t, mutants([yaml], { words }), { runs: 500 }, ({ bytes }) => {
    writeFileSync(path, bytes);
    const refusals = [{ path }, { env: env(bytes.toString('latin1')) }].map((options) => {
      try {
        return loadConfig(options) && undefined;
      } catch (error) {
        return error;
      }
    });
    for (const error of refusals) assert.ok(error === undefined || error instanceof ConfigError, String(error));
  });
});
