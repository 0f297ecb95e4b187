/**
 * fetch: what upload-pack answers, told top-down in serve-fetch.ts. Promises: only what this repository's own refs reach (or, while the push
 * log keeps it, have reached) is ever served; an answer is planned as data before its first byte; stored bytes are copied wherever they still
 * fit, and only edges are written anew.
 */
export { type AdvertiseRequest, advertise } from './advertise.ts';
export { AnswerCache } from './answers.ts';
export { PackUris } from './pack-uris.ts';
export { SendRoom } from './send-room.ts';
export { type FetchRequest, serveFetch } from './serve-fetch.ts';
export type { AnswerSink, FetchSettings } from './settings.ts';
export { type PackStream, repositoryPack } from './whole-repository.ts';
