import { failpoint } from '../base/mod.ts';

/** A body that knows when it has ended: from then on the client only waits. */
export class BodyEnd implements AsyncIterator<Buffer> {
  readonly #chunks: AsyncIterator<Buffer>;
  ended = false;

  constructor(chunks: AsyncIterator<Buffer>) {
    this.#chunks = chunks;
  }

  async next(): Promise<IteratorResult<Buffer>> {
    const result = await this.#chunks.next();
    if (result.done) this.ended = true;
    else await failpoint('push.mid-pack');
    return result;
  }
}
