import type { PublishPush } from '../../db/queries/publish.ts';
import type { Push } from './types.ts';

/** Whether the pack's index and graph are copied before the rest is published: a small pack's go with the one statement. */
export function isCopied({ pack }: Push): boolean {
  return pack !== null && (pack.place.kind === 'store' || pack.blocks.length !== 1);
}

/** Arguments of the statement that publishes a push. */
export function publishRequest(push: Push): PublishPush {
  const { pack } = push;
  const tail = pack?.place.kind === 'tail' ? pack.place.bytes : null;
  const inline = !isCopied(push);
  const block = inline ? pack?.blocks[0] : undefined;
  return {
    poolId: push.poolId,
    repositoryId: push.repositoryId,
    atomic: push.atomic,
    names: push.commands.map((command) => Buffer.from(command.name, 'latin1')),
    olds: push.commands.map((command) => command.oldOid),
    news: push.commands.map((command) => command.newOid),
    peeled: push.commands.map((command) => command.peeled),
    head: push.head === null ? null : Buffer.from(push.head, 'latin1'),
    actor: push.actor,
    requestId: push.requestId,
    options: push.options,
    sweepEpoch: push.sweepEpoch,
    pack:
      pack === null
        ? null
        : {
            ...pack,
            lease: pack.place.kind === 'store' ? pack.place.lease : null,
            tail,
            block:
              block === undefined
                ? null
                : {
                    ...block,
                    firstOid: block.oids.subarray(0, block.oids.length / block.kinds.length),
                    kinds: Buffer.from(block.kinds),
                  },
            graph: inline && pack.graph.length > 0 ? Buffer.concat(pack.graph) : null,
          },
  };
}
