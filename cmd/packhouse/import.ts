import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { PackhouseError } from '../../internal/base/mod.ts';
import type { ObjectFormat } from '../../internal/object/mod.ts';
import { encodePkt, FLUSH, PktReader } from '../../internal/pktline/mod.ts';
import { addConfigOptions, hiddenRefsOf, parseRepository, print, STORE_KEYS } from './cli.ts';
import { gitEnded, gitOutput, spawnGit } from './local-git.ts';
import { pushHere } from './push-here.ts';
import { type Rooms, withRooms } from './rooms.ts';
import { pushSettingsOf } from './wiring.ts';

type RepositoryName = ReturnType<typeof parseRepository>;

interface ImportOptions {
  readonly private?: boolean;
  readonly json?: boolean;
}

export function importCommand(): Command {
  const command = new Command('import')
    .description('take a repository in with all its refs and HEAD, with the git of this machine as the client')
    .argument('<source>', 'folder of a repository, or a URL that git can clone')
    .argument('<repository>', 'owner/name: one that does not exist, or has no refs', parseRepository)
    .option('--private', 'only tokens that cover it may read it')
    .option('--json', 'print JSON')
    .action(async (source: string, id: RepositoryName, options: ImportOptions, self: Command) => {
      const done = await withSource(source, (folder) => withRooms(self, (rooms) => importFrom(rooms, folder, id, options)));
      print(
        options.json ?? false,
        done,
        `imported ${done.refs} refs into ${done.repository}, HEAD ${done.head ?? 'follows the first branch'}`,
      );
    });
  return addConfigOptions(command, STORE_KEYS).addHelpText(
    'after',
    `
It is one push, with the checks and limits of every push but that on the number of refs. Refs that the configuration hides, and those of
one working copy (refs/stash), stay behind.

Examples:
  packhouse import /srv/git/demo.git alice/demo
  packhouse import https://example.com/demo.git alice/demo --private`,
  );
}

/** Gives a folder with the repository: a URL is cloned into one that is then deleted. */
async function withSource<T>(source: string, work: (folder: string) => Promise<T>): Promise<T> {
  if (!/^[a-z][a-z0-9+.-]*:/i.test(source)) return work(source);
  const folder = await mkdtemp(join(tmpdir(), 'packhouse-import-'));
  try {
    await gitOutput(['clone', '--mirror', '--quiet', '--', source, folder], 'clone');
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What is to be taken: refs as `name` and `oid`, names one character a byte. */
interface Source {
  readonly folder: string;
  readonly format: ObjectFormat;
  readonly refs: readonly { readonly name: string; readonly oid: string }[];
  readonly head: string | null;
}

async function readSource(folder: string, hidden: readonly string[]): Promise<Source> {
  const git = (...args: string[]): Promise<string> => gitOutput(['-C', folder, ...args], args[0]!);
  if ((await git('rev-parse', '--is-shallow-repository')) === 'true') {
    throw new PackhouseError('source-shallow', `${folder} is shallow: its history is not whole`);
  }
  const kept = hidden.map((prefix) => prefix.replace(/\/$/, ''));
  const isHidden = (name: string): boolean => kept.some((prefix) => name === prefix || name.startsWith(`${prefix}/`));
  // refs/stash and its like belong to one working copy: no server of git takes a name of two parts.
  const isPrivate = (name: string): boolean => !/^refs\/[^/]+\//.test(name);
  const lines = (await git('for-each-ref', '--format=%(objectname) %(refname)')).split('\n').filter((line) => line !== '');
  const refs = lines.map((line) => ({ oid: line.slice(0, line.indexOf(' ')), name: line.slice(line.indexOf(' ') + 1) }));
  const head = await git('symbolic-ref', '-q', 'HEAD').catch(() => null);
  const format = (await git('rev-parse', '--show-object-format')) as ObjectFormat;
  return { folder, format, refs: refs.filter(({ name }) => !isHidden(name) && !isPrivate(name)), head };
}

async function importFrom(rooms: Rooms, folder: string, id: RepositoryName, options: ImportOptions) {
  const { catalog, config } = rooms;
  const source = await readSource(folder, hiddenRefsOf(config));
  const before = await rooms.repositories.open(id.owner, id.name);
  if (before !== null && (before.refs.size > 0 || before.format !== source.format)) {
    throw new PackhouseError(
      'repository-exists',
      `repository ${id.owner}/${id.name} exists and has refs, or another object format`,
    );
  }
  const { id: repositoryId } =
    before ?? (await catalog.createRepository({ ...id, format: source.format, private: options.private ?? false }));
  try {
    if (source.refs.length > 0) await push(rooms, source, id);
    if (source.head?.startsWith('refs/heads/')) await catalog.setHead(repositoryId, source.head);
  } catch (error) {
    if (before === null) await catalog.deleteRepository(repositoryId);
    throw error;
  }
  const head = source.head === null ? null : Buffer.from(source.head, 'latin1').toString('utf8');
  return { repository: `${id.owner}/${id.name}`, refs: source.refs.length, head };
}

/** Pushes everything in this process, as one request. @throws PackhouseError `import-refused` with what the report says */
async function push(rooms: Rooms, source: Source, id: RepositoryName): Promise<void> {
  const settings = pushSettingsOf(rooms.config, rooms);
  const { refs } = source;
  const refsMax = Math.max(settings.protocolLimits.commandsMax, refs.length);
  const protocolLimits = { ...settings.protocolLimits, commandsMax: refsMax, commandBytesMax: refsMax * 4096 };
  const lines = readLines(
    await pushHere({ ...settings, protocolLimits, refsMax: Number.POSITIVE_INFINITY }, id, 'packhouse import', request(source)),
  );
  const refused = lines.filter((line) => !/^(ok |unpack ok$)/.test(line));
  if (refused.length === 0 && lines.length === refs.length + 1) return;
  const shown = refused.slice(0, 20).map((line) => `  ${Buffer.from(line, 'latin1').toString('utf8')}`);
  throw new PackhouseError('import-refused', `the push was not taken whole:\n${shown.join('\n')}`);
}

function readLines(report: Buffer): string[] {
  const reader = new PktReader(report);
  const lines: string[] = [];
  for (let packet = reader.next(); packet !== null; packet = reader.next()) {
    if (packet.kind === 'data') lines.push(packet.data.toString('latin1').replace(/\n$/, ''));
  }
  return lines;
}

/** The body of a push to git-receive-pack: commands, then the pack as git makes it. */
async function* request({ folder, format, refs }: Source): AsyncGenerator<Buffer> {
  const zero = '0'.repeat(format === 'sha1' ? 40 : 64);
  const capabilities = `\0report-status object-format=${format}`;
  for (const [i, { name, oid }] of refs.entries()) yield encodePkt(`${zero} ${oid} ${name}${i === 0 ? capabilities : ''}`);
  yield FLUSH;
  const child = spawnGit(['-C', folder, 'pack-objects', '--revs', '--stdout', '--delta-base-offset', '-q'], 'pipe');
  const ended = gitEnded(child, 'pack-objects');
  // Heard at the end; the reader below stops as soon as git does.
  ended.catch(() => {});
  child.stdin?.on('error', () => {});
  child.stdin?.end(`${[...new Set(refs.map(({ oid }) => oid))].join('\n')}\n`);
  try {
    if (child.stdout !== null) yield* child.stdout as AsyncIterable<Buffer>;
    await ended;
  } finally {
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
      child.kill();
      await once(child, 'close');
    }
  }
}
