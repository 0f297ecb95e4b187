import { once } from 'node:events';
import { Command, InvalidArgumentError } from 'commander';
import { PackhouseError } from '../../internal/base/mod.ts';
import type { Catalog } from '../../internal/catalog/mod.ts';
import type { Config } from '../../internal/config/mod.ts';
import { oidLength } from '../../internal/object/mod.ts';
import { isChunked, ObjectReader, PackBytes, PoolIndex } from '../../internal/packread/mod.ts';
import type { PackStore } from '../../internal/packstore/mod.ts';
import { addConfigOptions, loadCommandConfig, parseRepository } from './cli.ts';
import { withStore } from './verb-parts.ts';

/** Bytes `first` to `last`, both of them included, as in HTTP; `last` is infinite for the rest. */
interface ByteRange {
  readonly first: number;
  readonly last: number;
}

export function catCommand(): Command {
  const command = new Command('cat')
    .description('write an object to standard output; of a large blob that is kept as chunks only those of the range are read')
    .argument('<repository>', 'owner/name', parseRepository)
    .argument('<oid>', 'an object of its pool, in hex: an operator sees what no ref reaches too', parseOid)
    .option('--range <first-last>', 'these bytes of it, counted from 0, the last one included; `1000-` for the rest', parseRange)
    .action(async (id: ReturnType<typeof parseRepository>, oid: Buffer, options: { range?: ByteRange }, self: Command) => {
      const { config } = loadCommandConfig(self);
      const range = options.range ?? { first: 0, last: Number.POSITIVE_INFINITY };
      await withStore(config, async (catalog, store, signal) => {
        for await (const piece of objectBytes(config, catalog, store, id, oid, range, signal)) {
          if (!process.stdout.write(piece)) await once(process.stdout, 'drain', { signal });
        }
      });
    });
  return addConfigOptions(command, ['data.dir', 'database.url', 'store.kind', 'log.level']).addHelpText(
    'after',
    `
Examples:
  packhouse cat alice/demo 3b18e512dba79e4c8300dd08aeb37f8e728b8dad
  packhouse cat alice/assets d670460b4b4aece5915caf5c68d12f560a9fe3e4 --range 1048576-2097151 >slice`,
  );
}

function parseOid(text: string): Buffer {
  if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(text)) throw new InvalidArgumentError('expected 40 or 64 lower-case hex digits');
  return Buffer.from(text, 'hex');
}

function parseRange(text: string): ByteRange {
  const [, first = '', last = ''] = /^(\d+)-(\d*)$/.exec(text) ?? [];
  const range = { first: Number(first), last: last === '' ? Number.POSITIVE_INFINITY : Number(last) };
  if (first === '' || !Number.isSafeInteger(range.first) || range.last < range.first) {
    throw new InvalidArgumentError('expected first-last or first-, counted from 0');
  }
  return range;
}

/** Bytes of an object in pieces. Whole objects are held, but for blobs that are kept as chunks. @throws PackhouseError `object-missing` */
async function* objectBytes(
  config: Config,
  catalog: Catalog,
  store: PackStore,
  { owner, name }: ReturnType<typeof parseRepository>,
  oid: Buffer,
  { first, last }: ByteRange,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const repository = await catalog.findRepository(owner, name);
  if (repository === null) throw new PackhouseError('repository-not-found', `repository ${owner}/${name} does not exist`);
  const absent = new PackhouseError('object-missing', `${owner}/${name} has no object ${oid.toString('hex')}`);
  if (oid.length !== oidLength(repository.format)) throw absent;
  const index = new PoolIndex(catalog, repository.poolId, repository.format);
  for (const pack of await catalog.packs(repository.poolId, null)) index.add(pack);
  const [location] = await index.find(oid);
  if (!location) throw absent;
  const reader = new ObjectReader(new PackBytes(catalog, store, config.cache.bytesMax / 2), index);
  if (isChunked(location)) yield* reader.chunked.range(await reader.chunked.recipe(location), first, last + 1, signal);
  else yield (await reader.read(location, signal)).data.subarray(first, last + 1);
}
