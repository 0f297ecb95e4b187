import assert from 'node:assert/strict';
import { join } from 'node:path';
import {
  DELIM_PACKET,
  FastImport,
  FLUSH_PACKET,
  fetchCommand,
  git,
  makeRepository,
  packet,
  readPackets,
  scratchFolder,
  seededRandom,
  sendFetch,
  type TestPeer,
  type TestServer,
  wireRequest,
} from '../../../internal/testkit/mod.ts';

/** Peers at the same time, one for each environment: all, or none is left running. */
export async function startPeers(
  server: TestServer,
  environments: readonly Readonly<Record<string, string>>[],
): Promise<TestPeer[]> {
  const starts = await Promise.allSettled(environments.map((env) => server.startPeer(env)));
  const peers = starts.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []));
  const failed = starts.find((start) => start.status === 'rejected');
  if (failed === undefined) return peers;
  await Promise.all(peers.map((peer) => peer.stop()));
  throw failed.reason;
}

/** Refs below a prefix, as `ls-refs` of protocol 2 tells them and as older protocols advertise them: nobody else pushes there, so they are the same. */
export async function refsOf(
  url: string,
  prefix: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Map<string, string>> {
  const asked = Buffer.concat([packet('command=ls-refs\n'), DELIM_PACKET, FLUSH_PACKET]);
  const [listed, advertised] = await Promise.all([
    sendFetch(url, asked, { headers }),
    wireRequest(`${url}/info/refs?service=git-upload-pack`, { headers }),
  ]);
  assert.deepEqual([listed.status, advertised.status], [200, 200]);
  const [refs, others] = [listed, advertised].map(({ body }) => {
    const lines = readPackets(body).map((line) => /^([0-9a-f]{40}) ([^\0\n]+)/.exec(line?.toString('latin1') ?? ''));
    return new Map(lines.flatMap((line) => (line?.[2]?.startsWith(prefix) ? [[line[2], line[1]!]] : [])));
  });
  assert.deepEqual(others, refs);
  return refs!;
}

/** Somebody who pushes to refs of his own through any server, and looks at once whether all servers show what was acknowledged. */
export class Reader {
  readonly #refs = new Map<string, string>();
  readonly #prefix: string;
  readonly #path: string;
  readonly #local: string;
  readonly #urls: readonly string[];
  readonly #random: (below: number) => number;
  #count = 0;
  looks = 0;
  fetches = 0;

  constructor(seed: number, id: number, path: string, local: string, urls: readonly string[]) {
    this.#prefix = `refs/heads/u${id}/`;
    this.#path = path;
    this.#local = local;
    this.#urls = urls;
    this.#random = seededRandom(seed * 1000 + id);
  }

  #server(): string {
    return this.#urls[this.#random(this.#urls.length)]! + this.#path;
  }

  async push(): Promise<void> {
    const updates: [ref: string, oid: string][] = [];
    const known = [...this.#refs.keys()];
    const kind = known.length < 2 ? 0 : this.#random(5);
    if (kind === 1) updates.push([known[this.#random(known.length)]!, '']);
    else {
      const ref = `${this.#prefix}b${this.#random(4)}`;
      updates.push([ref, await this.#commit(kind === 2 ? undefined : this.#refs.get(ref))]);
      if (kind === 3) updates.push([`${this.#prefix}other`, await this.#commit(undefined)]);
    }
    const specs = updates.map(([ref, oid]) => `+${oid}:${ref}`);
    await git(['push', '-q', '--atomic', this.#server(), ...specs], { cwd: this.#local });
    for (const [ref, oid] of updates) {
      if (oid === '') this.#refs.delete(ref);
      else this.#refs.set(ref, oid);
    }
    await Promise.all(this.#urls.map((url) => this.#look(url + this.#path)));
    const [, oid] = updates.at(-1)!;
    if (oid !== '') await this.#fetch(oid);
  }

  async #look(url: string): Promise<void> {
    assert.deepEqual(
      await refsOf(url, this.#prefix),
      new Map([...this.#refs].sort(([a], [b]) => (a < b ? -1 : 1))),
      `as ${url} has it`,
    );
    this.looks++;
  }

  /** Every server serves the new objects, whichever took them. */
  async #fetch(oid: string): Promise<void> {
    const all = this.#urls.map(async (url) => {
      const answer = await sendFetch(url + this.#path, fetchCommand([oid]));
      assert(answer.body.includes('PACK'), `${url}: ${answer.body.toString('latin1').slice(0, 200)}`);
    });
    await Promise.all(all);
    const clone = join(scratchFolder(), 'c.git');
    if (++this.fetches % 4 !== 0) return;
    await makeRepository('sha1', clone);
    // Others delete theirs meanwhile.
    await git(['fetch', '-q', this.#server(), `+${this.#prefix}*:${this.#prefix}*`], { cwd: clone });
    await git(['fsck', '--strict', '--full'], { cwd: clone });
    for (const [ref, value] of this.#refs) assert.equal(await git(['rev-parse', ref], { cwd: clone }), value);
  }

  async #commit(parent: string | undefined): Promise<string> {
    const importer = new FastImport(1_760_000_000 + ++this.#count);
    const scratch = `refs/scratch/${this.#prefix.replaceAll('/', '')}`;
    const file = { [`f${this.#count % 7}`]: `${this.#prefix}${this.#count}\n`.repeat(1 + this.#random(300)) };
    importer.commit(scratch, file, { parents: parent === undefined ? [] : [parent] });
    await importer.into(this.#local);
    return git(['rev-parse', scratch], { cwd: this.#local });
  }
}
