import pg from 'pg';
import { type Catalog, openCatalog } from '../catalog/mod.ts';
import { DEFAULT_PACK_LIMITS } from '../ingest/mod.ts';
import { STRICT_SEVERITIES } from '../object/mod.ts';
import { PackBytes } from '../packread/mod.ts';
import { createMemoryStore, type PackStore } from '../packstore/mod.ts';
import { Repositories } from '../reach/mod.ts';
import { FLUSH_PACKET, packet, type RefUpdate, readPushAnswer } from '../testkit/mod.ts';
import { receivePush } from './receive-push.ts';
import type { PushSettings } from './settings.ts';
import { TailRoom } from './tail-room.ts';

const LIMITS = {
  commandsMax: 1000,
  commandBytesMax: 1 << 20,
  refNameBytesMax: 1000,
  pushOptionsMax: 10,
  wantsMax: 10,
  havesMax: 10,
  shallowsMax: 10,
  refPrefixesMax: 10,
  objectInfosMax: 10,
  serverOptionsMax: 10,
  deepenNotMax: 10,
  filterBytesMax: 1000,
  filterDepthMax: 2,
};

/** Pushes in this process, so that a test can let something happen in the middle of one. */
export class PushBench {
  readonly catalog: Catalog;
  readonly store: PackStore = createMemoryStore();
  readonly client: pg.Client;
  readonly #repositories: Repositories;

  constructor(url: string) {
    this.catalog = openCatalog({ url, poolMax: 4 });
    this.client = new pg.Client({ connectionString: url });
    this.#repositories = new Repositories(this.catalog, new PackBytes(this.catalog, this.store, 8 << 20), 8 << 20);
  }

  /** Status lines of the report. `beforePack` runs when the commands have come and the pack has not. `answer` gets what is written. */
  async push(
    repository: string,
    updates: readonly RefUpdate[],
    pack: Buffer,
    more: Partial<PushSettings> = {},
    beforePack: () => Promise<void> = async () => {},
    { capabilities = 'report-status', answer = [] }: { readonly capabilities?: string; readonly answer?: Buffer[] } = {},
  ): Promise<readonly string[]> {
    const [owner = '', name = ''] = repository.split('/');
    const settings: PushSettings = {
      catalog: this.catalog,
      store: this.store,
      repositories: this.#repositories,
      packLimits: DEFAULT_PACK_LIMITS,
      protocolLimits: LIMITS,
      severities: STRICT_SEVERITIES,
      detectCollisions: true,
      tailBytesMax: 1 << 20,
      tail: new TailRoom(this.catalog, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY),
      memoryBytesMax: 8 << 20,
      createRepository: true,
      hiddenRefs: [],
      refsMax: 1000,
      chunking: null,
      onPush: () => {},
      ...more,
    };
    const commands = updates.map(([from, to, ref], i) => packet(`${from} ${to} ${ref}${i === 0 ? `\0 ${capabilities}` : ''}`));
    const sink = {
      write: async (chunk: Uint8Array | readonly Uint8Array[]) => {
        for (const part of Array.isArray(chunk) ? chunk : [chunk]) answer.push(Buffer.from(part as Uint8Array));
      },
      end: async () => {},
    };
    const body = (async function* () {
      yield Buffer.concat([...commands, FLUSH_PACKET]);
      await beforePack();
      yield pack;
    })();
    const { signal } = new AbortController();
    await receivePush(settings, { owner, name, actor: '', requestId: '', signal }, body, sink);
    return readPushAnswer({ status: 200, headers: {}, body: Buffer.concat(answer) }).lines;
  }

  async close(): Promise<void> {
    await this.client.end();
    await this.catalog.close();
    await this.store.close();
  }
}
