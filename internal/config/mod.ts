/**
 * config: every setting of Packhouse, in one table, with its default.
 *
 * A value comes from a flag, else from the environment (`http.listen` is PACKHOUSE_HTTP_LISTEN; secrets also as `…_FILE`), else from
 * a YAML file, else from the table. Each is validated where it was written: an error names the flag, the variable or the file and
 * line, and for an unknown key the nearest known one. Sizes are '1MiB' or bytes, durations '30s', '5m', '14d'.
 *
 * The result is one frozen object, typed by the table, together with the source of every value. config.yaml in the root of the
 * repository documents every key; a test holds it to the table.
 */
export { ConfigError } from './errors.ts';
export { CONFIG_KEYS, type Config, type ConfigKey, KEYS } from './keys.ts';
export { parseDurationMs } from './kinds.ts';
export { isLoopbackListen, type LoadedConfig, type LoadOptions, loadConfig } from './load.ts';
export { type EffectiveValue, effectiveValues, maskUrl } from './print.ts';
export { environmentVariable, flagName, type ValueSource } from './sources.ts';
