import type { HttpBindings } from '@hono/node-server';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { type Context, Hono } from 'hono';
import { type Logger, messageOf } from '../base/mod.ts';
import type { Metrics } from './metrics.ts';

/** Longer than this and a dependency counts as not answering. */
const READY_MS_MAX = 5_000;

export interface AppParts {
  readonly ready: () => Promise<void>;
  readonly stopping: () => boolean;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Serves a git request on the raw sockets; never throws. */
  readonly serveGit: (bindings: HttpBindings) => Promise<void>;
}

export type App = Hono<{ Bindings: HttpBindings }>;

/** The routes. Pages are plain hono and testable with `app.request`; the git routes answer on `c.env.outgoing`. */
export function createApp(parts: AppParts): App {
  const app: App = new Hono();
  const pages: Record<string, (c: Context) => Response | Promise<Response>> = {
    '/livez': (c) => c.text('ok\n'),
    '/readyz': readiness(parts),
    '/metrics': async (c) => {
      const { contentType, text } = await parts.metrics.render();
      return c.body(text, 200, { 'Content-Type': contentType });
    },
  };
  for (const [path, page] of Object.entries(pages)) {
    app.get(path, page);
    app.all(path, (c) => c.text('method not allowed\n', 405, { Allow: 'GET, HEAD' }));
  }
  app.all('/:owner/:repository/:rest{.+}', async (c) => {
    await parts.serveGit(c.env);
    return RESPONSE_ALREADY_SENT;
  });
  app.notFound((c) => c.text('not found\n', 404));
  app.onError((error, c) => {
    parts.log.error({ err: error }, 'page failed');
    return c.text('internal error\n', 500);
  });
  return app;
}

/** One question at a time, however many ask: a probe must not become a load. */
function readiness(parts: AppParts): (c: Context) => Promise<Response> {
  let asking: Promise<string | undefined> | undefined;
  const ask = async (): Promise<string | undefined> => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve(`no answer in ${READY_MS_MAX} ms`), READY_MS_MAX);
    });
    try {
      return await Promise.race([parts.ready().then(() => undefined), late]);
    } catch (error) {
      return messageOf(error);
    } finally {
      clearTimeout(timer);
      asking = undefined;
    }
  };
  return async (c) => {
    if (parts.stopping()) return c.text('stopping\n', 503);
    asking ??= ask();
    const reason = await asking;
    if (reason === undefined) return c.text('ready\n');
    parts.log.warn({ reason }, 'not ready');
    return c.text('not ready\n', 503);
  };
}
