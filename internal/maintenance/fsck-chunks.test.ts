import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import {
  git,
  scratchFolder,
  seededBytes,
  startServer,
  startTestDatabase,
  type TestDatabase,
  type TestServer,
} from '../testkit/mod.ts';
import { Bench } from './fsck-testing.ts';
import { problemLine } from './problems.ts';

const ENV = {
  PACKHOUSE_CHUNKING_THRESHOLD: '256KiB',
  PACKHOUSE_CHUNKING_MIN: '4KiB',
  PACKHOUSE_CHUNKING_AVG: '16KiB',
  PACKHOUSE_CHUNKING_MAX: '64KiB',
};

const chunkPack = `(select min(id) from packs where tier = 'chunks')`;

async function chunkCrate(bench: Bench, extension = 'pack'): Promise<string> {
  const [row] = await bench.query<{ crate_key: string }>(`select crate_key from packs where id = ${chunkPack}`);
  return join(bench.packsFolder, row!.crate_key.replace(/pack$/, extension));
}

const DAMAGES: readonly {
  readonly what: string;
  readonly sql?: string;
  readonly files?: (bench: Bench) => Promise<void>;
  readonly says: RegExp;
  readonly shallow: boolean;
}[] = [
  {
    what: 'a recipe that is gone',
    sql: 'delete from chunked_blobs where size = (select min(size) from chunked_blobs)',
    says: /^chunks: pack \d+ oid \w+: pack \d+ has no recipe of blob/,
    shallow: true,
  },
  {
    what: 'a recipe of a blob that no pack has',
    sql: `update object_blocks set offsets = (select array_agg(case o when -1 then 12 else o end) from unnest(offsets) o)`,
    says: /^chunks: .*chunked_blobs has a recipe of it, object_blocks no row/,
    shallow: true,
  },
  {
    what: 'a number of chunked blobs that is wrong',
    sql: 'update packs set chunked_count = 7 where chunked_count > 0',
    says: /^index: .*packs\.chunked_count is 7, object_blocks has \d/,
    shallow: true,
  },
  {
    what: 'chunks that do not add up',
    sql: 'update chunked_blobs set sizes[2] = sizes[2] + 1',
    says: /^chunks: .*its chunks have \d+ bytes, its recipe says/,
    shallow: true,
  },
  {
    what: 'an Adler-32 that is wrong',
    sql: 'update chunked_blobs set adler = 1',
    says: /^chunks: .*the Adler-32 of its chunks is \d+, its recipe says 1/,
    shallow: true,
  },
  {
    what: 'columns of a recipe that do not fit each other',
    sql: 'update chunked_blobs set adlers = adlers[2:]',
    says: /^chunks: .*the columns of its recipe do not fit each other/,
    shallow: true,
  },
  {
    what: 'a chunk in a pack that is no pack of chunks',
    sql: 'update chunked_blobs set chunk_packs[3] = pack_id',
    says: /^chunks: .*chunk 2 is in pack \d+, which is no live pack of chunks/,
    shallow: true,
  },
  {
    what: 'chunks in the wrong order',
    sql: `update chunked_blobs set offsets = offsets[2:2] || offsets[1:1] || offsets[3:], lengths = lengths[2:2] || lengths[1:1] || lengths[3:],
      sizes = sizes[2:2] || sizes[1:1] || sizes[3:], adlers = adlers[2:2] || adlers[1:1] || adlers[3:],
      sha256s = substring(sha256s from 33 for 32) || substring(sha256s for 32) || substring(sha256s from 65)`,
    says: /^chunks: .*the Adler-32 of its chunks is/,
    shallow: true,
  },
  {
    what: 'a hash of a chunk that is wrong',
    sql: `update chunked_blobs set sha256s = set_byte(sha256s, 5, 255 - get_byte(sha256s, 5))`,
    says: /^chunks: .*chunk 0 has another SHA-256 than its recipe says/,
    shallow: false,
  },
  {
    what: 'a chunk that deduplication would find in the wrong place',
    sql: 'update chunks set pack_offset = pack_offset + 1 where pack_offset = (select min(pack_offset) from chunks)',
    says: /^chunks: pack \d+ offset \d+: no chunk \w+ stands where chunks says/,
    shallow: false,
  },
  {
    what: 'chunks of a pack that there is not',
    sql: `update chunks set pack_id = 9999 where pack_offset = (select min(pack_offset) from chunks)`,
    says: /^orphan: pack 9999: chunks: \d+ rows name no pack of chunks that is there/,
    shallow: true,
  },
  {
    what: 'recipes of a pack that there is not',
    sql: `insert into chunked_blobs select pool_id, 9999, oid, size, adler, sha256s, chunk_packs, offsets, lengths, sizes, adlers
      from chunked_blobs limit 1`,
    says: /^orphan: pack 9999: chunked_blobs: there is no pack of that id/,
    shallow: true,
  },
  {
    what: 'a crate of chunks that is gone',
    files: async (bench) => rmSync(await chunkCrate(bench)),
    says: /^bytes: pack \d+: the store has no crates/,
    shallow: true,
  },
  {
    what: 'an index of chunks that is gone',
    files: async (bench) => rmSync(await chunkCrate(bench, 'idx')),
    says: /^idx: pack \d+: the store has no crates/,
    shallow: false,
  },
  {
    what: 'a byte of a chunk that flipped',
    files: async (bench) => {
      const path = await chunkCrate(bench);
      const bytes = readFileSync(path);
      bytes[100_000]! ^= 1;
      writeFileSync(path, bytes);
    },
    says: /^chunks: pack \d+ oid \w+: chunk \w+ in pack \d+ at offset \d+ is not what its recipe says/,
    shallow: false,
  },
];

describe('fsck of chunked blobs', () => {
  let database: TestDatabase;
  let server: TestServer;
  let bench: Bench;

  before(async () => {
    database = await startTestDatabase();
    server = await startServer({ env: { ...ENV, PACKHOUSE_DATABASE_URL: database.url, PACKHOUSE_MAINTENANCE_ENABLED: 'false' } });
    const work = scratchFolder('work');
    await git(['init', '-q', work]);
    const noise = seededBytes(3, 900_000);
    const versions = [noise, Buffer.concat([noise.subarray(0, 400_000), Buffer.from('edit'), noise.subarray(400_000)])];
    for (const [i, version] of versions.entries()) {
      writeFileSync(join(work, 'asset.bin'), version);
      if (i === 0) writeFileSync(join(work, 'text.txt'), 'a line that compresses\n'.repeat(30_000));
      await git(['add', '-A'], { cwd: work });
      await git(['commit', '-qm', `version ${i}`], { cwd: work });
      await git(['push', '-q', `${server.url}/ida/assets.git`, 'main'], { cwd: work });
    }
    bench = new Bench(database.url, join(server.dataDir, 'packs'), scratchFolder('saved'));
    await bench.open();
    await bench.save();
  });
  after(async () => {
    await bench?.close();
    await server?.close();
    await database?.stop();
  });
  afterEach(() => bench.restore());

  test('finds nothing wrong with what pushes have stored', async () => {
    for (const connectivityOnly of [false, true]) {
      const { summary, problems } = await bench.check({ connectivityOnly });
      assert.deepEqual(problems.map(problemLine), []);
      assert.equal(summary.objects, connectivityOnly ? 0 : 7);
    }
    const [blobs] = await bench.query<{ n: number }>('select count(*)::integer n from chunked_blobs');
    assert.equal(blobs!.n, 3);
  });

  for (const { what, sql, files, says, shallow } of DAMAGES) {
    test(`reports ${what}`, async () => {
      if (sql !== undefined) await bench.query(sql);
      await files?.(bench);
      const deep = (await bench.check()).problems.map(problemLine);
      assert.ok(
        deep.some((line) => says.test(line)),
        `no ${says} in:\n${deep.join('\n')}`,
      );
      const light = (await bench.check({ connectivityOnly: true })).problems.map(problemLine);
      assert.equal(
        light.some((line) => says.test(line)),
        shallow,
        light.join('\n'),
      );
    });
  }
});
