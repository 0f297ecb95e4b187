import { Command } from 'commander';
import { PackhouseError } from '../../internal/base/mod.ts';
import { crateSizes, type PoolSize, poolSizes } from '../../internal/catalog/mod.ts';
import type { PackStore } from '../../internal/packstore/mod.ts';
import { addConfigOptions, parseRepository, print, STORE_KEYS, table } from './cli.ts';
import { withRooms } from './rooms.ts';

type RepositoryName = ReturnType<typeof parseRepository>;

interface StatsOptions {
  readonly pools?: boolean;
  readonly json?: boolean;
}

export function statsCommand(): Command {
  const command = new Command('stats')
    .description('how much is stored: logical, packed and deduplicated bytes, objects of the bucket')
    .argument('[repository]', 'owner/name: the pool that it shares with its forks', parseRepository)
    .option('--pools', 'one line a pool')
    .option('--json', 'print JSON')
    .action(async (id: RepositoryName | undefined, options: StatsOptions, self: Command) => {
      if (id !== undefined && options.pools) self.error('error: give a repository or --pools', { exitCode: 2 });
      const { pools, all } = await withRooms(self, async ({ catalog, store }) => {
        const found = id === undefined ? null : await catalog.findRepository(id.owner, id.name);
        if (id !== undefined && found === null) {
          throw new PackhouseError('repository-not-found', `no repository ${id.owner}/${id.name}`);
        }
        const sizes = await poolSizes(catalog, found?.poolId ?? null);
        const whole = id !== undefined || options.pools ? {} : { ...(await crateSizes(catalog)), ...(await bucketSizes(store)) };
        return { pools: sizes, all: { ...summed(sizes), ...whole } };
      });
      const json = options.json ?? false;
      if (options.pools) print(json, pools.map(plain), table(HEADER, pools.map(line)));
      else print(json, snake(all), text(all));
    });
  return addConfigOptions(command, STORE_KEYS).addHelpText(
    'after',
    `
The views v_pool_size, v_repository_size, v_dedup and v_crates say the same in SQL.

Examples:
  packhouse stats
  packhouse stats alice/demo
  packhouse stats --pools --json`,
  );
}

type Numbers = Readonly<Record<string, number>>;

const HEADER = ['POOL', 'REPOSITORIES', 'PACKS', 'OBJECTS', 'LOGICAL', 'TAIL', 'STORE', 'CHUNKS', 'FIRST'];

function line(pool: PoolSize): string[] {
  const { poolId, repositories, packs, objects, logicalBytes, tailBytes, storeBytes, chunkBytes } = pool;
  const numbers = [poolId, repositories.length, packs, objects, logicalBytes, tailBytes, storeBytes, chunkBytes];
  return [...numbers.map(String), repositories[0] ?? '(deleted)'];
}

function plain({ repositories, ...numbers }: PoolSize) {
  return { ...snake(numbers), repositories };
}

function summed(pools: readonly PoolSize[]): Numbers {
  const sums: Record<string, number> = { pools: pools.length, repositories: 0 };
  for (const { poolId: _, repositories, ...numbers } of pools) {
    sums.repositories = sums.repositories! + repositories.length;
    for (const [key, value] of Object.entries(numbers)) sums[key] = (sums[key] ?? 0) + value;
  }
  return sums;
}

/** Objects of the bucket by what they are: the listing, not the catalog. */
async function bucketSizes(store: PackStore): Promise<Numbers> {
  const sizes = { bucketObjects: 0, bucketBytes: 0, bucketPacks: 0, bucketPackBytes: 0 };
  for await (const { key, lengthBytes: sizeBytes } of store.list('')) {
    sizes.bucketObjects++;
    sizes.bucketBytes += sizeBytes;
    if (!key.endsWith('.pack')) continue;
    sizes.bucketPacks++;
    sizes.bucketPackBytes += sizeBytes;
  }
  return sizes;
}

function snakeName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function snake(numbers: Numbers): Numbers {
  return Object.fromEntries(Object.entries(numbers).map(([key, value]) => [snakeName(key), value]));
}

function text(numbers: Numbers): string {
  return Object.entries(snake(numbers))
    .map(([key, value]) => `${key.replaceAll('_', ' ').padEnd(20)}  ${value.toLocaleString('en').padStart(18)}`)
    .join('\n');
}
