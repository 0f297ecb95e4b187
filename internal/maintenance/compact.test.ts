import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { FastImport, fetchCommand, git, makeRepository, scratchFolder, seededBytes } from '../testkit/mod.ts';
import { type CompactOptions, compact, planCompaction } from './compact.ts';
import { Yard } from './rewrite-testing.ts';
import { seal } from './seal.ts';
import type { RewriteSettings } from './settings.ts';

const NEVER = new AbortController().signal;
const NOW: CompactOptions = { poolId: null, full: false };
const FULL: CompactOptions = { poolId: null, full: true };

describe('compaction', () => {
  let yard: Yard;
  before(async () => {
    // No tail: every push is a crate of its own.
    yard = await Yard.start(['--push-tail-bytes-max', '1', '--chunking-threshold', '7MiB']);
  });
  after(async () => {
    await yard?.close();
  });

  async function run(options: CompactOptions, more: Partial<RewriteSettings> = {}) {
    const settings = { ...yard.settings, ...more };
    return compact(settings, await planCompaction(settings, options), NEVER);
  }

  const crates = async (): Promise<string[]> => {
    const rows = await yard.query<{ crate_key: string }>(
      `select distinct crate_key from packs where state = 'live' and crate_key is not null order by 1`,
    );
    return rows.map((row) => row.crate_key);
  };

  test('makes one ordinary pack of many, and takes what they hold twice once', async () => {
    const local = await yard.pushOneByOne('merged', 12);
    const before = await yard.livePacks('merged');
    assert.equal(before.length, 12);
    const report = await run({ poolId: await yard.poolOf('merged'), full: true });
    assert.deepEqual([report.merged, report.mergedInto, report.crates, report.left, report.failed], [12, 1, 1, 0, 0]);
    const packs = await yard.livePacks('merged');
    assert.equal(packs.length, 1);
    assert(
      packs[0]!.lengthBytes < before.reduce((sum, pack) => sum + pack.lengthBytes, 0) / 2,
      'bases that thin packs were given go',
    );
    await yard.assertClones('merged', local);
    await yard.assertOrdinaryPacks('merged');
    assert.deepEqual(await yard.problems(), []);
    assert.deepEqual((await planCompaction(yard.settings, NOW)).merges, []);
  });

  test('keeps packs growing geometrically, and what is due is queued as a plan that can be printed', async () => {
    const local = await yard.pushOneByOne('geometric', 9);
    const plan = await planCompaction(yard.settings, { poolId: await yard.poolOf('geometric'), full: false });
    assert.deepEqual(JSON.parse(JSON.stringify(plan)), plan);
    assert.equal(plan.merges.length, 1);
    await compact(yard.settings, plan, NEVER);
    const again = await compact(yard.settings, plan, NEVER);
    assert.deepEqual([again.merged, again.left], [0, 1], 'carried out twice it does nothing');
    assert.deepEqual((await planCompaction(yard.settings, NOW)).merges, []);
    await yard.assertClones('geometric', local);
    assert.deepEqual(await yard.problems(), []);
  });

  test('brings small crates of many pools into one, byte for byte', async () => {
    const names = Array.from({ length: 9 }, (_, i) => `small${i}`);
    const locals = new Map<string, string>();
    for (const name of names) locals.set(name, await yard.pushOneByOne(name, 1));
    const bytesOf = async (name: string): Promise<Buffer> => {
      const [pack] = await yard.livePacks(name);
      return yard.store.get(pack!.crateKey!, { offset: pack!.extentOffset, lengthBytes: pack!.lengthBytes });
    };
    const before = await Promise.all(names.map(bytesOf));
    const rowsBefore = await yard.query(
      `select extent_length, object_count, checksum, all_reached, based, tips from packs where state = 'live' order by pool_id`,
    );
    const report = await run(NOW);
    assert(report.gathered >= 9);
    assert.equal(report.failed, 0);
    assert.equal((await crates()).length, 1);
    assert.deepEqual(await Promise.all(names.map(bytesOf)), before);
    const rows = await yard.query(
      `select extent_length, object_count, checksum, all_reached, based, tips from packs where state = 'live' order by pool_id`,
    );
    assert.deepEqual(rows, rowsBefore);
    assert.deepEqual(await yard.problems(), []);
    for (const name of names.slice(0, 3)) {
      await yard.assertClones(name, locals.get(name)!);
      await yard.assertOrdinaryPacks(name);
    }
    assert.deepEqual((await planCompaction(yard.settings, FULL)).gathers, [], 'one crate is not brought together');
  });

  test('takes what lives out of a crate that is mostly dead', async () => {
    const names = ['dead1', 'dead2', 'dead3', 'dead4'];
    const locals: string[] = [];
    for (const name of names) locals.push(await yard.pushOneByOne(name, 1));
    await run(FULL);
    const [crate] = await crates();
    const settings = { ...yard.settings, seal: { ...yard.settings.seal, crateBytes: 1 } };
    assert.deepEqual((await planCompaction(settings, NOW)).crates, [], 'full enough');
    for (let i = 0; i < 3; i++) await yard.pushOneByOne(names[i]!, 2, locals[i]!);
    for (const name of names.slice(0, 3)) await run({ poolId: await yard.poolOf(name), full: true });
    await yard.query(`update packs set state = 'superseded' where state = 'live' and crate_key = $1 and pool_id <> $2`, [
      crate,
      await yard.poolOf('dead4'),
    ]);
    const plan = await planCompaction(settings, NOW);
    assert.deepEqual(
      plan.crates.map(({ key }) => key),
      [crate],
    );
    await yard.query(
      `update packs k set state = 'live' where crate_key = $1 and not exists (
      select 1 from pack_swaps s where s.pool_id = k.pool_id and k.id = any (s.removed))`,
      [crate],
    );
    const report = await run(NOW, settings);
    assert.equal(report.failed, 0);
    for (const [i, name] of names.entries()) await yard.assertClones(name, locals[i]!);
    assert.deepEqual(await yard.problems(), []);
  });

  test('a pack whose bytes are not what they should be stays where it is, and keeps no other from moving', async () => {
    const names = ['sound1', 'broken', 'sound2'];
    for (const name of names) await yard.pushOneByOne(name, 1);
    const [broken] = await yard.livePacks('broken');
    const bytes = await yard.store.get(broken!.crateKey!, { offset: 0, lengthBytes: broken!.lengthBytes });
    const damaged = Buffer.from(bytes);
    damaged[damaged.length - 30]! ^= 1;
    await yard.store.put(broken!.crateKey!, damaged);
    const report = await run(FULL);
    assert.deepEqual(yard.settings.rest.pools('gather'), [await yard.poolOf('broken')], 'it is not tried all the time');
    assert.deepEqual((await planCompaction(yard.settings, NOW)).crates, []);
    await yard.store.delete(broken!.crateKey!);
    assert.equal((await run(FULL)).failed, 1, 'bytes that are gone are no others’ matter either');
    assert.equal(report.failed, 1);
    assert(report.gathered >= 2);
    assert.deepEqual(await yard.livePacks('broken'), [broken]);
    assert.notEqual((await yard.livePacks('sound1'))[0]?.crateKey, broken?.crateKey);
    assert((await yard.problems()).every((problem) => problem.includes(`pack ${broken!.id}`) || problem.includes('o/broken')));
    await yard.store.put(broken!.crateKey!, bytes);
    assert.deepEqual(await yard.problems(), []);
  });

  test('a fetch that began before its packs were replaced is finished', async () => {
    const local = await makeRepository();
    for (let i = 0; i < 3; i++) {
      const importer = new FastImport(1_760_000_000 + i);
      const parents = i === 0 ? [] : ['refs/heads/main'];
      importer.commit('refs/heads/main', { [`large${i}.bin`]: seededBytes(i + 1, 6_000_000) }, { parents });
      await importer.into(local);
      await git(['push', '-q', yard.url('slow'), 'main'], { cwd: local });
    }
    const tip = await git(['rev-parse', 'main'], { cwd: local });
    const body = fetchCommand([tip], [], ['no-progress', 'ofs-delta', 'done']);
    const headers = { 'Git-Protocol': 'version=2', 'Content-Type': 'application/x-git-upload-pack-request' };
    const outgoing = request(`${yard.url('slow')}/git-upload-pack`, { method: 'POST', headers });
    outgoing.end(body);
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
    const parts: Buffer[] = [];
    for await (const part of incoming) {
      parts.push(part as Buffer);
      if (parts.length > 1) continue;
      // The client reads no further until the packs that it is being sent are not live any more.
      const report = await run({ poolId: await yard.poolOf('slow'), full: true });
      assert.equal(report.merged, 3);
      await yard.assertClones('slow', local);
    }
    const answer = Buffer.concat(parts);
    assert(answer.length > 18_000_000);
    const folder = scratchFolder('fetched');
    await git(['init', '-q', '--bare', folder]);
    await git(['index-pack', '--stdin', '--strict'], { cwd: folder, input: packOf(answer) });
    await git(['fsck', '--strict', tip], { cwd: folder });
    assert.deepEqual(await yard.problems(), []);
  });

  test('goes on beside pushes, clones, sealing and another compaction', async () => {
    const names = ['together1', 'together2', 'together3'];
    const locals: string[] = [];
    for (const name of names) locals.push(await yard.pushOneByOne(name, 3));
    let done = false;
    const work = async (step: () => Promise<unknown>): Promise<void> => {
      while (!done) await step();
    };
    const maintenance = [
      work(() => run(FULL)),
      work(() => run(NOW)),
      work(() => seal(yard.settings, { poolId: null, now: true }, NEVER)),
    ];
    for (let round = 0; round < 6; round++) {
      for (const [i, name] of names.entries()) await yard.pushOne(name, locals[i]!, 100 + round);
      await yard.assertClones(names[round % 3]!, locals[round % 3]!);
    }
    done = true;
    await Promise.all(maintenance);
    await run(FULL);
    for (const [i, name] of names.entries()) {
      await yard.assertClones(name, locals[i]!);
      assert.equal((await yard.livePacks(name)).length, 1);
    }
    assert.deepEqual(await yard.problems(), []);
  });

  test('carries chunked blobs along, merged and gathered', async () => {
    const local = await makeRepository();
    const large = seededBytes(77, 8_000_000);
    for (let i = 0; i < 3; i++) {
      const importer = new FastImport(1_760_000_000 + i);
      large.writeUInt32BE(i, 4_000_000);
      const parents = i === 0 ? [] : ['refs/heads/main'];
      importer.commit('refs/heads/main', { 'large.bin': Buffer.from(large), 'small.txt': `${i}\n` }, { parents });
      await importer.into(local);
      await git(['push', '-q', yard.url('chunked'), 'main'], { cwd: local });
    }
    const chunkedOf = async () =>
      (await yard.catalog.packs(await yard.poolOf('chunked'), null)).map(({ objectCount, chunkedCount }) => [
        objectCount,
        chunkedCount,
      ]);
    assert.deepEqual(await chunkedOf(), [
      [4, 1],
      [4, 1],
      [4, 1],
    ]);
    await run({ poolId: await yard.poolOf('chunked'), full: true });
    assert.deepEqual(await chunkedOf(), [[12, 3]]);
    await yard.assertClones('chunked', local);
    assert.deepEqual(await yard.problems(), []);
    await yard.pushOneByOne('chunked-neighbour', 1);
    const report = await run(FULL);
    assert(report.gathered >= 2);
    assert.deepEqual(await chunkedOf(), [[12, 3]]);
    await yard.assertClones('chunked', local);
    assert.deepEqual(await yard.problems(), []);
  });
});

/** The pack in a sideband answer of protocol 2. */
function packOf(answer: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < answer.length; ) {
    const length = Number.parseInt(answer.toString('latin1', at, at + 4), 16);
    if (length > 4 && answer[at + 4] === 1) parts.push(answer.subarray(at + 5, at + length));
    at += Math.max(4, length);
  }
  return Buffer.concat(parts);
}
