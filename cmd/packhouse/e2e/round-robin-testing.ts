import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream';

/**
 * The plainest balancer there is: each request to the next server, each on a connection of its own. One that does not accept the connection, or
 * says by `/readyz` that it stops, is passed over; what breaks later breaks for the client too.
 */
export class RoundRobin {
  readonly url: string;
  readonly #server: Server;
  readonly #next: () => readonly string[];

  private constructor(server: Server, url: string, next: () => readonly string[]) {
    this.#server = server;
    this.url = url;
    this.#next = next;
  }

  /** `servers`: the URLs at that moment. With `others` false one that does not accept is not passed over either. */
  static async start(servers: () => readonly string[], { others = true } = {}): Promise<RoundRobin> {
    let turn = 0;
    const next = (): readonly string[] => {
      const urls = servers();
      const first = turn++ % urls.length;
      return others ? [...urls.slice(first), ...urls.slice(0, first)] : [urls[first]!];
    };
    const server = createServer({ requestTimeout: 0 });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const made = new RoundRobin(server, `http://127.0.0.1:${(server.address() as AddressInfo).port}`, next);
    server.on('request', (incoming, outgoing) => made.#forward(incoming, outgoing, made.#next()));
    return made;
  }

  #forward(incoming: IncomingMessage, outgoing: ServerResponse, [url, ...others]: readonly string[]): void {
    incoming.on('error', () => {});
    outgoing.on('error', () => {});
    if (url === undefined) return void outgoing.writeHead(502).end('no server\n');
    const { hostname, port } = new URL(url);
    const { method, headers } = incoming;
    const onward = request({
      hostname,
      port,
      method,
      headers: { ...headers, connection: 'close' },
      path: incoming.url,
      agent: false,
    });
    let connected = false;
    onward.once('socket', (socket) =>
      socket.once('connect', () => {
        connected = true;
        pipeline(incoming, onward, () => {});
      }),
    );
    onward.once('response', (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, { ...answer.headers, connection: 'close' });
      pipeline(answer, outgoing, (error) => {
        if (error) outgoing.destroy();
      });
    });
    onward.once('error', () => {
      if (!connected) this.#forward(incoming, outgoing, others);
      else outgoing.destroy();
    });
    outgoing.once('close', () => onward.destroy());
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
