/**
 * A process of its own for the test of memory: receives the pack in the file that it is given and prints what came of it and the most
 * memory that it had.
 */
import { createReadStream } from 'node:fs';
import { DEFAULT_SEVERITIES } from '../object/mod.ts';
import { DEFAULT_PACK_LIMITS, receivePack } from './mod.ts';

const [path, spoolFolder] = process.argv.slice(2) as [string, string];
const body = createReadStream(path, { highWaterMark: 1 << 18 });
const received = await receivePack(body[Symbol.asyncIterator]() as AsyncIterator<Buffer>, Buffer.alloc(0), {
  format: 'sha1',
  limits: DEFAULT_PACK_LIMITS,
  severities: DEFAULT_SEVERITIES,
  memoryBytesMax: 1 << 20,
  spoolFolder,
  readBase: async () => null,
  chunking: {
    thresholdBytes: 16 << 20,
    minBytes: 16 << 10,
    avgBytes: 64 << 10,
    maxBytes: 256 << 10,
    findChunks: async (sha256s) => {
      const nothing = new Float64Array(sha256s.length / 32);
      return { packIds: nothing, offsets: nothing, lengths: nothing };
    },
    readLargeBase: async () => null,
  },
});
const oids = received.chunked.map(({ oid }) => oid.toString('hex'));
await received.dispose();
console.log(
  JSON.stringify({ oids, chunkBytes: received.chunkPack?.lengthBytes, peakBytes: process.resourceUsage().maxRSS * 1024 }),
);
