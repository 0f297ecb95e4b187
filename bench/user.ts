/**
 * The view "as the user waits": real git commands, from their start to their end. What the client does itself is in the figures and the same for
 * both servers; its own syncs to disk and its gc are turned off, so that they do not drown the rest.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Item, type Prepared, type Run, SOURCE, type Target } from './items.ts';
import { PushChain } from './pushes.ts';
import type { Push } from './requests.ts';
import { BENCH_HEAD, git, pushSource, type Source, timedGit } from './source.ts';

/** How much is done. */
export interface UserEffort {
  readonly rounds: number;
  /** Small commands of a kind in a round. */
  readonly commands: number;
  readonly pushesPerClient: number;
}

const CLIENTS = 8;
/** Whole packs come from the object store itself. */
export const CLONE_BY_URL = 'git clone --mirror, packs by URL';
const FETCHED = '+refs/heads/*:refs/heads/*';

/** Items that are measured cold too. */
export const COLD_FOR_USER: ReadonlySet<string> = new Set([
  'git clone --mirror',
  'git clone --depth 1',
  'git push of 1 commit',
  'git fetch of 1 commit',
]);

/** The items in the order of a round; clients' repositories are below `work`, and gone after each. */
export function userItemsOf(source: Source, effort: UserEffort, work: string, store: 'fs' | 's3'): Item[] {
  const bench = new Bench(source, work);
  return [
    bench.clones('git clone --mirror', ['--mirror']),
    // git's own server has no such packs, and answers as ever.
    ...(store === 's3' ? [bench.clones(CLONE_BY_URL, ['--mirror'], ['-c', 'fetch.uriprotocols=http,https'])] : []),
    bench.clones('git clone --depth 1', ['--bare', '--depth=1', `--branch=${BENCH_HEAD}`]),
    bench.clones('git clone --filter=blob:none', ['--bare', '--filter=blob:none']),
    bench.commands('git ls-remote', effort.commands, (url) => ['ls-remote', '-q', url]),
    bench.commands('git fetch of nothing', effort.commands, (url) => ['fetch', '-q', url, FETCHED]),
    bench.fetches(effort.commands),
    bench.pushes(effort.commands),
    bench.clonesAtOnce(),
    bench.pushesAtOnce('8 × git push, 8 repositories', effort.pushesPerClient, (run, client) => ({
      repository: `bench/u${run}-${client}.git`,
      chain: new PushChain('refs/heads/main'),
    })),
    bench.pushesAtOnce('8 × git push, 8 branches', effort.pushesPerClient, (run, client) => ({
      repository: SOURCE,
      chain: new PushChain(`refs/heads/user-at-once/${run}-${client}`, source.base),
    })),
    // The last: maintenance of what it pushes goes on for a while.
    bench.everything(),
  ];
}

type ClientWork = (run: number, client: number) => { repository: string; chain: PushChain };

/** Makes items; each run has a number of its own, so that branches and repositories of runs do not meet. */
class Bench {
  readonly #source: Source;
  readonly #work: string;
  #runs = 0;

  constructor(source: Source, work: string) {
    this.#source = source;
    this.#work = work;
  }

  everything(): Item {
    const item = this.#item('git push of everything', false, (run) => ({
      work: async ({ url }) => runOf([await pushSource(this.#source, `${url}/bench/everything-${run}.git`)]),
    }));
    return { ...item, isWarm: true };
  }

  clones(name: string, flags: readonly string[], settings: readonly string[] = []): Item {
    return this.#item(name, false, (_run, count = 1) => ({
      work: (target) =>
        this.#inTurn(count, (i) => [
          ...settings,
          'clone',
          '-q',
          ...flags,
          urlOf(target),
          join(this.#folder(target), `clone-${i}`),
        ]),
    }));
  }

  clonesAtOnce(): Item {
    const item = this.#item('8 × git clone', true, () => ({
      work: (target) =>
        allAtOnce(CLIENTS, (i) =>
          this.#inTurn(1, () => ['clone', '-q', '--mirror', urlOf(target), join(this.#folder(target), `clone-${i}`)]),
        ),
    }));
    return { ...item, isWarm: true };
  }

  /** Commands in a repository that has all that the server has. */
  commands(name: string, usual: number, args: (url: string) => string[]): Item {
    return this.#item(name, false, (_run, count = usual) => ({
      setUp: async (target) => {
        const folder = this.#borrow(target);
        await timedGit(folder, 'fetch', '-q', urlOf(target), FETCHED);
      },
      work: (target) => this.#inTurn(count, () => args(urlOf(target)), this.#clientOf(target)),
    }));
  }

  /** The server gets a branch for each commit beforehand; a fetch takes the next one. */
  fetches(usual: number): Item {
    return this.#item('git fetch of 1 commit', false, (run, count = usual) => {
      const pushes = new PushChain('refs/heads/user-fetch', this.#source.base).take(count + 1);
      const branch = (i: number): string => `refs/heads/user-fetch/${run}-${i}`;
      return {
        setUp: async (target) => {
          const pusher = this.#borrow(target, 'pusher');
          unpack(pusher, pushes);
          await timedGit(pusher, 'push', '-q', urlOf(target), ...pushes.map(({ to }, i) => `${to}:${branch(i)}`));
          await timedGit(this.#borrow(target), 'fetch', '-q', urlOf(target), `${branch(0)}:refs/heads/fetched-0`);
        },
        work: (target) =>
          this.#inTurn(
            count,
            (i) => ['fetch', '-q', urlOf(target), `${branch(i + 1)}:refs/heads/fetched-${i + 1}`],
            this.#clientOf(target),
          ),
      };
    });
  }

  pushes(usual: number): Item {
    return this.#item('git push of 1 commit', false, (run, count = usual) => {
      const ref = `refs/heads/user-push-${run}`;
      const [first, ...pushes] = new PushChain(ref, this.#source.base).take(count + 1) as [Push, ...Push[]];
      return {
        setUp: async (target) => {
          const folder = this.#borrow(target);
          unpack(folder, [first, ...pushes]);
          await timedGit(folder, 'push', '-q', urlOf(target), `${first.to}:${ref}`);
        },
        work: (target) => this.#inTurn(count, (i) => pushArgs(urlOf(target), pushes[i] as Push), this.#clientOf(target)),
      };
    });
  }

  pushesAtOnce(name: string, usual: number, of: ClientWork): Item {
    return this.#item(name, true, (run, count = usual) => {
      const clients = Array.from({ length: CLIENTS }, (_, client) => {
        const { repository, chain } = of(run, client);
        return { name: `client-${client}`, repository, pushes: chain.take(count + 1) };
      });
      return {
        setUp: async (target) => {
          for (const { name: client, repository, pushes } of clients) {
            const folder = this.#borrow(target, client);
            unpack(folder, pushes);
            await timedGit(folder, ...pushArgs(`${target.url}/${repository}`, pushes[0] as Push));
          }
        },
        work: (target) =>
          allAtOnce(CLIENTS, (client) => {
            const { name: folder, repository, pushes } = clients[client] as (typeof clients)[number];
            const args = (i: number): string[] => pushArgs(`${target.url}/${repository}`, pushes[i + 1] as Push);
            return this.#inTurn(count, args, join(this.#folder(target), folder));
          }),
      };
    });
  }

  #item(name: string, atOnce: boolean, prepare: (run: number, count?: number) => Omit<Prepared, 'tearDown'>): Item {
    const tearDown = async (target: Target): Promise<void> => rmSync(this.#folder(target), { recursive: true, force: true });
    return {
      name,
      atOnce,
      prepare: (count) => {
        const { setUp, work } = prepare(++this.#runs, count);
        return {
          setUp: async (target) => {
            mkdirSync(this.#folder(target), { recursive: true });
            await setUp?.(target);
          },
          work,
          tearDown,
        };
      },
    };
  }

  #folder({ name }: Target): string {
    return join(this.#work, `clients-of-${name}`);
  }

  #clientOf(target: Target): string {
    return join(this.#folder(target), 'client');
  }

  /** A bare repository with the refs of the source, whose objects it borrows. */
  #borrow(target: Target, name = 'client'): string {
    const folder = join(this.#folder(target), name);
    git(this.#work, 'clone', '-q', '--bare', '--shared', this.#source.folder, folder);
    return folder;
  }

  async #inTurn(count: number, args: (i: number) => readonly string[], folder = this.#work): Promise<Run> {
    const milliseconds: number[] = [];
    for (let i = 0; i < count; i++) milliseconds.push(await timedGit(folder, ...args(i)));
    return runOf(milliseconds);
  }
}

function urlOf({ url }: Target): string {
  return `${url}/${SOURCE}`;
}

function pushArgs(url: string, { ref, to }: Push): string[] {
  return ['push', '-q', url, `${to}:${ref}`];
}

/** The objects of pushes, in a client's repository. */
function unpack(folder: string, pushes: readonly Push[]): void {
  for (const [i, { pack }] of pushes.entries()) {
    const file = join(folder, `push-${i}.pack`);
    writeFileSync(file, pack);
    git(folder, 'index-pack', '-o', join(folder, 'objects/pack', `pack-${i}.idx`), file);
    writeFileSync(join(folder, 'objects/pack', `pack-${i}.pack`), pack);
  }
}

async function allAtOnce(clients: number, work: (client: number) => Promise<Run>): Promise<Run> {
  const start = performance.now();
  const runs = await Promise.all(Array.from({ length: clients }, (_, client) => work(client)));
  const milliseconds = performance.now() - start;
  return {
    operations: runs.reduce((sum, run) => sum + run.operations, 0),
    answers: runs.flatMap(({ answers }) => answers),
    milliseconds,
  };
}

function runOf(milliseconds: readonly number[]): Run {
  return {
    operations: milliseconds.length,
    answers: milliseconds.map((took) => ({
      milliseconds: took,
      packMilliseconds: undefined,
      objects: undefined,
      bytes: 0,
      head: Buffer.alloc(0),
    })),
    milliseconds: milliseconds.reduce((sum, took) => sum + took, 0),
  };
}
