import { after, before, describe } from 'node:test';
import { type ServerOptions, startServer, type TestServer, testStores } from './server.ts';

/** Describes the same tests once for each store there is, each time against one server for all of them. */
export function describeOnStores(name: string, options: ServerOptions, body: (server: () => TestServer) => void): void {
  for (const store of testStores()) {
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
}
