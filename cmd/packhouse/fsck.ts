import { Command } from 'commander';
import { PackhouseError } from '../../internal/base/mod.ts';
import { type Catalog, openCatalog } from '../../internal/catalog/mod.ts';
import type { Config, ConfigKey } from '../../internal/config/mod.ts';
import { type FsckSummary, fsck, type Problem, problemLine } from '../../internal/maintenance/mod.ts';
import { addConfigOptions, loadCommandConfig, parseRepository, print, withDatabase } from './cli.ts';
import { openStore, packLimitsOf } from './wiring.ts';

type RepositoryName = ReturnType<typeof parseRepository>;

const KEYS: readonly ConfigKey[] = [
  'data.dir',
  'database.url',
  'store.kind',
  'store.s3.endpoint',
  'store.s3.region',
  'store.s3.bucket',
  'store.s3.path_style',
  'log.level',
];

export function fsckCommand(): Command {
  const command = new Command('fsck')
    .description(
      'compare catalog, store and content; changes nothing, may run beside the server; exit code 1 when something is wrong',
    )
    .argument('[repository]', 'owner/name: only this one, with the packs of its pool', parseRepository)
    .option('--connectivity-only', 'leave the contents of packs unread: only that all that refs reach is there')
    .option('--json', 'print JSON')
    .action(async (id: RepositoryName | undefined, options: { connectivityOnly?: boolean; json?: boolean }, self: Command) => {
      const { config } = loadCommandConfig(self);
      const problems = await withDatabase(config, (url) =>
        run(config, url, id ?? null, options.connectivityOnly ?? false, options.json ?? false),
      );
      if (problems > 0) process.exitCode = 1;
    });
  return addConfigOptions(command, KEYS).addHelpText(
    'after',
    `
Examples:
  packhouse fsck
  packhouse fsck alice/demo --json
  packhouse fsck --connectivity-only --config config.devenv.yaml`,
  );
}

async function run(
  config: Config,
  url: string,
  id: RepositoryName | null,
  connectivityOnly: boolean,
  json: boolean,
): Promise<number> {
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
      packLimits: packLimitsOf(config),
      memoryBytesMax: config.push.memoryBytesMax,
      cacheBytesMax: config.cache.bytesMax,
      onProblem(problem) {
        progress('');
        if (json) found.push(problem);
        else print(false, problem, problemLine(problem));
      },
      onProgress: progress,
    });
    progress('');
    print(json, { ...summary, problems: found }, summaryLine(summary));
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

/** Shows one line that the next one replaces, on a terminal only. */
function progressLine(): (text: string) => void {
  if (!process.stderr.isTTY) return () => undefined;
  return (text) => void process.stderr.write(`\r\u001b[K${text}`);
}
