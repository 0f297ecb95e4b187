import { Command, Option } from 'commander';
import { PackhouseError } from '../../internal/base/mod.ts';
import { type Catalog, forkRepository, type Repository } from '../../internal/catalog/mod.ts';
import type { ObjectFormat } from '../../internal/object/mod.ts';
import { addConfigOptions, hiddenRefsOf, loadCommandConfig, parseRepository, print, table, withCatalog } from './cli.ts';
import { repoAt, repoSetRef } from './history.ts';

type RepositoryName = ReturnType<typeof parseRepository>;

const JSON_OPTION = ['--json', 'print JSON'] as const;

export function repoCommand(): Command {
  const repo = new Command('repo').description('manage repositories');
  for (const command of [create(), fork(), list(), show(), rename(), remove(), setHead(), visibility(), repoAt()])
    repo.addCommand(addConfigOptions(command));
  repo.addCommand(repoSetRef());
  return repo.addHelpText(
    'after',
    `
Examples:
  packhouse repo create alice/demo --private
  packhouse repo fork alice/demo bob/demo
  packhouse repo list --owner alice --json
  packhouse repo rename alice/demo bob/demo
  packhouse repo set-head alice/demo trunk`,
  );
}

function create(): Command {
  return new Command('create')
    .description('create an empty repository (the first push does it too, see push.create_repository)')
    .argument('<repository>', 'owner/name', parseRepository)
    .addOption(new Option('--format <format>', 'object format').choices(['sha1', 'sha256']).default('sha1'))
    .option('--private', 'only tokens that cover it may read it')
    .option(...JSON_OPTION)
    .action(
      async (id: RepositoryName, options: { format: ObjectFormat; private?: boolean; json?: boolean }, command: Command) => {
        const repository = await withCatalog(command, (catalog) =>
          catalog.createRepository({ ...id, format: options.format, private: options.private ?? false }),
        );
        print(options.json ?? false, plain(repository), `created ${id.owner}/${id.name}`);
      },
    );
}

function fork(): Command {
  return new Command('fork')
    .description('make a repository that begins with the refs of another one and shares its objects; nothing is copied')
    .argument('<parent>', 'owner/name', parseRepository)
    .argument('<fork>', 'owner/name', parseRepository)
    .addOption(new Option('--private', 'only tokens that cover it may read it; else it is as its parent').conflicts('public'))
    .option('--public', 'who may read is not limited, even if the parent is private')
    .option(...JSON_OPTION)
    .action(async (parent: RepositoryName, id: RepositoryName, options: ForkOptions, command: Command) => {
      const hiddenRefs = hiddenRefsOf(loadCommandConfig(command).config);
      const visibility = options.private ? true : options.public ? false : null;
      const repository = await withCatalog(command, async (catalog) => {
        const found = await find(catalog, parent);
        await forkRepository(catalog, found, { ...id, private: visibility, hiddenRefs, actor: 'packhouse repo fork' });
        return find(catalog, id);
      });
      const row = plain(repository);
      print(options.json ?? false, row, `forked ${parent.owner}/${parent.name} to ${row.repository}, ${row.visibility}`);
    });
}

interface ForkOptions {
  readonly private?: boolean;
  readonly public?: boolean;
  readonly json?: boolean;
}

function list(): Command {
  return new Command('list')
    .description('list repositories')
    .option('--owner <owner>', 'only those of one owner')
    .option(...JSON_OPTION)
    .action(async (options: { owner?: string; json?: boolean }, command: Command) => {
      const filter = options.owner === undefined ? {} : { owner: options.owner };
      const repositories = (await withCatalog(command, (catalog) => catalog.listRepositories(filter))).map(plain);
      const rows = repositories.map((row) => [row.repository, row.format, row.visibility, row.created_at]);
      print(options.json ?? false, repositories, table(['REPOSITORY', 'FORMAT', 'VISIBILITY', 'CREATED'], rows));
    });
}

function show(): Command {
  return new Command('show')
    .description('show one repository')
    .argument('<repository>', 'owner/name', parseRepository)
    .option(...JSON_OPTION)
    .action(async (id: RepositoryName, options: { json?: boolean }, command: Command) => {
      const repository = plain(await withCatalog(command, (catalog) => find(catalog, id)));
      const lines = Object.entries(repository).map(([key, value]) => `${key.padEnd(10)}  ${value ?? '(the first branch)'}`);
      print(options.json ?? false, repository, lines.join('\n'));
    });
}

function rename(): Command {
  return new Command('rename')
    .description('give a repository another owner or name; the old one is free at once')
    .argument('<repository>', 'owner/name', parseRepository)
    .argument('<new>', 'owner/name', parseRepository)
    .option(...JSON_OPTION)
    .action(async (id: RepositoryName, to: RepositoryName, options: { json?: boolean }, command: Command) => {
      await change(command, id, (catalog, found) => catalog.renameRepository(found.id, to.owner, to.name), to, options);
    });
}

function remove(): Command {
  return new Command('delete')
    .description('delete a repository; its objects are kept for sweep.retention')
    .argument('<repository>', 'owner/name', parseRepository)
    .option(...JSON_OPTION)
    .action(async (id: RepositoryName, options: { json?: boolean }, command: Command) => {
      const repository = await withCatalog(command, async (catalog) => {
        const found = await find(catalog, id);
        await catalog.deleteRepository(found.id);
        return found;
      });
      print(options.json ?? false, plain(repository), `deleted ${id.owner}/${id.name}`);
    });
}

function setHead(): Command {
  return new Command('set-head')
    .description('choose the branch that a clone checks out')
    .argument('<repository>', 'owner/name', parseRepository)
    .argument('[branch]', 'branch name, or a full ref name under refs/heads/')
    .option('--auto', 'follow the first branch again')
    .option(...JSON_OPTION)
    .action(
      async (id: RepositoryName, branch: string | undefined, options: { auto?: boolean; json?: boolean }, command: Command) => {
        if ((branch === undefined) === !options.auto) command.error('error: give a branch or --auto', { exitCode: 2 });
        // Ref names are handled one character a byte; what the shell gave is UTF-8.
        const head = branch === undefined ? null : Buffer.from(fullRef(branch), 'utf8').toString('latin1');
        await change(command, id, (catalog, found) => catalog.setHead(found.id, head), id, options);
      },
    );
}

function visibility(): Command {
  return new Command('visibility')
    .description('say who may read a repository when auth.mode is token')
    .argument('<repository>', 'owner/name', parseRepository)
    .argument('<visibility>', 'public or private')
    .option(...JSON_OPTION)
    .action(async (id: RepositoryName, wanted: string, options: { json?: boolean }, command: Command) => {
      if (wanted !== 'public' && wanted !== 'private') command.error('error: expected public or private', { exitCode: 2 });
      await change(command, id, (catalog, found) => catalog.setPrivate(found.id, wanted === 'private'), id, options);
    });
}

/** Changes one repository and prints what it is afterwards, under the name it then has. */
async function change(
  command: Command,
  id: RepositoryName,
  work: (catalog: Catalog, found: Repository) => Promise<void>,
  then: RepositoryName,
  options: { readonly json?: boolean },
): Promise<void> {
  const repository = await withCatalog(command, async (catalog) => {
    await work(catalog, await find(catalog, id));
    return find(catalog, then);
  });
  const row = plain(repository);
  print(options.json ?? false, row, `${row.repository}: HEAD ${row.head ?? 'follows the first branch'}, ${row.visibility}`);
}

async function find(catalog: Catalog, { owner, name }: RepositoryName): Promise<Repository> {
  const repository = await catalog.findRepository(owner, name);
  if (repository === null) throw new PackhouseError('repository-not-found', `no repository ${owner}/${name}`);
  return repository;
}

function fullRef(branch: string): string {
  return branch.startsWith('refs/') ? branch : `refs/heads/${branch}`;
}

function plain(repository: Repository) {
  return {
    repository: `${repository.owner}/${repository.name}`,
    format: repository.format,
    head: repository.head === null ? null : Buffer.from(repository.head, 'latin1').toString('utf8'),
    visibility: repository.private ? 'private' : 'public',
    created_at: repository.createdAt.toISOString(),
  };
}
