import { Command, InvalidArgumentError } from 'commander';
import { PackhouseError } from '../../internal/base/mod.ts';
import type { Catalog, Repository } from '../../internal/catalog/mod.ts';
import { parseDurationMs } from '../../internal/config/mod.ts';
import { addConfigOptions, loadCommandConfig, parseRepository, print, STORE_KEYS, table, withCatalog } from './cli.ts';

type RepositoryName = ReturnType<typeof parseRepository>;

const JSON_OPTION = ['--json', 'print JSON'] as const;
const CHANGES_SHOWN = 1000;

/** Ref names are handled one character a byte; a shell gives and a terminal shows UTF-8. */
const asBytes = (name: string): string => Buffer.from(name, 'utf8').toString('latin1');
const asText = (name: string): string => Buffer.from(name, 'latin1').toString('utf8');
const fullRef = (name: string): string => (name.startsWith('refs/') ? name : `refs/heads/${name}`);

export function reflogCommand(): Command {
  const command = new Command('reflog')
    .description('show what has become of the refs of a repository, newest first')
    .argument('<repository>', 'owner/name', parseRepository)
    .argument('[ref]', 'a branch, or a full ref name')
    .option(...JSON_OPTION)
    .action(async (id: RepositoryName, ref: string | undefined, options: { json?: boolean }, self: Command) => {
      const name = ref === undefined ? null : asBytes(fullRef(ref));
      const changes = await withCatalog(self, async (catalog) =>
        catalog.history.changes(await find(catalog, id), name, CHANGES_SHOWN),
      );
      const plain = changes.map((change) => ({
        push: change.pushId,
        at: change.pushedAt.toISOString(),
        actor: change.actor,
        ref: asText(change.ref),
        old: change.oldOid?.toString('hex') ?? null,
        new: change.newOid?.toString('hex') ?? null,
      }));
      const rows = plain.map((row) => [row.at, row.actor, row.ref, row.old ?? '-', row.new ?? '-']);
      print(options.json ?? false, plain, table(['WHEN', 'WHO', 'REF', 'OLD', 'NEW'], rows));
    });
  return addConfigOptions(command).addHelpText(
    'after',
    `
A value can be set again while sweep.retention lasts: packhouse repo set-ref <repository> <ref> <oid>.

Examples:
  packhouse reflog alice/demo
  packhouse reflog alice/demo main --json`,
  );
}

export function undeleteCommand(): Command {
  const command = new Command('undelete')
    .description('bring the repository back that was deleted last under a name, while sweep.retention lasts')
    .argument('<repository>', 'owner/name', parseRepository)
    .option('--as <repository>', 'under another owner/name', parseRepository)
    .option(...JSON_OPTION)
    .action(async (id: RepositoryName, options: { as?: RepositoryName; json?: boolean }, self: Command) => {
      const { config } = loadCommandConfig(self);
      const as = options.as ?? id;
      await withCatalog(self, (catalog) => catalog.history.undelete(id.owner, id.name, as, config.sweep.retentionMs));
      print(options.json ?? false, { repository: `${as.owner}/${as.name}` }, `${as.owner}/${as.name} is back`);
    });
  return addConfigOptions(command, ['data.dir', 'database.url', 'log.level', 'sweep.retention']).addHelpText(
    'after',
    `
Examples:
  packhouse undelete alice/demo
  packhouse undelete alice/demo --as alice/demo-of-before`,
  );
}

/** `packhouse repo at`: the refs as they were. */
export function repoAt(): Command {
  return new Command('at')
    .description('list the refs as they were at a time, by the push log')
    .argument('<time>', 'a date and time (2026-11-20T08:00:00Z), or how long ago: 90m, 2h, 3d', parseTime)
    .argument('<repository>', 'owner/name', parseRepository)
    .option(...JSON_OPTION)
    .action(async (when: Date | number, id: RepositoryName, options: { json?: boolean }, self: Command) => {
      const refs = await withCatalog(self, async (catalog) => {
        // The log has PostgreSQL's times.
        const at = when instanceof Date ? when : new Date((await catalog.retire.now()).getTime() - when);
        return catalog.history.refsAt(await find(catalog, id), at);
      });
      const plain = refs.map(({ ref, oid }) => ({ oid: oid.toString('hex'), ref: asText(ref) }));
      print(options.json ?? false, plain, plain.map(({ oid, ref }) => `${oid} ${ref}`).join('\n'));
    });
}

/** `packhouse repo set-ref`: back to what a ref has named before. */
export function repoSetRef(): Command {
  const command = new Command('set-ref')
    .description("set a ref to a commit or tag of the repository's own history, as `reflog` shows it")
    .argument('<repository>', 'owner/name', parseRepository)
    .argument('<ref>', 'a branch, or a full ref name')
    .argument('<oid>', 'the whole oid')
    .option(...JSON_OPTION)
    .action(async (id: RepositoryName, ref: string, oid: string, options: { json?: boolean }, self: Command) => {
      // What reads objects takes longer to load than all else here.
      const [{ setRef }, { withRooms }] = await Promise.all([import('../../internal/push/mod.ts'), import('./rooms.ts')]);
      const before = await withRooms(self, ({ config, catalog, repositories }) =>
        setRef({ catalog, repositories, retentionMs: config.sweep.retentionMs }, id, asBytes(fullRef(ref)), oid.toLowerCase()),
      );
      const old = before?.toString('hex') ?? null;
      print(options.json ?? false, { ref: fullRef(ref), old, new: oid }, `${fullRef(ref)}: ${old ?? 'new'} -> ${oid}`);
    });
  return addConfigOptions(command, [...STORE_KEYS, 'sweep.retention']);
}

/** A time, or so many milliseconds ago. */
function parseTime(text: string): Date | number {
  const agoMs = parseDurationMs(text);
  if (agoMs !== undefined) return agoMs;
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) throw new InvalidArgumentError('expected a date and time, or how long ago, such as 2h');
  return at;
}

async function find(catalog: Catalog, { owner, name }: RepositoryName): Promise<Repository> {
  const repository = await catalog.findRepository(owner, name);
  if (repository === null) throw new PackhouseError('repository-not-found', `no repository ${owner}/${name}`);
  return repository;
}
