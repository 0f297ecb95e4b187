import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { pipeline } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

/** Asks each server for /readyz again and again, as a balancer does; who has not said lately that it is ready gets nothing new. */
export class Health {
  readonly #servers: readonly string[];
  readonly #ready = new Set<string>();
  readonly #stop = new AbortController();
  readonly #asking: Promise<unknown>;

  constructor(servers: readonly string[], everyMs: number) {
    this.#servers = servers;
    for (const url of servers) this.#ready.add(url);
    this.#asking = Promise.all(servers.map((url) => this.#ask(url, everyMs)));
  }

  /** In the order of the servers; all of them when none is ready. */
  readonly ready = (): readonly string[] => {
    const ready = this.#servers.filter((url) => this.#ready.has(url));
    return ready.length > 0 ? ready : this.#servers;
  };

  async #ask(url: string, everyMs: number): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const isReady = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(2_000) }).then(
        async (answer) => {
          await answer.arrayBuffer();
          return answer.ok;
        },
        () => false,
      );
      if (isReady) this.#ready.add(url);
      else this.#ready.delete(url);
      await sleep(everyMs, undefined, { signal: this.#stop.signal }).catch(() => {});
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#asking;
  }
}

/**
 * A balancer of connections: each to the next server, with all requests that come on it. One that does not accept is passed over, unless `others`
 * is false; what breaks later breaks for the client too.
 */
export class TcpRoundRobin {
  readonly url: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** `servers`: the URLs that are thought to be ready at that moment. */
  static async start(servers: () => readonly string[], { others = true } = {}): Promise<TcpRoundRobin> {
    let turn = 0;
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const made = new TcpRoundRobin(server);
    server.on('connection', (client) => {
      const urls = servers();
      const first = turn++ % urls.length;
      client.on('error', () => {});
      made.#hold(client);
      made.#forward(client, others ? [...urls.slice(first), ...urls.slice(0, first)] : [urls[first]!]);
    });
    return made;
  }

  #hold(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
  }

  #forward(client: Socket, [url, ...others]: readonly string[]): void {
    if (url === undefined || client.destroyed) return void client.destroy();
    const { hostname, port } = new URL(url);
    const onward = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    this.#hold(onward);
    const refused = (): void => this.#forward(client, others);
    onward.once('error', refused);
    onward.once('connect', () => {
      onward.off('error', refused);
      pipeline(client, onward, (error) => error && client.destroy());
      pipeline(onward, client, (error) => error && client.destroy());
    });
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

/** A line to one server that is as slow as it is told to be, and counts what has passed. */
export class SlowLine {
  readonly url: string;
  readonly #server: Server;
  /** Bytes that have passed to the server, and from it. */
  readonly passed = { up: 0, down: 0 };

  private constructor(server: Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  static async start(url: string, bytesPerSecond: { readonly up: number; readonly down: number }): Promise<SlowLine> {
    const { hostname, port } = new URL(url);
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const line = new SlowLine(server);
    server.on('connection', (client) => {
      const onward = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
      onward.on('error', () => client.destroy());
      client.on('error', () => onward.destroy());
      pipeline(client, line.#slowed('up', bytesPerSecond.up), onward, (error) => error && client.destroy());
      pipeline(onward, line.#slowed('down', bytesPerSecond.down), client, (error) => error && client.destroy());
    });
    return line;
  }

  #slowed(way: 'up' | 'down', bytesPerSecond: number): (source: AsyncIterable<Buffer>) => AsyncGenerator<Buffer> {
    const { passed } = this;
    return async function* (source) {
      for await (const chunk of source) {
        if (Number.isFinite(bytesPerSecond)) await sleep((chunk.length * 1000) / bytesPerSecond);
        passed[way] += chunk.length;
        yield chunk;
      }
    };
  }

  stop(): void {
    this.#server.close();
  }
}
