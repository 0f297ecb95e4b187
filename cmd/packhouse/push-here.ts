import { type PushSettings, receivePush } from '../../internal/push/mod.ts';

/** A push in this process: takes the body of a request to git-receive-pack and gives what the client would be answered. */
export async function pushHere(
  settings: PushSettings,
  { owner, name }: { readonly owner: string; readonly name: string },
  actor: string,
  body: AsyncIterable<Buffer>,
): Promise<Buffer> {
  const answer: Uint8Array[] = [];
  await receivePush(settings, { owner, name, actor, requestId: '', signal: new AbortController().signal }, body, {
    write: async (chunk) => void answer.push(...(Array.isArray(chunk) ? chunk : [chunk])),
    end: async () => {},
  });
  return Buffer.concat(answer);
}
