import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  describeOnStores,
  FastImport,
  type FileChange,
  git,
  peakMemoryBytes,
  reachableObjects,
  refLines,
  resetPeakMemory,
  scratchFolder,
  seededBytes,
} from '../../../internal/testkit/mod.ts';

const MIB = 2 ** 20;
/** What one server process may hold at its peak, whatever the objects' sizes: code and heap, caches, worker threads. */
const PEAK_BYTES_MAX = 700 * MIB;
const LONG = process.env.PACKHOUSE_TEST_LONG === '1';

let repositories = 0;

describeOnStores('round trip', {}, (server) => {
  /** Pushes everything, clones it back, and checks that it is the same. */
  async function roundTrip(local: string, fsck = true): Promise<string> {
    const url = `${server().url}/carol/shape-${++repositories}.git`;
    await git(['push', '-q', '--mirror', url], { cwd: local });
    const clone = join(scratchFolder(), 'c.git');
    await git(['clone', '-q', '--mirror', url, clone]);
    if (fsck) await git(['fsck', '--full', '--strict', '--no-progress', '--no-dangling'], { cwd: clone });
    assert.deepEqual(await reachableObjects(clone), await reachableObjects(local));
    assert.equal(await refLines(clone), await refLines(local));
    return clone;
  }

  test('of 10,000 files in a directory, and of a change to one of them', async () => {
    const importer = new FastImport();
    const files = Object.fromEntries(
      Array.from({ length: 10_000 }, (_, i) => [`many/f${String(i).padStart(5, '0')}`, `file ${i}\n`]),
    );
    const first = importer.commit('refs/heads/main', files, { parents: [] });
    importer.commit('refs/heads/main', { 'many/f05000': 'changed\n' }, { parents: [first] });
    await roundTrip(await importer.into());
  });

  test('of a directory 200 levels deep', async () => {
    const path = `${Array.from({ length: 200 }, (_, i) => `d${i}`).join('/')}/leaf`;
    const importer = new FastImport();
    const first = importer.commit('refs/heads/main', { [path]: 'leaf\n', top: 'top\n' }, { parents: [] });
    importer.commit('refs/heads/main', { [path]: 'another\n' }, { parents: [first] });
    await roundTrip(await importer.into());
  });

  test('of names in any bytes, modes, gitlinks, empty and odd content', async () => {
    const importer = new FastImport();
    const kinds: Record<string, FileChange> = {
      'caf\xe9/\xff\xfe.bin': 'latin1\n',
      'sp ace/qu"ote': 'q\n',
      'tab\there': 't\n',
      'new\nline': 'n\n',
      'utf8-\xc3\xa9\xe4\xb8\xad': 'u\n',
      run: { mode: '100755', content: 'x\n' },
      link: { mode: '120000', content: '../outside' },
      module: { mode: '160000', content: 'ab'.repeat(20) },
      '.gitmodules': '[submodule "module"]\n\tpath = module\n\turl = ./none\n',
      empty: '',
      nul: '\0\0\0',
      '-dash': 'd\n',
      'a.b': '1',
      'a/b': '2',
      a0: '3',
    };
    const message = Buffer.from(`subject\n\n${'a long line of text '.repeat(6000)}\n\xff\xfe not UTF-8\n`, 'latin1');
    const first = importer.commit('refs/heads/main', kinds, { parents: [], message });
    const second = importer.commit('refs/heads/main', {}, { parents: [first], message: '' });
    importer.commit('refs/heads/main', {}, { parents: [second], clean: true, message: 'an empty tree\n' });
    importer.reset('refs/heads/n\xe4me', second);
    await roundTrip(await importer.into());
  });

  test('of octopus and criss-cross merges and of several roots', async () => {
    const importer = new FastImport();
    const root = importer.commit('refs/heads/main', { r: 'r\n' }, { parents: [] });
    const arms = Array.from({ length: 9 }, (_, i) =>
      importer.commit(`refs/heads/arm${i}`, { [`arm${i}`]: 'x\n' }, { parents: [root] }),
    );
    let [a, b] = [arms[0] ?? root, arms[1] ?? root];
    for (let i = 0; i < 10; i++) {
      const [x, y] = [a, b];
      a = importer.commit('refs/heads/x', { x: `${i}\n` }, { parents: [x, y] });
      b = importer.commit('refs/heads/y', { y: `${i}\n` }, { parents: [y, x] });
    }
    const other = importer.commit('refs/heads/other', { o: 'o\n' }, { parents: [] });
    importer.commit('refs/heads/main', {}, { parents: [...arms, a, b, other] });
    await roundTrip(await importer.into());
  });

  test('of blobs of 72 MiB, random and regular, holds neither in memory', async () => {
    const importer = new FastImport();
    const regular = Buffer.alloc(72 * MIB, 'all work and no play makes a dull file\n');
    const first = importer.commit(
      'refs/heads/main',
      { 'big.bin': seededBytes(9, 72 * MIB), 'big.txt': regular },
      { parents: [] },
    );
    importer.commit('refs/heads/main', { small: 's\n' }, { parents: [first] });
    const local = await importer.into();
    resetPeakMemory(server().pid);
    await roundTrip(local);
    const peak = peakMemoryBytes(server().pid);
    assert.ok(peak < PEAK_BYTES_MAX, `the server's peak was ${Math.round(peak / MIB)} MiB`);
  });

  test('of a blob of 1 GiB stays within the same memory', { skip: !LONG && 'set PACKHOUSE_TEST_LONG=1' }, async () => {
    const importer = new FastImport();
    importer.commit('refs/heads/main', { 'huge.bin': seededBytes(10, 1024 * MIB) }, { parents: [] });
    const local = await importer.into();
    resetPeakMemory(server().pid);
    await roundTrip(local, false);
    const peak = peakMemoryBytes(server().pid);
    assert.ok(peak < PEAK_BYTES_MAX, `the server's peak was ${Math.round(peak / MIB)} MiB`);
  });
});
