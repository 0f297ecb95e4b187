import { PackhouseError } from '../base/mod.ts';

/** A configuration that cannot be used. The message names where the value came from (file and line, variable or flag) and the key. */
export class ConfigError extends PackhouseError {
  constructor(where: string, message: string, data: Readonly<Record<string, unknown>> = {}, options?: ErrorOptions) {
    super('config-invalid', where === '' ? message : `${where}: ${message}`, data, options);
    this.name = 'ConfigError';
  }
}
