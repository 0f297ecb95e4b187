import { PackhouseError } from '../base/mod.ts';
import { parseV0Request, parseV2Request, type V0Request, type V2Request } from '../protocol/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';
import { protocolVersion } from './advertise.ts';
import type { FetchSettings } from './settings.ts';

export type UploadRequest =
  | { readonly version: 0 | 1; readonly request: V0Request }
  | { readonly version: 2; readonly request: V2Request };

/** Reads the whole request, bounded. @throws PackhouseError `too-large`; ProtocolError */
export async function readUploadRequest(
  view: RepositoryView,
  settings: FetchSettings,
  gitProtocol: string,
  body: AsyncIterable<Buffer>,
): Promise<UploadRequest> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > settings.requestBytesMax) {
      throw new PackhouseError('too-large', `the request is longer than ${settings.requestBytesMax} bytes`, {
        limit: settings.requestBytesMax,
      });
    }
    chunks.push(chunk);
  }
  const bytes = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
  const options = { format: view.format, limits: settings.protocolLimits };
  const version = protocolVersion(gitProtocol);
  if (version === 2) {
    return { version, request: parseV2Request(bytes, { ...options, packfileUris: settings.packUris !== null }) };
  }
  return { version, request: parseV0Request(bytes, options) };
}
