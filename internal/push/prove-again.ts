import { PackhouseError } from '../base/mod.ts';
import type { IncomingReader, ReceivedPack } from '../ingest/mod.ts';
import type { ReceiveRequest } from '../protocol/mod.ts';
import { checkConnectivity, type RepositoryView } from '../reach/mod.ts';
import { isZero, type Verdict } from './judge-commands.ts';
import { IncompleteObjects } from './missing.ts';
import type { PushRequest, PushSettings } from './settings.ts';

/** Refuses the commands whose history would be incomplete. */
export async function refuseIncomplete(
  request: ReceiveRequest,
  verdicts: readonly Verdict[],
  received: ReceivedPack,
  reader: IncomingReader,
  missing: ReadonlySet<string>,
): Promise<void> {
  if (missing.size === 0) return;
  const incomplete = new IncompleteObjects(received.pack, reader, missing);
  const belowShallow = new IncompleteObjects(received.pack, reader, missing, new Set(request.shallow));
  for (const verdict of verdicts) {
    const tip = verdict.command.new;
    if (verdict.error !== null || isZero(tip) || !(await incomplete.has(tip))) continue;
    verdict.error = (await belowShallow.has(tip)) ? 'missing necessary objects' : 'shallow update not allowed';
  }
}

/**
 * Objects of the pool were condemned since the push was proven: what it links to outside, and what its deltas are based on, is proven anew from
 * the refs as they are now. Commands that no longer stand are refused as git refuses them, and a client that tries again sends what is missing.
 * The new view, and whether outside objects are reached from parents of the pack's commits.
 * @throws PackhouseError `repository-not-found` when it was deleted or replaced meanwhile
 */
export async function proveAgain(
  settings: PushSettings,
  push: PushRequest,
  request: ReceiveRequest,
  before: RepositoryView,
  verdicts: readonly Verdict[],
  unpacked: { readonly received: ReceivedPack; readonly reader: IncomingReader } | null,
): Promise<{ readonly view: RepositoryView; readonly based: boolean }> {
  const view = await settings.repositories.open(push.owner, push.name);
  if (view === null || view.id !== before.id)
    throw new PackhouseError('repository-not-found', `repository ${push.owner}/${push.name} was deleted meanwhile`);
  if (unpacked === null) return { view, based: false };
  const { received, reader } = unpacked;
  const links = await checkConnectivity(view, received.pack, received.trees);
  // Without its bases the pack cannot be read at all: then deletions are not worth a pack of their own either.
  if (links.missingBases.size > 0) for (const verdict of verdicts) verdict.error ??= 'missing necessary objects';
  await refuseIncomplete(request, verdicts, received, reader, links.missing);
  return { view, based: links.based };
}
