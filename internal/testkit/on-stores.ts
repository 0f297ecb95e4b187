import { after, before, describe } from 'node:test';
import { type ServerOptions, type StoreKind, startServer, type TestServer, testStores } from './server.ts';

type Tests = (server: () => TestServer) => void;

/** Describes the same tests once for each store there is, each time against one server for all of them. */
export function describeOnStores(name: string, options: ServerOptions, body: Tests): void {
  for (const store of testStores()) describeOn(store, name, options, body);
}

/** Describes tests against one server, on S3 where there is one: for what does not hang on the store. */
export function describeOnAStore(name: string, options: ServerOptions, body: Tests): void {
  describeOn(testStores().at(-1) ?? 'fs', name, options, body);
}

function describeOn(store: StoreKind, name: string, options: ServerOptions, body: Tests): void {
  describe(`${name} (${store})`, () => {
    let server: TestServer | undefined;
    before(async () => {
      server = await startServer({ ...options, store });
    });
    after(async () => {
      await server?.close();
    });
    body(() => {
      if (server === undefined) throw new Error('the server did not start');
      return server;
    });
  });
}
