import type { Socket } from 'node:net';
import { codeOf, PackhouseError } from '../base/mod.ts';

/** What the parser's complaint means for the body that was being read. */
export function bodyErrorOf(error: Error): PackhouseError {
  return codeOf(error) === 'HPE_INVALID_EOF_STATE'
    ? new PackhouseError('body-truncated', 'the connection ended before the request body did', {}, { cause: error })
    : new PackhouseError('bad-request', 'the request body is not valid HTTP', { parser: codeOf(error) }, { cause: error });
}

/** Answers what never became a request, and closes. The bytes are fixed: nothing of the broken request is repeated. */
export function answerBrokenConnection(error: Error, socket: Socket): void {
  const code = codeOf(error);
  if (!socket.writable || code === 'ECONNRESET') return void socket.destroy();
  const [status, text] =
    code === 'HPE_HEADER_OVERFLOW'
      ? [431, 'Request Header Fields Too Large']
      : code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [408, 'Request Timeout']
        : [400, 'Bad Request'];
  socket.end(`HTTP/1.1 ${status} ${text}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
}
