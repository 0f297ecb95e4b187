/**
 * protocol: the wire grammar of git's server side (gitprotocol-pack, -v2, -capabilities, -http), as pure functions between bytes and values.
 *
 * Nothing here reads a socket, a store or a catalog. Parsers are bounded by the `ProtocolLimits` they are given.
 */
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
