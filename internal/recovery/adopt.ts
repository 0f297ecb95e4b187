import type { Catalog, RefCommand, Repository } from '../catalog/mod.ts';
import { type ObjectFormat, OidMap, oidLength, readGraphRecords } from '../object/mod.ts';
import { PackBytes } from '../packread/mod.ts';
import type { PackStore } from '../packstore/mod.ts';
import { checkConnectivity, type IncomingLinks, proveReached, Repositories, type RepositoryView } from '../reach/mod.ts';
import type { Candidate } from './newer.ts';

const CACHE_BYTES = 64 << 20;

/** What became of one ref of a push that was adopted, or was not. */
export interface AdoptedUpdate {
  readonly ref: string;
  readonly oldOid: string | null;
  readonly newOid: string | null;
  /** `adopted`: set now. `there already`. Else why not. */
  readonly result: string;
}

/**
 * Does pushes again that came after the snapshot, the oldest first: a ref moves when it still has the value that the push found, and when
 * all that its new value needs is proven to be here, as for a push. `linksOf`: what a pack links to outside itself, null when it is not here.
 */
export class Adopter {
  readonly #catalog: Catalog;
  readonly #repositories: Repositories;
  readonly #linksOf: (poolId: number, packId: number) => IncomingLinks | null;

  constructor(catalog: Catalog, store: PackStore, linksOf: (poolId: number, packId: number) => IncomingLinks | null) {
    this.#catalog = catalog;
    this.#repositories = new Repositories(catalog, new PackBytes(catalog, store, CACHE_BYTES), CACHE_BYTES);
    this.#linksOf = linksOf;
  }

  async adopt({ push, poolId, packId }: Candidate): Promise<AdoptedUpdate[]> {
    const told = (result: (update: (typeof push.updates)[number], i: number) => string): AdoptedUpdate[] =>
      push.updates.map((update, i) => ({ ...plain(update), result: result(update, i) }));
    // The repository may have got another name before the snapshot.
    const repository = await this.#find(push.repositoryId);
    if (repository === null || repository.poolId !== poolId) return told(() => 'there is no such repository');
    const view = await this.#repositories.open(repository.owner, repository.name);
    const links = this.#linksOf(poolId, packId);
    if (view === null || links === null) return told(() => 'its pack is not here');
    const linked = await checkConnectivity(view, links, null);
    const nodes = nodesOf(links.graph, view.format);
    const results: string[] = [];
    const commands: { readonly at: number; readonly command: RefCommand }[] = [];
    for (const [at, update] of push.updates.entries()) {
      const refusal = await refusalOf(view, update, linked.complete ? nodes : null);
      results.push(refusal ?? '');
      if (refusal === null) commands.push({ at, command: { ...update, peeled: peeled(view, update.newOid) } });
    }
    const statuses = await this.#publish(
      view,
      commands.map(({ command }) => command),
    );
    commands.forEach(({ at }, i) => {
      results[at] = statuses[i] === 'ok' ? 'adopted' : `the ref cannot be set: ${statuses[i]}`;
    });
    return told((_, i) => results[i]!);
  }

  async #find(id: number): Promise<Repository | null> {
    return (await this.#catalog.listRepositories()).find((one) => one.id === id) ?? null;
  }

  async #publish(view: RepositoryView, commands: readonly RefCommand[]): Promise<readonly string[]> {
    if (commands.length === 0) return [];
    const main = ['refs/heads/main', 'refs/heads/master'].find((name) => commands.some((one) => one.name === name && one.newOid));
    const push = {
      repositoryId: view.id,
      poolId: view.pool.poolId,
      atomic: false,
      commands,
      head: view.headChosen ? null : (main ?? null),
      actor: 'packhouse rebuild',
      requestId: '',
      options: [],
      pack: null,
      sweepEpoch: view.sweepEpoch,
    };
    return this.#catalog.publish(push, view.format);
  }
}

type Update = Candidate['push']['updates'][number];

/** Why a ref is not set; null: it is to be. `proven`: commits and tags of the pack, when all links out of it are. */
async function refusalOf(view: RepositoryView, update: Update, proven: OidMap | null): Promise<string | null> {
  const current = view.refs.get(update.name)?.oid ?? null;
  if (same(current, update.newOid)) return 'there already';
  if (!same(current, update.oldOid)) return `the ref is at ${current?.toString('hex') ?? 'nothing'} now`;
  if (update.newOid === null) return null;
  if (proven?.has(update.newOid)) return null;
  if ((await proveReached(view, update.newOid))[0] === 1) return null;
  return 'not all that it needs is proven to be here';
}

function nodesOf(graph: readonly Buffer[], format: ObjectFormat): OidMap {
  const nodes = new OidMap(oidLength(format));
  for (const records of graph) {
    readGraphRecords(records, format, {
      commit: (bytes, oidAt) => void nodes.add(bytes, oidAt),
      tag: (bytes, oidAt) => void nodes.add(bytes, oidAt),
    });
  }
  return nodes;
}

function peeled(view: RepositoryView, oid: Buffer | null): Buffer | null {
  if (oid === null) return null;
  const node = view.pool.graph.find(oid);
  return node >= 0 && view.pool.graph.isTag(node) ? (view.pool.graph.peel(node)?.oid ?? null) : null;
}

function same(a: Buffer | null, b: Buffer | null): boolean {
  return a === null || b === null ? a === b : a.equals(b);
}

export function plain({ name, oldOid, newOid }: Update): Omit<AdoptedUpdate, 'result'> {
  return { ref: name, oldOid: oldOid?.toString('hex') ?? null, newOid: newOid?.toString('hex') ?? null };
}
