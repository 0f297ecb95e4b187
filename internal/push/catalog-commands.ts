import type { RefCommand as CatalogCommand } from '../catalog/mod.ts';
import type { RefCommand } from '../protocol/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';
import { isZero, type Verdict } from './judge-commands.ts';

/** Null for the zero oid. */
export function rawOid(hex: string): Buffer | null {
  return isZero(hex) ? null : Buffer.from(hex, 'hex');
}

/** A command as the catalog takes it. */
export function catalogCommand(command: RefCommand, unknown: ReadonlySet<string>, peeled: Buffer | null): CatalogCommand {
  const deletes = isZero(command.new);
  const unconditional = isZero(command.old) || (deletes && unknown.has(command.old));
  return {
    name: command.ref,
    oldOid: unconditional ? null : Buffer.from(command.old, 'hex'),
    newOid: deletes ? null : Buffer.from(command.new, 'hex'),
    peeled,
  };
}

/** The first push of main or master settles where HEAD points. */
export function chosenHead(view: RepositoryView, standing: readonly Verdict[]): string | null {
  if (view.headChosen) return null;
  const created = new Set(standing.filter(({ command }) => !isZero(command.new)).map(({ command }) => command.ref));
  return ['refs/heads/main', 'refs/heads/master'].find((name) => created.has(name)) ?? null;
}
