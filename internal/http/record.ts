import type { Exchange } from './exchange.ts';
import { type RouteName, routeName } from './git-routes.ts';
import type { Metrics } from './metrics.ts';
import { pathOf } from './target.ts';

const PAGES: ReadonlySet<string> = new Set(['/livez', '/readyz', '/metrics']);
const TEXT_LENGTH_MAX = 200;

/**
 * Starts the clock of a request; the function returned writes its metrics and its one log line. Chosen fields only: no header but
 * the agent, no query but the service, so no credential can get in.
 */
export function recordRequest(exchange: Exchange, metrics: Metrics): () => void {
  const { incoming, outgoing } = exchange;
  const { socket } = incoming;
  const start = performance.now();
  const written = socket.bytesWritten;
  return () => {
    const path = pathOf(incoming.url ?? '');
    const route: RouteName = PAGES.has(path) ? 'page' : routeName(incoming.url ?? '');
    const ms = performance.now() - start;
    const sample = {
      route,
      method: incoming.method ?? '',
      status: outgoing.statusCode,
      bytesIn: exchange.body.bytesRead,
      bytesOut: socket.bytesWritten - written,
    };
    metrics.request({ ...sample, seconds: ms / 1000 });
    const line = {
      ...sample,
      path: path.slice(0, TEXT_LENGTH_MAX),
      service: /[?&]service=([a-z-]{1,30})(?:&|$)/.exec(incoming.url ?? '')?.[1],
      ms: Math.round(ms * 1000) / 1000,
      agent: incoming.headers['user-agent']?.slice(0, TEXT_LENGTH_MAX),
      cut: outgoing.writableFinished ? undefined : true,
      failure: exchange.failure,
    };
    if (route === 'page') exchange.log.debug(line, 'request');
    else exchange.log.info(line, 'request');
  };
}
