/**
 * push: one operation, told top-down in receive-push.ts. Promises: `ok` is said after the transaction that published pack and refs has
 * committed; nothing of a refused push is visible; every link of what is kept was proven from this repository's own refs.
 */
export { receivePush } from './receive-push.ts';
export { type SetRefSettings, setRef } from './set-ref.ts';
export type { AnswerSink, PushRequest, PushSettings } from './settings.ts';
export { TailRoom } from './tail-room.ts';
