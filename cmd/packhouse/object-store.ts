import type { Config } from '../../internal/config/mod.ts';
import { ObjectStore } from '../../internal/objectstore/mod.ts';
import type { PushSettings } from '../../internal/push/mod.ts';
import { pushHere } from './push-here.ts';
import { pushSettingsOf } from './wiring.ts';

/** The object API on the given clients. Its own refs, which are hidden from everybody else, are what it may push. */
export function openObjectStore(config: Config, parts: Pick<PushSettings, 'catalog' | 'store' | 'repositories'>): ObjectStore {
  const settings = { ...pushSettingsOf(config, parts), createRepository: false, hiddenRefs: [] };
  return new ObjectStore({
    repositories: parts.repositories,
    push: (scope, body) => pushHere(settings, scope, 'object store', body),
  });
}
