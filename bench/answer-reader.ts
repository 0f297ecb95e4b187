const HEAD_BYTES_MAX = 65_536;
const HEAD_END = Buffer.from('\r\n\r\n');
const LINE_END = Buffer.from('\r\n');
/** Of a chunk's size line, and of what may follow the last chunk. */
const LINE_BYTES_MAX = 256;

/**
 * One answer of HTTP/1.1 as it comes off a socket (RFC 9112), of those that servers of git give: with a Content-Length or in chunks. Does next to nothing
 * beside, so that what a benchmark measures is the server.
 */
export class AnswerReader {
  status = 0;
  /** All of it was taken. */
  isWhole = false;
  readonly #onBody: (bytes: Buffer) => void;
  /** What is not yet understood: the beginning of a head or of a line. */
  #rest: Buffer = Buffer.alloc(0);
  #state: 'head' | 'body' | 'size' | 'chunk' | 'chunk-end' | 'trailer' = 'head';
  #left = 0;

  constructor(onBody: (bytes: Buffer) => void) {
    this.#onBody = onBody;
  }

  /** Takes what came next. @throws an Error when it is no such answer */
  take(chunk: Buffer): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = Buffer.alloc(0);
    while (!this.isWhole && bytes.length > 0) {
      const used = this.#step(bytes);
      if (used === 0) {
        this.#rest = bytes;
        return;
      }
      bytes = bytes.subarray(used);
    }
    if (this.isWhole && bytes.length > 0) throw new Error(`${bytes.length} bytes after the answer`);
  }

  /** How many of the bytes were used; 0 when more must come first. */
  #step(bytes: Buffer): number {
    switch (this.#state) {
      case 'head':
        return this.#head(bytes);
      case 'body':
      case 'chunk': {
        const used = Math.min(bytes.length, this.#left);
        this.#onBody(used === bytes.length ? bytes : bytes.subarray(0, used));
        this.#left -= used;
        if (this.#left === 0 && this.#state === 'body') this.isWhole = true;
        else if (this.#left === 0) this.#state = 'chunk-end';
        return used;
      }
      case 'chunk-end':
        return this.#line(bytes, (line) => {
          if (line !== '') throw new Error(`a chunk ends with ${line}`);
          this.#state = 'size';
        });
      case 'size':
        return this.#line(bytes, (line) => {
          if (!/^[0-9a-f]{1,12}( *;.*)?$/i.test(line)) throw new Error(`no chunk's size: ${line}`);
          this.#left = Number.parseInt(line, 16);
          this.#state = this.#left === 0 ? 'trailer' : 'chunk';
        });
      case 'trailer':
        return this.#line(bytes, (line) => {
          this.isWhole = line === '';
        });
    }
  }

  #head(bytes: Buffer): number {
    const end = bytes.indexOf(HEAD_END);
    if (end < 0 && bytes.length > HEAD_BYTES_MAX) throw new Error('the head of an answer has no end');
    if (end < 0) return 0;
    const [first = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
    this.status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0);
    const fieldOf = (name: string): string | undefined =>
      lines
        .find((line) => line.toLowerCase().startsWith(`${name}:`))
        ?.slice(name.length + 1)
        .trim();
    const length = fieldOf('content-length');
    if (fieldOf('transfer-encoding')?.toLowerCase() === 'chunked') this.#state = 'size';
    else if (this.status >= 200 && length !== undefined && /^\d{1,15}$/.test(length)) {
      this.#left = Number(length);
      this.#state = 'body';
      this.isWhole = this.#left === 0;
    } else throw new Error(`an answer of another kind: ${first}`);
    return end + HEAD_END.length;
  }

  #line(bytes: Buffer, take: (line: string) => void): number {
    const end = bytes.indexOf(LINE_END);
    if (end < 0 && bytes.length > LINE_BYTES_MAX) throw new Error('a line of an answer has no end');
    if (end < 0) return 0;
    take(bytes.toString('latin1', 0, end));
    return end + LINE_END.length;
  }
}
