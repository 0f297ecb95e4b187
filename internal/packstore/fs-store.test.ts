import assert from 'node:assert/strict';
import { mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { hasCode, listed } from './conformance.ts';
import { createFsStore } from './fs-store.ts';
import { HandleCache } from './handle-cache.ts';
import type { PackStore } from './store.ts';

async function withStore(run: (store: PackStore, root: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'packstore-'));
  const root = join(folder, 'packs');
  const store = createFsStore({ root });
  try {
    await run(store, root);
  } finally {
    await store.close();
    await rm(folder, { recursive: true });
  }
}

async function openDescriptors(path: string): Promise<number> {
  const { readlink } = await import('node:fs/promises');
  const links = await Promise.all((await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
  return links.filter((link) => link.startsWith(path)).length;
}

test('fs: a key is the file of that name', async () => {
  await withStore(async (store, root) => {
    await store.put('crates/ab/ab12.pack', Buffer.from('PACK'));
    assert.equal(await readFile(join(root, 'crates/ab/ab12.pack'), 'utf8'), 'PACK');
    assert.equal((await stat(join(root, 'crates/ab/ab12.pack'))).mode & 0o077, 0, 'readable by the owner only');
    assert.deepEqual(await readdir(join(root, '.tmp')), []);
  });
});

test('fs: bytes past 2^32 are read where they are', async () => {
  await withStore(async (store, root) => {
    await store.check();
    const lengthBytes = 2 ** 33 + 5;
    const handle = await open(join(root, 'sparse.pack'), 'w');
    await handle.truncate(lengthBytes);
    await handle.write(Buffer.from('past'), 0, 4, 2 ** 32 + 1);
    await handle.write(Buffer.from('end'), 0, 3, lengthBytes - 3);
    await handle.close();
    assert.equal((await store.head('sparse.pack'))?.lengthBytes, lengthBytes);
    assert.equal((await store.get('sparse.pack', { offset: 2 ** 32, lengthBytes: 6 })).toString('latin1'), '\0past\0');
    assert.equal((await store.get('sparse.pack', { offset: lengthBytes - 3, lengthBytes: 3 })).toString(), 'end');
    await assert.rejects(store.get('sparse.pack', { offset: lengthBytes - 3, lengthBytes: 4 }), hasCode('store-short'));
  });
});

test('fs: leftovers of a dead process are not listed and can be removed', async () => {
  await withStore(async (store, root) => {
    await store.put('kept', Buffer.from('x'));
    for (const [name, ageSeconds] of [
      ['old', 7_200],
      ['young', 10],
    ] as const) {
      const path = join(root, '.tmp', name);
      await writeFile(path, 'half a pack');
      const touched = Date.now() / 1000 - ageSeconds;
      await utimes(path, touched, touched);
    }
    assert.deepEqual(
      (await listed(store, '')).map(({ key }) => key),
      ['kept'],
    );
    assert.equal(await store.removeUnfinished(3_600), 1);
    assert.deepEqual(await readdir(join(root, '.tmp')), ['young']);
  });
});

test('fs: how old an unfinished file is the file system says, whatever the clock of the process', async (t) => {
  await withStore(async (store, root) => {
    await store.put('kept', Buffer.from('x'));
    await writeFile(join(root, '.tmp', 'running'), 'half a pack');
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 7_200_000 });
    assert.equal(await store.removeUnfinished(3_600), 0);
    assert.deepEqual(await readdir(join(root, '.tmp')), ['running']);
    t.mock.timers.reset();
  });
});

test('fs: files that are no keys are passed over', async () => {
  await withStore(async (store, root) => {
    await store.put('a/real.pack', Buffer.from('x'));
    await writeFile(join(root, 'a', 'README.TXT'), '');
    await writeFile(join(root, 'a', '.hidden'), '');
    await mkdir(join(root, 'lost+found'));
    assert.deepEqual(
      (await listed(store, '')).map(({ key }) => key),
      ['a/real.pack'],
    );
  });
});

test('fs: a folder is not an object', async () => {
  await withStore(async (store) => {
    await store.put('a/b/c', Buffer.from('x'));
    assert.equal(await store.head('a/b'), null);
    assert.equal(await store.head('a/b/c/d'), null);
    await assert.rejects(store.get('a/b', { offset: 0, lengthBytes: 1 }), hasCode('store-missing'));
    await store.delete('a/b');
    await assert.rejects(store.put('a/b', Buffer.from('x')), hasCode('store-unavailable'));
    await assert.rejects(store.put('a/b/c/d', Buffer.from('x')), hasCode('store-unavailable'));
    assert.deepEqual(
      (await listed(store, '')).map(({ key }) => key),
      ['a/b/c'],
    );
    assert.equal(await store.removeUnfinished(-60), 0);
  });
});

test('fs: nothing is called missing when the root has vanished', async () => {
  await withStore(async (store, root) => {
    await store.put('a/b', Buffer.from('x'));
    await rename(root, `${root}-unmounted`);
    await mkdir(root);
    await assert.rejects(store.head('a/b'), hasCode('store-unavailable'));
    await assert.rejects(store.get('a/b', { offset: 0, lengthBytes: 1 }), hasCode('store-unavailable'));
    await assert.rejects(store.delete('a/b'), hasCode('store-unavailable'));
    await assert.rejects(listed(store, ''), hasCode('store-unavailable'));
    await assert.rejects(store.check(), hasCode('store-unavailable'));
    await rm(root, { recursive: true });
    await rename(`${root}-unmounted`, root);
    assert.equal((await store.head('a/b'))?.lengthBytes, 1);
  });
});

test('fs: a root that cannot be made is unavailable, and is tried again', async () => {
  await withStore(async (store, root) => {
    await writeFile(root, 'a file in the way');
    await assert.rejects(store.check(), hasCode('store-unavailable'));
    await assert.rejects(store.put('a', Buffer.from('x')), hasCode('store-unavailable'));
    await rm(root);
    await store.check();
    await store.put('a', Buffer.from('x'));
  });
});

test('fs: ranged reads share one open file, and a deleted file is let go', { skip: process.platform !== 'linux' }, async () => {
  await withStore(async (store, root) => {
    await store.put('hot', Buffer.alloc(10_000));
    await Promise.all(Array.from({ length: 50 }, (_, at) => store.get('hot', { offset: at, lengthBytes: 100 })));
    assert.equal(await openDescriptors(root), 1);
    await store.delete('hot');
    for (let turn = 0; turn < 100 && (await openDescriptors(root)) > 0; turn += 1) await new Promise(setImmediate);
    assert.equal(await openDescriptors(root), 0);
  });
});

test('fs: a store that was closed holds no file and says so', async () => {
  await withStore(async (store) => {
    await store.put('a', Buffer.from('x'));
    await store.get('a', { offset: 0, lengthBytes: 1 });
    await store.close();
    await assert.rejects(store.get('a', { offset: 0, lengthBytes: 1 }), hasCode('store-unavailable'));
  });
});

test('handle cache: keeps the most recently used files, and closes idle ones', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'packstore-'));
  const cache = new HandleCache({ filesMax: 2, idleMilliseconds: 5 });
  try {
    const read = (name: string) => cache.use(join(folder, name), async ({ handle }) => (await handle.readFile()).toString());
    for (const name of ['a', 'b', 'c']) await writeFile(join(folder, name), name);
    for (const name of ['a', 'b', 'a', 'c']) await read(name);
    assert.ok(cache.size <= 2);
    await assert.rejects(
      cache.use(join(folder, 'none'), async () => {}),
      { code: 'ENOENT' },
    );
    for (let turn = 0; turn < 1_000 && cache.size > 0; turn += 1) await new Promise((done) => setTimeout(done, 5));
    assert.equal(cache.size, 0);
  } finally {
    await cache.close();
    await rm(folder, { recursive: true });
  }
});

test('handle cache: a file dropped while it is read is read to the end', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'packstore-'));
  const cache = new HandleCache({ filesMax: 1, idleMilliseconds: 1_000 });
  try {
    await writeFile(join(folder, 'a'), 'still here');
    const text = await cache.use(join(folder, 'a'), async ({ handle, lengthBytes }) => {
      cache.drop(join(folder, 'a'));
      await new Promise(setImmediate);
      const { buffer } = await handle.read(Buffer.alloc(lengthBytes), 0, lengthBytes, 0);
      return buffer.toString();
    });
    assert.equal(text, 'still here');
  } finally {
    await cache.close();
    await rm(folder, { recursive: true });
  }
});
