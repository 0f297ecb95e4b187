/** Waits for `wanted`, but no longer than until `signal` is aborted: then rejects with its reason. */
export function orAborted<T>(wanted: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return wanted;
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    void wanted.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
