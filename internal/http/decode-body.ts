import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { codeOf, PackhouseError } from '../base/mod.ts';

const CHUNK_BYTES = 64 * 1024;

/** Throws `unsupported` for an encoding git does not use. `x-gzip` is gzip's older name (RFC 9110, 8.4.1.3). */
export function isGzip(contentEncoding: string | undefined): boolean {
  switch (contentEncoding?.trim().toLowerCase()) {
    case undefined:
    case '':
    case 'identity':
      return false;
    case 'gzip':
    case 'x-gzip':
      return true;
    default:
      throw new PackhouseError('unsupported', `Content-Encoding '${contentEncoding}' is not supported; send gzip or none`);
  }
}

/**
 * The body as the client meant it. Throws `too-large` past `bytesMax` bytes after decoding, and before the first byte when the
 * declared length already says so. Decoding is pulled by the reader: a bomb fills a few chunks, then waits.
 */
export async function* decodeBody(
  raw: AsyncIterable<Buffer>,
  options: { readonly gzip: boolean; readonly bytesMax: number; readonly declared: number | undefined },
): AsyncGenerator<Buffer, void, void> {
  const { bytesMax, declared } = options;
  if (!options.gzip && declared !== undefined && declared > bytesMax) throw tooLarge(bytesMax);
  let bytes = 0;
  for await (const chunk of options.gzip ? gunzip(raw) : raw) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw tooLarge(bytesMax);
    yield chunk;
  }
}

function tooLarge(bytesMax: number): PackhouseError {
  return new PackhouseError('too-large', `the request body is larger than ${bytesMax} bytes`, { limit_bytes: bytesMax });
}

async function* gunzip(raw: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
  const decoder = createGunzip({ chunkSize: CHUNK_BYTES });
  // A failure of the source destroys the decoder with the same error, so the reading side below sees it.
  // Not awaited at the end: a reader that stops early must not wait for a body that stands still.
  pipeline(raw, decoder).catch(() => {});
  try {
    for await (const chunk of decoder) yield chunk as Buffer;
  } catch (error) {
    throw asBodyError(error);
  } finally {
    decoder.destroy();
  }
}

function asBodyError(error: unknown): unknown {
  const code = codeOf(error);
  if (code === 'Z_BUF_ERROR') return new PackhouseError('body-truncated', 'the gzip stream ended early', {}, { cause: error });
  if (code?.startsWith('Z_'))
    return new PackhouseError('bad-request', 'the request body is not valid gzip', {}, { cause: error });
  return error;
}
