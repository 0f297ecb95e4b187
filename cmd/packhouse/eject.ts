import { mkdir, readdir, rename, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { codeOf, PackhouseError } from '../../internal/base/mod.ts';
import type { Ref } from '../../internal/catalog/mod.ts';
import { repositoryPack } from '../../internal/fetch/mod.ts';
import { receivePack, STORED_PACK_LIMITS } from '../../internal/ingest/mod.ts';
import { STRICT_SEVERITIES, severitiesWith } from '../../internal/object/mod.ts';
import { encodeIdx } from '../../internal/packformat/mod.ts';
import type { RepositoryView } from '../../internal/reach/mod.ts';
import { addConfigOptions, parseRepository, print, STORE_KEYS } from './cli.ts';
import { gitOutput } from './local-git.ts';
import { type Rooms, withRooms } from './rooms.ts';

type RepositoryName = ReturnType<typeof parseRepository>;

/** What was taken when it came goes out again, whatever is thought of it now. */
const LENIENT = severitiesWith(Object.fromEntries(Object.keys(STRICT_SEVERITIES).map((id) => [id, 'ignore'])));

export function ejectCommand(): Command {
  const command = new Command('eject')
    .description('write a repository as an ordinary bare git repository: one pack of all that its refs reach, refs, HEAD')
    .argument('<repository>', 'owner/name', parseRepository)
    .argument('<folder>', 'where to: a folder that does not exist, or is empty')
    .option('--json', 'print JSON')
    .action(async (id: RepositoryName, folder: string, options: { json?: boolean }, self: Command) => {
      const done = await withRooms(self, (rooms) => eject(rooms, id, folder));
      const checked = done.checked_by_git ? 'git has checked it' : 'there is no git here to check it';
      print(
        options.json ?? false,
        done,
        `${folder}: ${done.refs} refs, ${done.objects} objects, ${done.pack_bytes} bytes; ${checked}`,
      );
    });
  return addConfigOptions(command, STORE_KEYS).addHelpText(
    'after',
    `
Every object is read, hashed and indexed on the way. Refs that the configuration hides come along.

Examples:
  packhouse eject alice/demo ./demo.git
  packhouse eject alice/demo /srv/git/demo.git --json`,
  );
}

async function eject(rooms: Rooms, { owner, name }: RepositoryName, folder: string) {
  const view = await rooms.repositories.open(owner, name);
  if (view === null) throw new PackhouseError('repository-not-found', `no repository ${owner}/${name}`);
  await mkdir(folder, { recursive: true });
  if ((await readdir(folder)).length > 0) throw new PackhouseError('folder-not-empty', `${folder} is not empty`);
  for (const sub of ['objects/info', 'objects/pack', 'refs/heads', 'refs/tags'])
    await mkdir(join(folder, sub), { recursive: true });
  const refs = [...view.refs.values()].filter((ref) => !ref.name.startsWith('refs/packhouse/'));
  const { objects, packBytes } = await writePack(rooms, view, refs, folder);
  await writeFile(join(folder, 'config'), configOf(view));
  await writeFile(join(folder, 'packed-refs'), packedRefs(refs), 'latin1');
  // Last: without it git takes the folder for no repository.
  await writeFile(join(folder, 'HEAD'), `ref: ${view.head}\n`, 'latin1');
  return {
    repository: `${owner}/${name}`,
    folder,
    refs: refs.length,
    objects,
    pack_bytes: packBytes,
    checked_by_git: await checked(folder),
  };
}

/** Writes the pack and its index; the same code that verifies a push reads it on the way. */
async function writePack(
  rooms: Rooms,
  view: RepositoryView,
  refs: readonly Ref[],
  folder: string,
): Promise<{ objects: number; packBytes: number }> {
  const { signal } = new AbortController();
  const { objectCount, pieces } = await repositoryPack(view, refs, signal);
  if (objectCount === 0) return { objects: 0, packBytes: 0 };
  const received = await receivePack(pieces, Buffer.alloc(0), {
    format: view.format,
    limits: STORED_PACK_LIMITS,
    severities: LENIENT,
    memoryBytesMax: rooms.config.push.memoryBytesMax,
    spoolFolder: join(folder, 'objects'),
    readBase: async () => null,
  });
  try {
    const { pack, place } = received;
    const path = join(folder, 'objects', 'pack', `pack-${pack.checksum.toString('hex')}`);
    if (place.kind === 'memory') await writeFile(`${path}.pack`, place.bytes, { mode: 0o444 });
    else {
      await truncate(place.path, pack.lengthBytes);
      await rename(place.path, `${path}.pack`);
    }
    await writeFile(`${path}.idx`, encodeIdx({ ...pack, count: pack.objectCount }, view.format), { mode: 0o444 });
    return { objects: pack.objectCount, packBytes: pack.lengthBytes };
  } finally {
    await received.dispose();
  }
}

function configOf(view: RepositoryView): string {
  const core = (version: number): string => `[core]\n\trepositoryformatversion = ${version}\n\tfilemode = true\n\tbare = true\n`;
  return view.format === 'sha1' ? core(0) : `${core(1)}[extensions]\n\tobjectformat = ${view.format}\n`;
}

function packedRefs(refs: readonly Ref[]): string {
  const lines = refs.map(({ name, oid, peeled }) => {
    const line = `${oid.toString('hex')} ${name}\n`;
    return peeled === null ? line : `${line}^${peeled.toString('hex')}\n`;
  });
  return `# pack-refs with: peeled fully-peeled sorted \n${lines.join('')}`;
}

/** Whether a git was there to look at it. @throws PackhouseError when git finds something wrong; the folder is left for a look */
async function checked(folder: string): Promise<boolean> {
  try {
    await gitOutput(['-C', folder, 'fsck', '--connectivity-only', '--no-dangling', '--no-progress'], 'fsck');
    return true;
  } catch (error) {
    if (codeOf(error) !== 'git-absent') throw error;
    return false;
  }
}
