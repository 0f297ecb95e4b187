import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  FastImport,
  git,
  makeRepository,
  scratchFolder,
  seededBytes,
  startServer,
  type TestServer,
  testStores,
  wireRequest,
} from '../../../internal/testkit/mod.ts';

const ON_CEPH = testStores().includes('s3');
/** Next to nothing stays in memory, and nothing but clones reads. */
const ENV = {
  PACKHOUSE_CACHE_BYTES_MAX: '2MiB',
  PACKHOUSE_CACHE_ANSWER_BYTES_MAX: '0',
  PACKHOUSE_MAINTENANCE_ENABLED: 'false',
};

describe('packs of a bucket on the disk of a server', { skip: !ON_CEPH }, () => {
  let server: TestServer;
  let source: string;
  let url: string;

  before(async () => {
    server = await startServer({ store: 's3', env: ENV });
    source = await makeRepository();
    const history = new FastImport();
    const files = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`${i}.bin`, seededBytes(i, 100_000)]));
    // The large one is kept in chunks.
    history.commit('refs/heads/main', { ...files, large: seededBytes(99, 20 << 20) });
    await history.into(source);
    url = `${server.url}/alice/disk.git`;
    await git(['push', '-q', url, 'main'], { cwd: source });
  });

  after(async () => {
    await server?.close();
  });

  /** Clones, and resolves with how often the bucket was asked for bytes. */
  async function getsOfClone(from: string): Promise<number> {
    const folder = join(scratchFolder(), 'clone.git');
    const before = await getsOf(from);
    await git(['clone', '-q', '--mirror', from, folder]);
    await git(['fsck', '--strict'], { cwd: folder });
    assert.equal(await git(['rev-parse', 'main'], { cwd: folder }), await git(['rev-parse', 'main'], { cwd: source }));
    return (await getsOf(from)) - before;
  }

  test('are read of the bucket until they are there', async () => {
    const gets = [await getsOfClone(url), await getsOfClone(url)];
    assert(gets[0]! > 0);
    // What comes faster than the disk takes it is not kept at the first time.
    while (gets.at(-1)! > 0 && gets.length < 6) gets.push(await getsOfClone(url));
    assert.equal(gets.at(-1), 0, `GETs of clones: ${gets}`);
  });

  test('lie in a file without a name, of which nothing is left when the process is killed', async () => {
    const filesOf = (): string[] => {
      const links = readdirSync(`/proc/${server.pid}/fd`).map((fd) => linkOf(`/proc/${server.pid}/fd/${fd}`));
      return links.filter((link) => link.startsWith(server.dataDir) && link.includes('.cache-'));
    };
    const [file, ...others] = filesOf();
    assert.match(file ?? '', / \(deleted\)$/);
    assert.deepEqual(others, []);
    await server.kill9();
    assert.deepEqual(
      readdirSync(server.dataDir).filter((each) => each.startsWith('.cache-')),
      [],
    );
    await server.restart();
    assert((await getsOfClone(url)) > 0);
  });

  test('are read again each time by a server that is told to keep none, or has no place for it', async () => {
    for (const env of [
      { PACKHOUSE_CACHE_DISK_BYTES_MAX: '0' },
      { PACKHOUSE_DATA_DIR: join(import.meta.filename, 'below-a-file') },
    ]) {
      const peer = await server.startPeer({ ...ENV, ...env });
      try {
        for (let i = 0; i < 2; i++) assert((await getsOfClone(`${peer.url}/alice/disk.git`)) > 0);
        assert.equal(peer.log().includes('ranges of packs are kept in memory alone'), 'PACKHOUSE_DATA_DIR' in env);
      } finally {
        await peer.stop();
      }
    }
  });
});

async function getsOf(url: string): Promise<number> {
  const { body } = await wireRequest(`${new URL(url).origin}/metrics`);
  const text = body.toString('latin1');
  const counts = [...text.matchAll(/^packhouse_store_requests_total\{([^}]*)\} (\d+)$/gm)];
  return counts.filter(([, labels]) => labels?.includes('operation="get"')).reduce((sum, [, , count]) => sum + Number(count), 0);
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
