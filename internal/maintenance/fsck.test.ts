import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import {
  buildPack,
  commitBody,
  entry,
  FastImport,
  git,
  oidOf,
  readPushAnswer,
  scratchFolder,
  seededBytes,
  sendPush,
  startServer,
  startTestDatabase,
  syntheticHistory,
  type TestDatabase,
  type TestServer,
  treeBody,
  ZERO_OID,
} from '../testkit/mod.ts';
import { DAMAGES, GONE_BLOB, ODD_BLOB, ODD_TREE } from './fsck-damages.ts';
import { Bench } from './fsck-testing.ts';
import { type Problem, problemLine } from './problems.ts';

const REPOSITORY = ['ida', 'kept'] as const;
const COMMITTED_TREE = treeBody([['100644', 'again', oidOf('blob', 'gone\n')]]);

/** Pushes that make every kind of pack: a store pack, a thin store pack, thin tails, one with facts that do not hold. */
async function fill(server: TestServer): Promise<void> {
  const url = `${server.url}/${REPOSITORY.join('/')}.git`;
  const local = await syntheticHistory({ commits: 60, binaryEvery: 4, binaryBytes: 120_000, seed: 5 }).into();
  await git(['push', '-q', url, 'refs/heads/*:refs/heads/*', 'refs/tags/*:refs/tags/*'], { cwd: local });
  const push = async (importer: FastImport): Promise<void> => {
    await importer.into(local);
    await git(['push', '-q', url, 'main'], { cwd: local });
  };
  let importer = new FastImport(1_760_000_000);
  const text = await git(['show', 'main:f0.txt'], { cwd: local });
  const parents = ['refs/heads/main'];
  importer.commit('refs/heads/main', { 'f0.txt': `${text}more\n`, 'assets/large.bin': seededBytes(99, 1_300_000) }, { parents });
  await push(importer);
  for (let i = 0; i < 3; i++) {
    importer = new FastImport(1_761_000_000 + i);
    importer.commit(
      'refs/heads/main',
      { 'f0.txt': `${text}tail ${i}\n`, 'src/gone.txt': i === 0 ? 'gone\n' : null },
      { parents },
    );
    await push(importer);
  }
  // Links to a blob that only later commits than its parent hold, and brings a blob that nothing links to.
  const root = await git(['rev-list', '--max-parents=0', '--first-parent', 'main'], { cwd: local });
  const commit = commitBody(oidOf('tree', COMMITTED_TREE), [root]);
  const pack = buildPack([entry('commit', commit), entry('tree', COMMITTED_TREE), entry('blob', 'nobody links to me\n')]);
  const answer = readPushAnswer(await sendPush(url, [[ZERO_OID, oidOf('commit', commit), 'refs/heads/odd']], pack));
  assert.deepEqual(
    [ODD_TREE, ODD_BLOB, GONE_BLOB],
    [oidOf('tree', COMMITTED_TREE), oidOf('blob', 'nobody links to me\n'), oidOf('blob', 'gone\n')],
  );
  assert.deepEqual(answer.lines, ['unpack ok', 'ok refs/heads/odd']);
  const sha256 = await syntheticHistory({ commits: 6, seed: 9 }).into(undefined, 'sha256');
  await git(['push', '-q', `${server.url}/ida/wide.git`, 'refs/*:refs/*'], { cwd: sha256 });
}

describe('fsck', () => {
  let database: TestDatabase;
  let server: TestServer;
  let bench: Bench;

  before(async () => {
    database = await startTestDatabase();
    server = await startServer({ env: { PACKHOUSE_DATABASE_URL: database.url } });
    await fill(server);
    bench = new Bench(database.url, join(server.dataDir, 'packs'), scratchFolder('saved'));
    await bench.open();
    await bench.save();
  });
  after(async () => {
    await bench?.close();
    await server?.close();
    await database?.stop();
  });
  afterEach(async () => {
    await bench.restore();
  });

  test('the fixture has every kind of pack', async () => {
    const packs = await bench.query<{ tier: string; based: boolean; all_reached: boolean; objects: string; dup: boolean }>(
      `select tier, based, all_reached, object_count as objects, has_duplicates as dup from packs order by id`,
    );
    assert.deepEqual(
      packs.map((pack) => `${pack.tier} ${pack.based} ${pack.all_reached}`),
      [
        'store true true',
        'store true true',
        'tail true true',
        'tail true true',
        'tail true true',
        'tail false false',
        'tail true true',
      ],
    );
  });

  for (const options of [{}, { memoryBytesMax: 0 }, { connectivityOnly: true }, { repository: REPOSITORY }]) {
    test(`finds nothing wrong with what pushes have stored: ${JSON.stringify(options)}`, async () => {
      const { summary, problems } = await bench.check(options);
      assert.deepEqual(problems.map(problemLine), []);
      assert.equal(summary.packs, 'repository' in options ? 6 : 7);
      assert.equal(summary.repositories, 'repository' in options ? 1 : 2);
      assert.ok(summary.refs > 3);
      assert.ok('connectivityOnly' in options ? summary.objects === 0 : summary.objects > 300, `${summary.objects} objects`);
      assert.equal(summary.unfinishedUploads, 0);
    });
  }

  for (const { what, sql, files, says, connectivity = false, only } of DAMAGES) {
    test(`reports ${what}`, async () => {
      if (sql !== undefined) await bench.query(sql);
      await files?.(bench);
      const { summary, problems } = await bench.check();
      const lines = problems.map(problemLine);
      assert.equal(summary.problems, problems.length);
      for (const line of says)
        assert.ok(
          lines.some((said) => line.test(said)),
          `no ${line} in:\n${lines.join('\n')}`,
        );
      if (only !== undefined) assert.deepEqual(problems.filter((problem) => !only.includes(problem.kind)).map(problemLine), []);
      if (connectivity) assert.ok((await bench.check({ connectivityOnly: true })).problems.length > 0, 'the walk alone finds it');
    });
  }

  test('an upload that was never published is told of, but is no problem', async () => {
    await bench.catalog.beginStorePack(
      1,
      await bench.catalog.reservePackId(),
      'crates/cd/cdcdcdcd.pack',
      '11111111-1111-4111-8111-111111111111',
    );
    await bench.store.put('crates/cd/cdcdcdcd.pack', Buffer.from('PACK'));
    const { summary, problems } = await bench.check();
    assert.deepEqual(problems, []);
    assert.equal(summary.unfinishedUploads, 1);
  });

  test('one repository is judged without the others', async () => {
    await bench.query(`delete from tail_bytes where pack_id = (select max(id) from packs)`);
    assert.deepEqual((await bench.check({ repository: REPOSITORY })).problems, []);
    assert.match(problemLine((await bench.check({ repository: ['ida', 'wide'] })).problems[0]!), /^bytes: /);
  });

  test('the command exits with 1 when something is wrong, and tells it a line at a time or as JSON', async () => {
    const sound = await server.packhouse('fsck');
    assert.equal(sound.code, 0, sound.stdout + sound.stderr);
    assert.match(sound.stdout, /^0 problems in 7 packs \(\d+ objects read\), 2 repositories \(\d+ refs\)\n$/);
    assert.equal(sound.stderr, '');
    await bench.query(`delete from tail_bytes where pack_id = (select min(id) from packs where tier = 'tail')`);
    const broken = await server.packhouse('fsck', 'ida/kept', '--connectivity-only');
    assert.equal(broken.code, 1);
    assert.match(broken.stdout, /^bytes: pack \d+: tail_bytes has no row\n/);
    const json = await server.packhouse('fsck', '--json');
    assert.equal(json.code, 1);
    const report = JSON.parse(json.stdout) as { problems: Problem[]; packs: number };
    assert.equal(report.packs, 7);
    assert.equal(report.problems[0]?.kind, 'bytes');
    const absent = await server.packhouse('fsck', 'no/such');
    assert.equal(absent.code, 1);
    assert.match(absent.stderr, /repository no\/such does not exist/);
  });
});
