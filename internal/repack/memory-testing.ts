/**
 * A process of its own for the test of memory: repacks the pack in the file that it is given and prints what came of it and the most memory
 * that it had.
 */
import { createReadStream, readFileSync, statSync } from 'node:fs';
import type { ObjectBlock, Pack } from '../catalog/mod.ts';
import { DEFAULT_PACK_LIMITS, receivePack } from '../ingest/mod.ts';
import { DEFAULT_SEVERITIES } from '../object/mod.ts';
import { tableBlocks } from '../packing/mod.ts';
import { DEFAULT_REPACK_SETTINGS, repack } from './mod.ts';

const [path, spoolFolder] = process.argv.slice(2) as [string, string];

async function known(): Promise<{ pack: Pack; blocks: readonly ObjectBlock[] }> {
  const body = createReadStream(path, { highWaterMark: 1 << 18 });
  const received = await receivePack(body[Symbol.asyncIterator]() as AsyncIterator<Buffer>, Buffer.alloc(0), {
    format: 'sha1',
    limits: DEFAULT_PACK_LIMITS,
    severities: DEFAULT_SEVERITIES,
    memoryBytesMax: 1 << 20,
    thinBytesMax: 1 << 20,
    spoolFolder,
    readBase: async () => null,
  });
  const { objectCount, checksum } = received.pack;
  const blocks = tableBlocks(received.pack, 'sha1');
  await received.dispose();
  const place = { tier: 'store', crateKey: 'c', extentOffset: 0, lengthBytes: statSync(path).size } as const;
  const facts = { allReached: true, based: true, hasDuplicates: false, tips: Buffer.alloc(0), searched: false };
  return { pack: { id: 1, ...place, objectCount, chunkedCount: 0, checksum, ...facts }, blocks };
}

const packs = [await known()];
const result = await repack({
  format: 'sha1',
  packs,
  readPack: () => createReadStream(path),
  readObject: async () => null,
  settings: { ...DEFAULT_REPACK_SETTINGS, spoolFolder },
  signal: new AbortController().signal,
});
const { objectCount, lengthBytes } = result;
await result.dispose();
// Of this process alone: what getrusage tells begins with what the parent had.
const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'latin1'))!;
console.log(JSON.stringify({ objectCount, lengthBytes, peakBytes: Number(peak[1]) * 1024 }));
