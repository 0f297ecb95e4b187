import { DELIM, encodePkt, FLUSH } from '../internal/pktline/mod.ts';

const AGENT = 'agent=packhouse-bench';

/** The v2 command `ls-refs` for every ref (gitprotocol-v2, "ls-refs"). */
export function lsRefsRequest(): Buffer {
  return Buffer.concat([encodePkt('command=ls-refs\n'), DELIM, encodePkt('peel\n'), encodePkt('symrefs\n'), FLUSH]);
}

/** The v2 command `fetch`, without negotiation: the pack follows at once. `extra` holds lines such as `deepen 1`. */
export function fetchRequest(wants: readonly string[], haves: readonly string[] = [], extra: readonly string[] = []): Buffer {
  const lines = ['ofs-delta', 'no-progress', ...extra];
  lines.push(...wants.map((oid) => `want ${oid}`), ...haves.map((oid) => `have ${oid}`), 'done');
  const head = [encodePkt('command=fetch\n'), encodePkt(AGENT), DELIM];
  return Buffer.concat([...head, ...lines.map((line) => encodePkt(`${line}\n`)), FLUSH]);
}

/** One step of a branch and the pack that it needs. */
export interface Push {
  readonly ref: string;
  readonly from: string;
  readonly to: string;
  readonly pack: Buffer;
}

/** A request of git-receive-pack (gitprotocol-pack, "Reference Update Request and Packfile Transfer"). */
export function pushRequest({ ref, from, to, pack }: Push): Buffer {
  return Buffer.concat([encodePkt(`${from} ${to} ${ref}\0 report-status side-band-64k ${AGENT}`), FLUSH, pack]);
}

/** What is wrong with an answer to a push, or undefined. */
export function refusalOf({ ref }: Push, answer: Buffer): string | undefined {
  if (answer.includes(`ok ${ref}`, 0, 'latin1')) return undefined;
  return answer.toString('latin1', 0, 300);
}
