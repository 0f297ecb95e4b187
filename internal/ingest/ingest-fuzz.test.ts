/** Mutated packs: what we take and refuse is what `git index-pack --strict` takes and refuses, in an empty repository. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { finishChecks, GITMODULES_BYTES_MAX, ObjectChecker, type ObjectKind, STRICT_SEVERITIES } from '../object/mod.ts';
import { encodeIdx } from '../packformat/mod.ts';
import {
  buildDelta,
  buildPack,
  entry,
  FastImport,
  fuzz,
  git,
  makeRepository,
  mutants,
  nullWhenRefused,
  ofsDelta,
  oidOf,
  refDelta,
  scratchFolder,
  treeBody,
  tryGit,
} from '../testkit/mod.ts';
import { DEFAULT_PACK_LIMITS, IncomingReader, PackError, type PackLimits, receivePack } from './mod.ts';

const LIMITS: PackLimits = {
  ...DEFAULT_PACK_LIMITS,
  treeBytesMax: 4 << 20,
  commitBytesMax: 4 << 20,
  objectBytesMax: 64 << 20,
  deltaObjectBytesMax: 16 << 20,
};

interface Verdict {
  readonly isTaken: boolean;
  /** Why it was refused; what git said while it took it. */
  readonly words: string;
  /** The index of what was taken. */
  readonly idx: Buffer | null;
}

const refusal = (words: string): Verdict => ({ isTaken: false, words, idx: null });

/** Where git and we differ on purpose, with the reason; ARCHITECTURE.md has the list. */
const EXCEPTIONS: readonly { readonly why: string; readonly applies: (ours: Verdict, gits: Verdict) => boolean }[] = [
  {
    why: 'an object that stands twice is harmless once it is compared: it is taken out, and the pack is written again',
    applies: (ours, gits) => ours.isTaken && gits.words.includes('appears twice in the pack'),
  },
  {
    why: "git says what is wrong with a tagger and forgets it when more headers follow, which it doesn't mind",
    applies: (ours, gits) => {
      const [, oid, id] = /^error in tag ([0-9a-f]+): (\w+):/.exec(ours.words) ?? [];
      return gits.isTaken && oid !== undefined && gits.words.includes(`error: object ${oid}: ${id}:`);
    },
  },
];

async function* once(bytes: Buffer): AsyncGenerator<Buffer, undefined> {
  yield bytes;
}

const spoolFolder = scratchFolder('spool');

/** What a push into an empty repository would make of the pack: no link leads out of it, and no delta. */
async function ourVerdict(bytes: Buffer, memoryBytesMax: number, detectCollisions = false): Promise<Verdict> {
  const options = {
    format: 'sha1',
    limits: LIMITS,
    severities: STRICT_SEVERITIES,
    memoryBytesMax,
    detectCollisions,
    spoolFolder,
  } as const;
  const received = await receivePack(once(bytes), Buffer.alloc(0), { ...options, readBase: async () => null });
  try {
    const { pack, place } = received;
    const reader = new IncomingReader(pack, place, async () => null);
    const checker = new ObjectChecker('sha1', STRICT_SEVERITIES);
    checker.merge(pack.dotFiles.gitmodules, pack.dotFiles.gitattributes);
    const read = async (oid: Buffer) => {
      const row = reader.row(oid);
      if (row >= 0 && pack.sizes[row]! > GITMODULES_BYTES_MAX) return { kind: pack.kinds[row]!, data: undefined };
      return (await reader.read(oid)) ?? undefined;
    };
    for await (const { problems } of finishChecks(checker, read)) {
      for (const { id, severity } of problems) if (severity === 'error') return refusal(`error ${id}`);
    }
    if (pack.frontier.kinds.length > 0) return refusal('a link leads out of the pack');
    assert.equal(pack.bases.length, 0);
    const idx = encodeIdx({ ...pack, count: pack.objectCount }, 'sha1');
    return { isTaken: true, words: '', idx };
  } finally {
    await received.dispose();
  }
}

let empty: string;
let count = 0;

async function gitVerdict(bytes: Buffer): Promise<Verdict> {
  const path = join(empty, `p${count++}.pack`);
  const { status, stderr } = await tryGit(['index-pack', '--strict', '--stdin', '--no-rev-index', path], {
    cwd: empty,
    input: bytes,
    // What an entry claims is not what git should try to hold here.
    env: { GIT_ALLOC_LIMIT: '256m' },
  });
  if (status !== 0) return refusal(`${status}: ${stderr.trim()}`);
  const idx = readFileSync(path.replace(/pack$/, 'idx'));
  for (const ending of ['pack', 'idx']) rmSync(path.replace(/pack$/, ending));
  return { isTaken: true, words: stderr.trim(), idx };
}

const counts = { taken: 0, refused: 0, excused: 0 };

async function compare(bytes: Buffer, inSpool: boolean): Promise<void> {
  const told = (error: unknown): Verdict => {
    assert.equal(nullWhenRefused(error), null);
    assert.ok(error instanceof PackError, 'what is wrong with a pack is told as such');
    return refusal(error.message);
  };
  const ours = await ourVerdict(bytes, 8 << 20).catch(told);
  // Objects wait to be named then, so of two faults another may be found first.
  const careful = await ourVerdict(bytes, 8 << 20, true).catch(told);
  assert.deepEqual([careful.isTaken, careful.idx], [ours.isTaken, ours.idx], 'with a look at collisions');
  if (inSpool) assert.deepEqual(await ourVerdict(bytes, 0).catch(told), ours, 'in a worker');
  const gits = await gitVerdict(bytes);
  counts[ours.isTaken ? 'taken' : 'refused']++;
  if (ours.isTaken !== gits.isTaken) {
    const words = [ours, gits].map((verdict) => `${verdict.isTaken ? 'taken' : 'refused'} (${verdict.words})`);
    assert.ok(
      EXCEPTIONS.some(({ applies }) => applies(ours, gits)),
      `by us ${words[0]}, by git ${words[1]}`,
    );
    counts.excused++;
  } else if (ours.idx !== null && gits.idx !== null) assert.ok(ours.idx.equals(gits.idx), 'the index is another');
}

function rehashed(bytes: Buffer): Buffer {
  if (bytes.length < 20) return bytes;
  const body = bytes.subarray(0, -20);
  return Buffer.concat([body, createHash('sha1').update(body).digest()]);
}

interface Made {
  readonly kind: ObjectKind;
  readonly data: Buffer;
}

const MODULES = '[submodule "lib"]\n\tpath = lib\n\turl = https://example.com/lib.git\n\tupdate = rebase\n';
const ATTRIBUTES = '*.txt text eol=lf\n[attr]binary -diff -merge\n*.png binary\n';

function history(): FastImport {
  const stream = new FastImport();
  const text = (n: number): string =>
    Array.from({ length: 30 }, (_, i) => `line ${i === n ? 'changed' : i} of the file\n`).join('');
  const first = stream.commit('refs/heads/main', {
    'a.txt': text(1),
    'src/b.txt': text(2),
    'src/run': { mode: '100755', content: '#!/bin/sh\n' },
  });
  const second = stream.commit('refs/heads/main', {
    'a.txt': text(3),
    link: { mode: '120000', content: 'a.txt' },
    '.gitattributes': ATTRIBUTES,
  });
  const modules = { '.gitmodules': MODULES, lib: { mode: '160000', content: '12'.repeat(20) } } as const;
  const third = stream.commit(
    'refs/heads/main',
    { ...modules, 'src/b.txt': text(9), 'src/deep/c': text(4) },
    { parents: [second, first] },
  );
  stream.tag('nested', stream.tag('v1', third));
  return stream;
}

async function objectsOf(cwd: string): Promise<Made[]> {
  const { stdout } = await tryGit(['cat-file', '--batch', '--batch-all-objects'], { cwd });
  const objects: Made[] = [];
  for (let at = 0; at < stdout.length; ) {
    const end = stdout.indexOf(10, at);
    const [, kind, size] = stdout.toString('latin1', at, end).split(' ');
    const data = stdout.subarray(end + 1, end + 1 + Number(size));
    objects.push({ kind: kind as ObjectKind, data });
    at = end + 2 + data.length;
  }
  return objects;
}

const WORDS: readonly (string | Buffer)[] = [
  ...['.git', '.GIT', 'git~1', '.gitmodules', 'gitmod~1', '.gitattributes', '..', '.', '/', '\\', '.g\xe2\x80\x8cit', '.git '],
  ...[
    '100644 ',
    '100664 ',
    '120000 ',
    '40000 ',
    '040000 ',
    '160000 ',
    '100755 ',
    '\0',
    'a',
    ' ',
    '\n',
    '\n\n',
    '<',
    '>',
    '+0000',
    '-',
    '0',
  ],
  ...[
    'tree ',
    'parent ',
    'author ',
    'committer ',
    'object ',
    'type blob',
    'type commit',
    'tag ',
    'tagger ',
    'gpgsig ',
    'encoding ',
  ],
  ...['url = -x', 'url = ../a', 'path = -x', 'update = !x', '[submodule "../x"]', '%0a', '"', '\\n', '#', 'http://', '\xff'],
  Buffer.alloc(20),
];

describe('mutated packs are judged as git index-pack --strict judges them', () => {
  after((t) => {
    const { taken, refused, excused } = counts;
    assert.ok(taken > 20 && refused > 20, 'packs of both kinds');
    (t as TestContext).diagnostic(`${taken} packs taken, ${refused} refused, ${excused} by an exception`);
  });

  let objects: Made[];
  let packs: Buffer[];

  before(async () => {
    empty = await makeRepository();
    const cwd = await history().into();
    objects = await objectsOf(cwd);
    const input = `${(await git(['rev-list', '--objects', '--no-object-names', '--all'], { cwd })).trim()}\n`;
    const pack = async (...options: string[]) =>
      (await tryGit(['pack-objects', '--stdout', '-q', ...options], { cwd, input })).stdout;
    packs = [await pack('--delta-base-offset'), await pack(), await pack('--window=0', '--compression=0')];
    for (const one of packs) assert.ok((await ourVerdict(one, 8 << 20)).isTaken);
  });

  for (let type = 0; type < 16; type++) {
    test(`with an entry of type ${type} that is not there`, async () => {
      const mode = ((type << 12) | 0o644).toString(8);
      await compare(buildPack([entry('tree', treeBody([[mode, 'a', '12'.repeat(20)]]))]), false);
      await compare(buildPack([entry('tree', treeBody([[`1${mode.padStart(23, '0')}`, 'a', '12'.repeat(20)]]))]), false);
    });
  }

  test('as bytes', async (t) => {
    const input = fc.tuple(mutants(packs, { finish: rehashed, editsMax: 2, words: ['PACK', '\0\0\0\x03', '\x9d'] }), fc.nat(24));
    await fuzz(t, input, { runs: 80, bytesMax: 1 << 27 }, ([{ bytes }, n]) => compare(bytes, n === 0));
  });

  /** Objects on top of a sound history, each a real one to which something was done; nothing else of the pack links to it. */
  test('by their objects', async (t) => {
    const kinds = ['commit', 'tree', 'tag'] as const;
    const one = (kind: ObjectKind) =>
      fc.record({
        kind: fc.constant(kind),
        mutant: mutants(
          objects.filter((object) => object.kind === kind).map(({ data }) => data),
          { words: WORDS, editsMax: 2 },
        ),
      });
    const dotFile = fc.oneof(
      ...[['.gitmodules', MODULES] as const, ['.gitattributes', ATTRIBUTES] as const].map(([name, text]) =>
        fc.record({
          kind: fc.constant('blob' as const),
          mutant: mutants([Buffer.from(text)], { words: WORDS, editsMax: 2 }),
          name: fc.constant(name),
          mode: fc.constantFrom('100644', '100644', '100644', '100755'),
        }),
      ),
    );
    const extra = fc.array(fc.oneof(...kinds.map(one), dotFile), {
      minLength: 1,
      maxLength: 3,
    });
    const sound = objects.map(({ kind, data }) => entry(kind, data));
    await fuzz(t, extra, { runs: 150, bytesMax: 1 << 27 }, (parts) => {
      const more = parts.map((part) => entry(part.kind, part.mutant.bytes));
      for (const part of parts)
        if ('name' in part) more.push(entry('tree', treeBody([[part.mode, part.name, oidOf('blob', part.mutant.bytes)]])));
      return compare(buildPack([...sound, ...more]), false);
    });
  });

  test('by the order and the deltas of their entries', async (t) => {
    const part = fc.oneof(
      fc.record({
        what: fc.constant('whole' as const),
        of: fc.nat(),
        size: fc.constantFrom(0, 0, 0, 0, 1, -1, 2 ** 31, 2 ** 40),
      }),
      fc.record({ what: fc.constantFrom('ofs' as const, 'ref' as const), of: fc.nat(), on: fc.nat(), odd: fc.nat(12) }),
    );
    const input = fc.record({
      order: fc.shuffledSubarray(
        objects.map((_, i) => i),
        { minLength: objects.length - 1 },
      ),
      parts: fc.array(part, { maxLength: 6 }),
      count: fc.constantFrom(0, 0, 0, 0, 0, 1, -1, 2 ** 31, -1000),
    });
    await fuzz(t, input, { runs: 80, bytesMax: 1 << 27 }, ({ order, parts, count: off }) => {
      const entries = order.map((i) => entry(objects[i]!.kind, objects[i]!.data));
      const starts = [12];
      for (const { length } of entries) starts.push(starts.at(-1)! + length);
      const blobs = order.filter((i) => objects[i]!.kind === 'blob');
      for (const [n, piece] of parts.entries()) {
        const object = objects[piece.of % objects.length]!;
        if (piece.what === 'whole') {
          // One of the pack once more, or a blob that is new.
          const { kind, data } = piece.of % 9 === 0 ? object : { kind: 'blob' as const, data: Buffer.from(`new ${n}`) };
          entries.push(entry(kind, data, piece.size < 2 ? data.length + piece.size : piece.size));
        } else {
          const index = piece.on % 5 === 0 ? order[piece.on % order.length]! : blobs[piece.on % blobs.length]!;
          const base = objects[index]!;
          const delta = oddDelta(base.data, Buffer.from(`delta ${n} ${object.data.toString('latin1')}`, 'latin1'), piece.odd);
          const distance = starts.at(-1)! - starts[order.indexOf(index)]! + (piece.odd === 9 ? 1 : 0);
          entries.push(
            piece.what === 'ofs'
              ? ofsDelta(distance, delta)
              : refDelta(piece.odd === 8 ? 'ab'.repeat(20) : oidOf(base.kind, base.data), delta),
          );
        }
        starts.push(starts.at(-1)! + entries.at(-1)!.length);
      }
      return compare(buildPack(entries, { count: Math.max(0, entries.length + off) }), off === 0 && parts.length === 6);
    });
  });
});

/** A delta from one object to another; `odd` says what is wrong with it, from 10 on nothing. */
function oddDelta(base: Buffer, target: Buffer, odd: number): Buffer {
  const text = target.subarray(0, 120).toString('latin1');
  const head = Math.min(base.length, 20);
  const ops = [...(head > 0 ? [{ copy: [0, head] as const }] : []), ...(text === '' ? [] : [{ insert: text }])];
  const size = head + text.length;
  switch (odd) {
    case 0:
      return buildDelta(base.length + 1, size, ops);
    case 1:
      return buildDelta(base.length, size + 1, ops);
    case 2:
      return buildDelta(base.length, size + 10, [...ops, { copy: [base.length - 5, 10] }]);
    case 3:
      return buildDelta(base.length, size, [...ops, { raw: [0] }]);
    case 4:
      return buildDelta(base.length, size, ops).subarray(0, -1);
    case 5:
      return buildDelta(base.length, 1n << 40n, ops);
    case 6:
      return Buffer.alloc(odd, 0xff);
    case 7:
      return buildDelta(base.length, size + 0x10000, [...ops, { raw: [0x80] }]);
    default:
      return buildDelta(base.length, size, ops);
  }
}
