import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { git, makeRepository, sendFetch, startServer, type TestServer, tryGit } from '../testkit/mod.ts';
import { type ClientState, Dice, indexAnswer, makeClient, objectsOf, RandomHistory } from './fuzz-testing.ts';
import { type Answer, bodyOf, comparable, onceEach, type Request, readAnswer } from './fuzz-wire-testing.ts';

/** More rounds and other seeds: PACKHOUSE_FUZZ_ROUNDS, PACKHOUSE_FUZZ_SEED. */
const ROUNDS = Number(process.env.PACKHOUSE_FUZZ_ROUNDS ?? 3);
const SEED = Number(process.env.PACKHOUSE_FUZZ_SEED ?? 1);
/** More flags of the server, separated by spaces. */
const MORE_FLAGS = (process.env.PACKHOUSE_FUZZ_FLAGS ?? '').split(' ').filter((flag) => flag !== '');
const REQUESTS = Number(process.env.PACKHOUSE_FUZZ_REQUESTS ?? 14);

describe('fetch answers of random histories', () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ flags: ['--push-tail-bytes-max', '20KiB', '--fetch-serve-log-values', 'false', ...MORE_FLAGS] });
  });
  after(async () => {
    await server?.close();
  });

  for (let round = 0; round < ROUNDS; round++) {
    test(`seed ${SEED + round}`, async () => {
      await new Round(server, SEED + round).run();
    });
  }
});

describe('fetch answers of random histories, with packs that are sealed and have bitmaps', () => {
  let server: TestServer;
  before(async () => {
    const sealing = ['--maintenance-enabled', 'true', '--maintenance-interval', '50ms', '--seal-packs', '1'];
    const bitmaps = ['--maintenance-bitmap-objects-min', '1', '--fetch-bitmap-commits-min', '1'];
    const flags = ['--push-tail-bytes-max', '20KiB', '--fetch-serve-log-values', 'false', ...sealing, ...bitmaps];
    server = await startServer({ flags: [...flags, ...MORE_FLAGS] });
  });
  after(async () => {
    await server?.close();
  });

  for (let round = 0; round < ROUNDS; round++) {
    test(`seed ${SEED + 1000 + round}`, async () => {
      await new Round(server, SEED + 1000 + round).run();
    });
  }
});

class Round {
  readonly #server: TestServer;
  readonly #seed: number;
  readonly #dice: Dice;
  #history!: RandomHistory;
  #mirror = '';
  #url = '';

  constructor(server: TestServer, seed: number) {
    this.#server = server;
    this.#seed = seed;
    this.#dice = new Dice(seed * 7919 + 1);
  }

  async run(): Promise<void> {
    const dice = this.#dice;
    this.#history = await RandomHistory.create(dice);
    this.#mirror = await makeRepository();
    for (const key of ['allowFilter', 'allowAnySHA1InWant', 'allowRefInWant']) {
      await git(['config', `uploadpack.${key}`, key === 'allowAnySHA1InWant' ? 'false' : 'true'], { cwd: this.#mirror });
    }
    await git(['config', 'uploadpack.allowReachableSHA1InWant', 'true'], { cwd: this.#mirror });
    this.#url = `${this.#server.url}/fuzz/r${this.#seed}.git`;
    const steps = 4 + dice.below(10);
    for (let step = 0; step < steps; step++) {
      await this.#history.grow(dice.chance(0.3) ? 20 + dice.below(30) : 1 + dice.below(4), step > 0);
      await this.#push();
      if (step % 3 === 2) await this.#requests(3);
    }
    await this.#requests(REQUESTS);
  }

  async #push(): Promise<void> {
    const dice = this.#dice;
    const cwd = this.#history.folder;
    const how = [...(dice.chance(0.2) ? ['--no-thin'] : [])];
    const config = ['-c', `repack.useDeltaBaseOffset=${dice.chance(0.85)}`];
    if (dice.chance(0.4)) {
      const refs = (await git(['for-each-ref', '--format=%(refname)'], { cwd })).split('\n');
      const some = dice.some(refs, 3);
      // Several at a time: packs that know nothing of each other.
      await Promise.all(
        [...new Set(some)].map((ref) => tryGit([...config, 'push', '-q', ...how, this.#url, `+${ref}:${ref}`], { cwd })),
      );
    }
    await git([...config, 'push', '-q', ...how, '--mirror', this.#url], { cwd }).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${this.#server.log().slice(-2000)}`);
    });
    await git(['push', '-q', '--mirror', this.#mirror], { cwd });
  }

  async #requests(count: number): Promise<void> {
    let client: ClientState | null = null;
    for (let i = 0; i < count; i++) {
      if (client === null || i % 4 === 0) client = await this.#client();
      const request = await this.#request(client);
      try {
        await this.#compare(client, request);
      } catch (error) {
        const shown = JSON.stringify({ seed: this.#seed, ...request, features: [...request.features] });
        throw new Error(
          `${String(error).slice(0, 3000)}\n${shown}\nclient ${client.haves.join(' ')} cut at ${client.shallow.join(' ')}`,
          { cause: error },
        );
      }
    }
  }

  async #reached(): Promise<string[]> {
    return (await git(['rev-list', '--all'], { cwd: this.#mirror })).split('\n');
  }

  async #client(): Promise<ClientState> {
    const dice = this.#dice;
    const commits = await this.#reached();
    const haves = dice.chance(0.3) ? [] : [...new Set(dice.some(commits, 1 + dice.below(4)))];
    let shallow: string[] = [];
    if (haves.length > 0 && dice.chance(0.4)) {
      const below = (await git(['rev-list', ...haves], { cwd: this.#mirror })).split('\n');
      const candidates = new Set(dice.some(below, 1 + dice.below(4)));
      const held = await objectsOf(this.#mirror, haves, [...candidates]);
      shallow = [...candidates].filter((oid) => held.has(oid));
    }
    return makeClient(this.#mirror, haves, shallow);
  }

  async #request(client: ClientState): Promise<Request> {
    const dice = this.#dice;
    const version = dice.pick([0, 1, 2, 2] as const);
    const commits = await this.#reached();
    const tips = (await git(['for-each-ref', '--format=%(objectname)'], { cwd: this.#mirror })).split('\n');
    let wants = dice.chance(0.3)
      ? tips
      : dice.chance(0.6)
        ? dice.some(tips, 1 + dice.below(4))
        : dice.some(commits, 1 + dice.below(3));
    if (dice.chance(0.15)) {
      const all = [...(await objectsOf(this.#mirror, dice.some(tips, 2), []))];
      wants = [...wants, ...dice.some(all, 3)];
    }
    if (dice.chance(0.05)) wants = [...wants, dice.pick(this.#history.commits).oid];
    if (dice.chance(0.03)) wants = [...wants, '12'.repeat(20)];
    const features = new Set<string>();
    for (const name of ['thin-pack', 'ofs-delta', 'include-tag', 'no-progress']) if (dice.chance(0.6)) features.add(name);
    if (version !== 2) {
      const ack = dice.below(3);
      if (ack > 0) features.add(ack === 1 ? 'multi_ack' : 'multi_ack_detailed');
      const band = dice.below(3);
      if (band > 0) features.add(band === 1 ? 'side-band' : 'side-band-64k');
      if (ack === 2 && dice.chance(0.5)) features.add('no-done');
    }
    const filter = await this.#filter(commits);
    if (filter !== null) features.add('filter');
    const haves = [...client.haves];
    if (dice.chance(0.2)) haves.push('ab'.repeat(20));
    if (dice.chance(0.2) && client.objects.size > 0) {
      const held = new Set(client.objects);
      haves.push(...commits.filter((oid) => held.has(oid) && !haves.includes(oid)).slice(0, 5));
    }
    return {
      version,
      wants: [...new Set(wants)],
      haves,
      shallow: client.shallow,
      deepen: await this.#deepen(features),
      filter,
      features,
      done: dice.chance(0.7),
    };
  }

  async #deepen(features: Set<string>): Promise<string[]> {
    const dice = this.#dice;
    if (dice.chance(0.65)) return [];
    switch (dice.below(4)) {
      case 0:
        features.add('deepen-relative');
        return [`deepen ${1 + dice.below(4)}`];
      case 1:
        return [`deepen-since ${1_700_000_000 + dice.below(this.#history.commits.length) * 600}`];
      case 2: {
        const refs = (await git(['for-each-ref', '--format=%(refname)', 'refs/heads'], { cwd: this.#mirror })).split('\n');
        return dice.some(refs, 1 + dice.below(2)).map((ref) => `deepen-not ${ref}`);
      }
      default:
        return [`deepen ${dice.chance(0.2) ? 0x7fffffff : 1 + dice.below(6)}`];
    }
  }

  async #filter(commits: readonly string[]): Promise<string | null> {
    const dice = this.#dice;
    if (dice.chance(0.6)) return null;
    const one = [
      'blob:none',
      `blob:limit=${dice.below(4000)}`,
      `tree:${dice.below(5)}`,
      'blob:limit=1k',
      `object:type=${dice.pick(['blob', 'tree', 'commit', 'tag'])}`,
    ];
    if (dice.chance(0.2)) {
      const blob = await this.#sparse(commits);
      if (blob !== null) one.push(blob, blob);
    }
    if (dice.chance(0.8)) return dice.pick(one);
    return `combine:${dice.pick(one)}+${dice.pick(one)}`;
  }

  /** A blob of the repository that holds patterns of paths, if it has one. */
  async #sparse(commits: readonly string[]): Promise<string | null> {
    for (const commit of this.#dice.some(commits, 4)) {
      const { stdout, status } = await tryGit(['rev-parse', '-q', '--verify', `${commit}:sparse`], { cwd: this.#mirror });
      if (status === 0) return `sparse:oid=${stdout.toString('latin1').trim()}`;
    }
    return null;
  }

  async #compare(client: ClientState, request: Request): Promise<void> {
    const body = bodyOf(request);
    const protocol = request.version === 0 ? {} : { GIT_PROTOCOL: `version=${request.version}` };
    const [wire, reference] = await Promise.all([
      sendFetch(this.#url, body, { version: request.version }),
      tryGit(['upload-pack', '--stateless-rpc', this.#mirror], { env: protocol, input: body }),
    ]);
    assert.equal(wire.status, 200);
    const ours = readAnswer(wire.body, request);
    const theirs = readAnswer(reference.stdout, request);
    const reached = new Set(await this.#reached());
    const lost = request.wants.filter((oid) => this.#history.commits.some((commit) => commit.oid === oid) && !reached.has(oid));
    if (lost.length > 0) {
      // In version 2 git gives whatever is stored.
      assert.match(ours.error ?? '', new RegExp(`not our ref (${lost.join('|')}|${'12'.repeat(20)})`));
      return;
    }
    // Where git just ends, the client is told why.
    const refused = reference.status !== 0 && theirs.pack === null;
    assert.equal(ours.error !== null, refused, `ours: ${ours.error}, git: ${theirs.error} ${reference.stderr}`);
    if (theirs.error !== null) assert.equal(ours.error, theirs.error);
    if (ours.error !== null) return;
    const isPlain = request.version !== 2 && !request.features.has('multi_ack') && !request.features.has('multi_ack_detailed');
    const expected = isPlain ? onceEach(theirs.lines) : theirs.lines;
    assert.deepEqual(comparable(ours.lines), comparable(expected), `lines of the answer; git: ${reference.stderr}`);
    assert.equal(ours.pack === null, theirs.pack === null, 'whether a pack comes');
    if (ours.pack === null) return;
    await this.#checkPack(client, request, ours, theirs.pack!);
    // What was answered lately is put together in another way.
    const again = await sendFetch(this.#url, body, { version: request.version });
    if (!again.body.equals(wire.body)) await this.#checkPack(client, request, readAnswer(again.body, request), theirs.pack!);
  }

  async #checkPack(client: ClientState, request: Request, answer: Answer, reference: Buffer): Promise<void> {
    const shallow = new Set(client.shallow);
    const asked = [...request.wants];
    for (const line of answer.lines) {
      const [word, oid] = line.split(' ') as [string, string];
      if (word === 'shallow') shallow.add(oid);
      // What lies below a commit that is no longer cut comes too.
      if (word === 'unshallow' && shallow.delete(oid)) asked.push(oid);
    }
    const cut = [...shallow];
    const sent = new Set(await indexAnswer(client, answer.pack!, cut, request.filter === null));
    const allowed = await this.#allowed(asked, cut, request.filter);
    const tags = request.features.has('include-tag') ? await this.#tagsOf(sent) : new Set<string>();
    let due: Iterable<string> = [...allowed, ...tags];
    if (request.filter !== null) {
      // Of what a filter keeps out git's own answer tells best.
      const theirs = await indexAnswer(client, reference, cut, false);
      for (const oid of theirs) allowed.add(oid);
      // Git sends tags along with what it only keeps as a base for deltas, too.
      const extra = await this.#tagsOf(null);
      due = theirs.filter((oid) => request.wants.includes(oid) || tags.has(oid) || !extra.has(oid));
      // How deep a wanted tree is depends in git on what else is wanted.
      for (const oid of asked) for (const below of await this.#allowed([oid], cut, request.filter)) allowed.add(below);
    }
    const unasked = [...sent].filter((oid) => !allowed.has(oid) && !tags.has(oid));
    assert.equal(unasked.length, 0, `sent, but nobody asked for it: ${await this.#kinds(unasked)}`);
    const missing = [...due].filter((oid) => !sent.has(oid) && !client.objects.has(oid));
    assert.equal(missing.length, 0, `missing: ${await this.#kinds(missing)}`);
  }

  /** What the wants reach and each of the combined filters lets through. */
  async #allowed(asked: readonly string[], cut: readonly string[], filter: string | null): Promise<Set<string>> {
    if (filter === null) return objectsOf(this.#mirror, asked, cut);
    const [first, ...more] = await Promise.all(
      filter
        .replace('combine:', '')
        .split('+')
        .map((part) => objectsOf(this.#mirror, asked, cut, `--filter=${part}`)),
    );
    return new Set([...asked, ...[...first!].filter((oid) => more.every((set) => set.has(oid)))]);
  }

  #kinds(oids: readonly string[]): Promise<string> {
    return git(['cat-file', '--batch-check'], { cwd: this.#mirror, input: oids.join('\n') });
  }

  /** Annotated tags, with tags that they name, of what was sent; null: all. */
  async #tagsOf(sent: ReadonlySet<string> | null): Promise<Set<string>> {
    const refs = (await git(['for-each-ref', '--format=%(objecttype) %(objectname)', 'refs/tags'], { cwd: this.#mirror })).split(
      '\n',
    );
    const tags = new Set<string>();
    for (const [type, oid] of refs.map((line) => line.split(' ') as [string, string])) {
      if (type !== 'tag') continue;
      const chain: string[] = [];
      let at = oid;
      for (;;) {
        const text = await git(['cat-file', '-p', at], { cwd: this.#mirror });
        chain.push(at);
        const [, target, kind] = /^object ([0-9a-f]+)\ntype (\w+)/.exec(text)!;
        at = target!;
        if (kind !== 'tag') break;
      }
      if (sent === null || sent.has(at)) for (const tag of chain) tags.add(tag);
    }
    return tags;
  }
}
