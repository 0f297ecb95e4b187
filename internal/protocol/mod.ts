/**
 * protocol: the wire grammar of git's server side (gitprotocol-pack, -v2, -capabilities, -http), as pure functions between bytes and values.
 *
 * Nothing here reads a socket, a store or a catalog. Parsers are bounded by the `ProtocolLimits` they are given, take a stricter line than
 * git where git ignores what follows an oid, and throw nothing but `ProtocolError` (whose message is git's own where git has one) and
 * `pkt-line` errors. Encoders give buffers that are sent as they are.
 *
 * | direction | receive-pack | upload-pack v0, v1 | v2 |
 * |---|---|---|---|
 * | advertisement | encodeReceivePackAdvertisement | encodeUploadPackAdvertisement | encodeV2Advertisement |
 * | request | ReceiveRequestParser | parseV0Request | parseV2Request |
 * | answer | encodeReport | encodeShallowUpdate, encodeAck, NAK | encodeLsRefs, sections of fetch, encodeObjectInfo |
 */
export {
  encodeReceivePackAdvertisement,
  encodeUploadPackAdvertisement,
  encodeV2Advertisement,
  type ReceivePackAdvertisement,
  type ServerIdentity,
  type UploadPackAdvertisement,
  type V2Advertisement,
} from './advertisement.ts';
export { ProtocolError, type ProtocolErrorCode } from './errors.ts';
export type { FetchLimits } from './fetch-args.ts';
export { type FilterLimits, parseFilterSpec } from './filter-spec.ts';
export { type ReceiveParserOptions, ReceiveRequestParser } from './receive-request.ts';
export { isHiddenRef, isPushableRefName, type RefNameFault, refNameFault, tooLongForGit } from './ref-name.ts';
export { encodeReport, type ReportOptions } from './report.ts';
export {
  type AckKind,
  encodeAck,
  encodeAcknowledgments,
  encodeError,
  encodeLsRefs,
  encodeObjectInfo,
  encodePackfileHeader,
  encodePackfileUris,
  encodeShallowInfo,
  encodeShallowUpdate,
  encodeWantedRefs,
  type LsRefsAnswer,
  type LsRefsOptions,
  lsRefsPieces,
  NAK,
  type ObjectInfo,
  type ResponseFraming,
  type ShallowUpdate,
} from './responses.ts';
export type {
  AdvertisedHead,
  AdvertisedRef,
  DeepenRequest,
  FetchCommon,
  FilterSpec,
  ProtocolLimits,
  PushReport,
  ReceiveRequest,
  RefCommand,
  ReportRef,
  V0Request,
  V2Capabilities,
  V2FetchRequest,
  V2LsRefsRequest,
  V2NoRequest,
  V2ObjectInfoRequest,
  V2Request,
} from './types.ts';
export { INFINITE_DEPTH } from './types.ts';
export { parseV0Request, type V0RequestOptions } from './v0-request.ts';
export { parseV2Request, type V2RequestOptions } from './v2-request.ts';
