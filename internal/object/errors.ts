import { PackhouseError } from '../base/mod.ts';

/** The bytes of an object do not follow the grammar of its kind. Code `bad-object`; `data.offset` is where reading stopped. */
export function badObject(message: string, offset: number): PackhouseError {
  return new PackhouseError('bad-object', `${message} (at byte ${offset})`, { offset });
}
