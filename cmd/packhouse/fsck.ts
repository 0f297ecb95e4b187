import { randomInt } from 'node:crypto';
import { Command, InvalidArgumentError } from 'commander';
import { PackhouseError } from '../../internal/base/mod.ts';
import { type Catalog, openCatalog } from '../../internal/catalog/mod.ts';
import type { Config, ConfigKey } from '../../internal/config/mod.ts';
import { type FsckSummary, fsck, type Problem, problemLine } from '../../internal/maintenance/mod.ts';
import { addConfigOptions, loadCommandConfig, parseRepository, print, STORE_KEYS, withDatabase } from './cli.ts';
import { openStore } from './open-store.ts';
import { progressLine } from './verb-parts.ts';

type RepositoryName = ReturnType<typeof parseRepository>;

const KEYS: readonly ConfigKey[] = [...STORE_KEYS, 'sweep.retention'];

export function fsckCommand(): Command {
  const command = new Command('fsck')
    .description(
      'compare catalog, store and content; changes nothing, may run beside the server; exit code 1 when something is wrong',
    )
    .argument('[repository]', 'owner/name: only this one, with the packs of its pool', parseRepository)
    .option('--connectivity-only', 'leave the contents of packs unread: only that all that refs reach is there')
    .option('--sample <share>', 'read a random part of the packs only: 5%, or 0.05, of their bytes', parseShare)
    .option('--seed <number>', 'draw the same part again: the seed that was printed', parseSeed)
    .option('--json', 'print JSON')
    .action(async (id: RepositoryName | undefined, options: FsckCommandOptions, self: Command) => {
      const { config } = loadCommandConfig(self);
      const problems = await withDatabase(config, (url) => run(config, url, id ?? null, options));
      if (problems > 0) process.exitCode = 1;
    });
  return addConfigOptions(command, KEYS).addHelpText(
    'after',
    `
Examples:
  packhouse fsck
  packhouse fsck alice/demo --json
  packhouse fsck --sample 5%
  packhouse fsck --connectivity-only --config config.devenv.yaml`,
  );
}

interface FsckCommandOptions {
  readonly connectivityOnly?: boolean;
  readonly sample?: number;
  readonly seed?: number;
  readonly json?: boolean;
}

function parseShare(text: string): number {
  const share = text.endsWith('%') ? Number(text.slice(0, -1)) / 100 : Number(text);
  if (text.trim() === '' || !(share > 0 && share <= 1)) throw new InvalidArgumentError('expected a share as 5% or 0.05');
  return share;
}

function parseSeed(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('expected a whole number');
  return Number(text);
}

async function run(config: Config, url: string, id: RepositoryName | null, options: FsckCommandOptions): Promise<number> {
  const { connectivityOnly = false, json = false } = options;
  const sample = options.sample === undefined ? null : { share: options.sample, seed: options.seed ?? randomInt(2 ** 31) };
  const catalog = openCatalog({ url, poolMax: 2, statementTimeoutMs: config.database.statementTimeoutMs });
  const store = openStore(config);
  const found: Problem[] = [];
  const progress = progressLine();
  try {
    await store.check();
    const summary = await fsck({
      catalog,
      store,
      repository: id === null ? null : await find(catalog, id),
      connectivityOnly,
      sample,
      memoryBytesMax: config.push.memoryBytesMax,
      cacheBytesMax: config.cache.bytesMax,
      retentionMs: config.sweep.retentionMs,
      onProblem(problem) {
        progress('');
        if (json) found.push(problem);
        else print(false, problem, problemLine(problem));
      },
      onProgress: progress,
    });
    progress('');
    const drawn = sample === null ? '' : `, ${summary.packsRead} packs read (--sample ${sample.share} --seed ${sample.seed})`;
    print(json, { ...summary, ...(sample === null ? {} : { sample }), problems: found }, summaryLine(summary) + drawn);
    return summary.problems;
  } finally {
    await store.close();
    await catalog.close();
  }
}

async function find(catalog: Catalog, { owner, name }: RepositoryName) {
  const repository = await catalog.findRepository(owner, name);
  if (repository === null) throw new PackhouseError('repository-not-found', `repository ${owner}/${name} does not exist`);
  return repository;
}

function summaryLine({ packs, objects, repositories, refs, unfinishedUploads, problems }: FsckSummary): string {
  const unfinished = unfinishedUploads === 0 ? '' : `, ${unfinishedUploads} unfinished uploads`;
  return `${problems} problems in ${packs} packs (${objects} objects read), ${repositories} repositories (${refs} refs)${unfinished}`;
}
