import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import type { CatalogSection } from '../catalog/mod.ts';
import { createMemoryStore } from '../packstore/mod.ts';
import { fuzz, mutants, nullWhenRefused } from '../testkit/mod.ts';
import { putSnapshot, readHead, readSnapshot, type SnapshotHead } from './snapshot-format.ts';

test('a snapshot to which something was done is refused, or read to its end', async (t) => {
  const key = 'snapshots/20261121t000000z-1/000000-00000000.sql.gz';
  const head: SnapshotHead = {
    version: 1,
    chain: '20261121T000000Z-1',
    ordinal: 1,
    previous: { key, sha256: '00'.repeat(32) },
    takenAt: '2026-11-21T00:00:00.000Z',
    push: 41,
    sequences: { packs: 7 },
  };
  const section = (table: string, rows: string): CatalogSection => ({
    table,
    columns: ['id', 'name'],
    rows: () => Readable.from([Buffer.from(rows)]),
  });
  const store = createMemoryStore();
  await putSnapshot(store, key, head, [
    section('pools', '1\tsha1\n2\tsha256\n'),
    section('refs', ''),
    section('packs', '3\t\\N\n'),
  ]);
  const { lengthBytes } = (await store.head(key))!;
  const stored = await store.get(key, { offset: 0, lengthBytes });
  // With its checksum right, so that the content is judged.
  const finish = (text: Buffer): Buffer => {
    const end = text.lastIndexOf('-- end ');
    if (end < 0) return gzipSync(text, { level: 1 });
    const before = text.subarray(0, end);
    const sha256 = createHash('sha256').update(before).digest('hex');
    return gzipSync(Buffer.concat([before, Buffer.from(`-- end ${JSON.stringify({ sha256 })}\n`)]), { level: 1 });
  };
  const words = [
    '\\.\n',
    '-- end ',
    '-- end null\n',
    '-- packhouse snapshot null\n',
    'copy x ("a") from stdin;\n',
    '\n',
    '"previous":null',
    '\0',
  ];
  let read = 0;
  await fuzz(
    t,
    fc.oneof(mutants([gunzipSync(stored)], { words, finish }), mutants([stored])),
    { runs: 800 },
    async ({ bytes }) => {
      await store.put(key, bytes);
      await readHead(store, key, bytes.length).catch(nullWhenRefused);
      let rowBytes = 0;
      const readAll = async (): Promise<void> => {
        for await (const part of readSnapshot(store, key)) {
          if (part.kind !== 'rows') continue;
          rowBytes += part.bytes.length;
          assert.equal(part.bytes.at(-1), 10, 'lines are whole');
        }
        read++;
      };
      await readAll().catch(nullWhenRefused);
      assert.ok(rowBytes <= 2 << 20);
    },
  );
  assert.ok(read > 0, 'some were readable');
});
