import { Command, InvalidArgumentError } from 'commander';
import { PackhouseError } from '../../internal/base/mod.ts';
import { addConfigOptions, print, table, withCatalog } from './cli.ts';

/** `packhouse hold`: what keeps maintenance from deleting what the catalog does not name. */
export function holdCommand(): Command {
  const hold = new Command('hold').description(
    'holds that rebuild and restore set: orphans of the bucket are kept until they are released',
  );
  hold.addCommand(addConfigOptions(list()));
  hold.addCommand(addConfigOptions(release()));
  return hold.addHelpText(
    'after',
    `
Examples:
  packhouse hold list
  packhouse sweep --dry-run        # tells which orphans are kept
  packhouse hold release 1`,
  );
}

function list(): Command {
  return new Command('list')
    .description('list holds')
    .option('--json', 'print JSON')
    .action(async (options: { json?: boolean }, self: Command) => {
      const holds = (await withCatalog(self, (catalog) => catalog.retire.holds())).map(({ id, reason, madeAt }) => ({
        id,
        reason,
        made_at: madeAt.toISOString(),
      }));
      const rows = holds.map((row) => [String(row.id), row.made_at, row.reason]);
      print(options.json ?? false, holds, table(['HOLD', 'SINCE', 'REASON'], rows));
    });
}

function release(): Command {
  return new Command('release')
    .description('release one hold: orphans older than maintenance.upload_lease are removed from then on')
    .argument('<hold>', 'its number, or all', parseHold)
    .option('--json', 'print JSON')
    .action(async (id: number | 'all', options: { json?: boolean }, self: Command) => {
      const released = await withCatalog(self, (catalog) => catalog.retire.releaseHolds(id === 'all' ? null : id));
      if (released === 0)
        throw new PackhouseError('hold-not-found', id === 'all' ? 'there is no hold' : `there is no hold ${id}`);
      print(options.json ?? false, { released }, `released ${released}`);
    });
}

function parseHold(text: string): number | 'all' {
  if (text === 'all') return 'all';
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('expected the number of a hold, or all');
  return Number(text);
}
