import { PushChain } from './pushes.ts';
import { fetchRequest, lsRefsRequest, type Push, pushRequest, refusalOf } from './requests.ts';
import type { Server } from './servers.ts';
import type { Source } from './source.ts';
import { type Answer, Connection } from './wire.ts';

export const SOURCE = 'bench/source.git';
export const INITIAL_PUSH = 'initial push';
export const INITIAL_PUSH_COLD = 'initial push, cold';
/** Few objects and many refs. */
export const MANY_REFS = 'bench/many-refs.git';
const CLIENTS = 8;

/** How much is done. */
export interface Effort {
  readonly rounds: number;
  /** Requests of each small read in a round. */
  readonly reads: number;
  /** One-commit pushes in a round. */
  readonly pushes: number;
  /** Pushes of each of the clients that push at once, in a round. */
  readonly pushesPerClient: number;
}

/** Where the requests of one server go. */
export interface Target {
  readonly name: Server['name'];
  readonly url: string;
  /** The one keep-alive connection of everything that is not concurrent. */
  readonly connection: Connection;
}

/** What one run of an item did on one server. */
export interface Run {
  readonly operations: number;
  readonly answers: readonly Answer[];
  /** From the first request to the last answer, where clients work at once. */
  readonly milliseconds: number;
}

/** Work that is the same for both servers in one round. */
export type Work = (target: Target) => Promise<Run>;

export interface Item {
  readonly name: string;
  /** Several clients work at the same time. */
  readonly atOnce: boolean;
  /** What came before has warmed all that it uses, and it would leave maintenance to do. */
  readonly isWarm?: boolean;
  /** Prepares the work of one round; `count` is the number of requests where the caller wants another than the effort's. */
  prepare(count?: number): Prepared;
}

export interface Prepared {
  /** Around the work, untimed. */
  readonly setUp?: (target: Target) => Promise<void>;
  readonly work: Work;
  readonly tearDown?: (target: Target) => Promise<void>;
}

/** Items of the view on the wire that are measured cold too. */
export const COLD_ON_WIRE: ReadonlySet<string> = new Set(['clone', 'depth 1', 'fetch of 1 commit', 'push of 1 commit']);

/** The items in the order of a round. */
export function itemsOf(source: Source, effort: Effort, manyRefs: number): Item[] {
  const { tips, head, parent } = source;
  return [
    reads('ls-refs', lsRefsRequest(), effort.reads),
    reads(`ls-refs of ${manyRefs} refs`, lsRefsRequest(), effort.reads, MANY_REFS),
    reads('clone', fetchRequest(tips), 1),
    reads('depth 1', fetchRequest([head], [], ['deepen 1']), Math.ceil(effort.reads / 4)),
    reads('blob:none', fetchRequest(tips, [], ['filter blob:none']), 1),
    reads('no-op fetch', fetchRequest([head], [head]), effort.reads),
    reads('fetch of 1 commit', fetchRequest([head], [parent]), effort.reads),
    onePush(source, effort.pushes, SOURCE),
    pushesAtOnce('8 pushers, 8 repositories', effort.pushesPerClient, (run, client) => ({
      repository: `bench/r${run}-${client}.git`,
      chain: new PushChain('refs/heads/main'),
    })),
    pushesAtOnce('8 pushers, 8 branches', effort.pushesPerClient, (run, client) => ({
      repository: SOURCE,
      chain: new PushChain(`refs/heads/at-once/${run}-${client}`, source.base),
    })),
    clonesAtOnce(fetchRequest(tips)),
  ];
}

/** Requests to upload-pack, one after the other. */
export function reads(name: string, body: Buffer, usual: number, repository = SOURCE): Item {
  const work = async ({ connection }: Target, count: number): Promise<Run> => {
    const start = performance.now();
    const answers: Answer[] = [];
    for (let i = 0; i < count; i++) answers.push(await connection.post(repository, 'git-upload-pack', body));
    return { operations: count, answers, milliseconds: performance.now() - start };
  };
  return { name, atOnce: false, prepare: (count = usual) => ({ work: (target) => work(target, count) }) };
}

/** Pushes of one commit each to one branch, one after the other. */
export function onePush(source: Source, usual: number, repository: string): Item {
  const chain = new PushChain('refs/heads/bench-push', source.base);
  const prepare: Item['prepare'] = (count = usual) => {
    const pushes = chain.take(count);
    return { work: ({ connection }) => pushAll(connection, repository, pushes) };
  };
  return { name: 'push of 1 commit', atOnce: false, prepare };
}

type ClientWork = (run: number, client: number) => { repository: string; chain: PushChain };

function pushesAtOnce(name: string, usual: number, of: ClientWork): Item {
  let runs = 0;
  const prepare: Item['prepare'] = (count = usual) => {
    const run = ++runs;
    const clients = Array.from({ length: CLIENTS }, (_, client) => {
      const { repository, chain } = of(run, client);
      // The first push creates the branch, and the repository where it is new: that is another operation.
      return { repository, first: chain.take(1), pushes: chain.take(count) };
    });
    return {
      setUp: async ({ connection }) => {
        for (const { repository, first } of clients) await pushAll(connection, repository, first);
      },
      work: ({ url }) => atOnce(url, clients, (connection, { repository, pushes }) => pushAll(connection, repository, pushes)),
    };
  };
  return { name, atOnce: true, prepare };
}

function clonesAtOnce(body: Buffer): Item {
  const clone = async (connection: Connection): Promise<Run> => {
    const answer = await connection.post(SOURCE, 'git-upload-pack', body);
    return { operations: 1, answers: [answer], milliseconds: answer.milliseconds };
  };
  const clients = Array.from({ length: CLIENTS }, (_, client) => client);
  return { name: '8 clones', atOnce: true, prepare: () => ({ work: ({ url }) => atOnce(url, clients, clone) }) };
}

async function atOnce<T>(
  url: string,
  clients: readonly T[],
  work: (connection: Connection, client: T) => Promise<Run>,
): Promise<Run> {
  const connections = clients.map(() => new Connection(url));
  try {
    const start = performance.now();
    const runs = await Promise.all(clients.map((client, i) => work(connections[i] as Connection, client)));
    const milliseconds = performance.now() - start;
    const operations = runs.reduce((sum, run) => sum + run.operations, 0);
    return { operations, answers: runs.flatMap((run) => run.answers), milliseconds };
  } finally {
    for (const connection of connections) connection.close();
  }
}

async function pushAll(connection: Connection, repository: string, pushes: readonly Push[]): Promise<Run> {
  const start = performance.now();
  const answers: Answer[] = [];
  for (const push of pushes) {
    const answer = await connection.post(repository, 'git-receive-pack', pushRequest(push));
    const refusal = refusalOf(push, answer.head);
    if (refusal !== undefined) throw new Error(`${repository}: push of ${push.ref} refused: ${refusal}`);
    answers.push(answer);
  }
  return { operations: pushes.length, answers, milliseconds: performance.now() - start };
}
