import { codeOf, messageOf, PackhouseError } from '../base/mod.ts';

/** What a store does; `list` and `get` are also what an error or a counter calls the requests made inside them. */
export type StoreOperation = 'put' | 'get' | 'head' | 'delete' | 'list' | 'remove-unfinished' | 'check';

export function missing(key: string, cause?: unknown): PackhouseError {
  return new PackhouseError('store-missing', `object ${key} is not in the store`, { key }, { cause });
}

export function short(key: string, offset: number, lengthBytes: number, actualBytes: number | undefined): PackhouseError {
  const size = actualBytes === undefined ? 'shorter' : `${actualBytes} bytes long`;
  const message = `object ${key} is ${size}: bytes ${offset} to ${offset + lengthBytes} were asked for`;
  return new PackhouseError('store-short', message, { key, offset, lengthBytes, actualBytes });
}

/** A fault of the disk below: the caller may try again later. */
export function unavailable(operation: StoreOperation, key: string, error: unknown): PackhouseError {
  if (error instanceof PackhouseError) return error;
  const data = { operation, key, attempts: 1, fault: codeOf(error) };
  return new PackhouseError('store-unavailable', `store ${operation} of ${key || 'the root'} failed: ${messageOf(error)}`, data, {
    cause: error,
  });
}
