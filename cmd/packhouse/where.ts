import { Command, InvalidArgumentError } from 'commander';
import { PackhouseError } from '../../internal/base/mod.ts';
import { type CopyPlace, whereIs } from '../../internal/maintenance/mod.ts';
import { addConfigOptions, parseRepository, print, STORE_KEYS } from './cli.ts';
import { withRooms } from './rooms.ts';

type RepositoryName = ReturnType<typeof parseRepository>;

export function whereCommand(): Command {
  const command = new Command('where')
    .description(
      'every place where an object is stored: pack, crate, offset, delta chain, chunks; exit code 1 when there is none',
    )
    .argument('<repository>', 'owner/name: its whole pool is looked through', parseRepository)
    .argument('<oid>', 'all hex digits of the object’s name', parseOid)
    .option('--json', 'print JSON')
    .action(async ({ owner, name }: RepositoryName, oid: string, options: { json?: boolean }, self: Command) => {
      const copies = await withRooms(self, async ({ repositories }) => {
        const view = await repositories.open(owner, name);
        if (view === null) throw new PackhouseError('repository-not-found', `no repository ${owner}/${name}`);
        if (oid.length !== view.pool.graph.oidBytes * 2)
          self.error(`error: ${view.format} names have other lengths`, { exitCode: 2 });
        return whereIs(view.pool, Buffer.from(oid, 'hex'));
      });
      if (copies.length === 0)
        throw new PackhouseError('object-missing', `object ${oid} is not stored in the pool of ${owner}/${name}`);
      print(options.json ?? false, copies, copies.map(lines).join('\n'));
    });
  return addConfigOptions(command, STORE_KEYS).addHelpText(
    'after',
    `
Offsets count from the first byte of the pack, which begins at the crate's byte given. A pack without a crate is in PostgreSQL.

Examples:
  packhouse where alice/demo 5c054db0000000000000000000000000000000ab
  packhouse where alice/demo "$(git rev-parse HEAD:README.md)" --json`,
  );
}

function parseOid(text: string): string {
  if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/i.test(text)) throw new InvalidArgumentError('expected 40 or 64 hex digits');
  return text.toLowerCase();
}

function lines({ pack, tier, crate, extent_offset, kind, size, chain, chunks }: CopyPlace): string {
  const place = crate === null ? 'in PostgreSQL' : `${crate} from byte ${extent_offset}`;
  const [first, ...bases] = chain;
  const entry =
    first === undefined || first.offset < 0 ? `${chunks.length} chunks` : `entry at ${first.offset}, ${first.length} bytes`;
  return [
    `pack ${pack} (${tier}), ${place}: ${kind} of ${size} bytes, ${entry}`,
    ...bases.map((base) => {
      const at = base.offset < 0 ? 'as chunks' : `at ${base.offset}, ${base.length} bytes`;
      return `  delta on ${base.oid} in pack ${base.pack} ${at}`;
    }),
    ...chunks.map(
      (chunk) => `  chunk ${chunk.sha256} in pack ${chunk.pack} at ${chunk.offset}, ${chunk.length} bytes for ${chunk.size}`,
    ),
  ].join('\n');
}
