import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RepositoryView } from '../reach/mod.ts';
import { type AdvertiseRequest, advertise, knowsSha256 } from './advertise.ts';
import type { FetchSettings } from './settings.ts';

const oid = Buffer.alloc(20, 1);

function settingsOf(refs: readonly string[] | null): FetchSettings {
  const all = new Map((refs ?? []).map((name) => [name, { name, oid, peeled: null }]));
  const view =
    refs === null
      ? null
      : ({ format: 'sha1', head: null, refs: all, memo: new Map(), memoBytes: 0 } as unknown as RepositoryView);
  return { repositories: { open: async () => view }, agent: 'packhouse', hiddenRefs: [] } as unknown as FetchSettings;
}

test('whoever is about to push a whole history is told of, and nobody else', async () => {
  const told: string[] = [];
  const ask = async (refs: readonly string[] | null, service: AdvertiseRequest['service'], mayCreate = true): Promise<void> => {
    const onFirstPush = (): void => void told.push(`${refs?.length} ${service}`);
    const asked = { owner: 'o', name: 'r', service, gitProtocol: '', userAgent: '', sessionId: null, mayCreate, onFirstPush };
    await advertise(settingsOf(refs), asked);
  };
  await ask(null, 'git-receive-pack');
  await ask([], 'git-receive-pack');
  assert.deepEqual(told.splice(0), ['undefined git-receive-pack', '0 git-receive-pack']);
  await ask(['refs/heads/main'], 'git-receive-pack');
  await assert.rejects(ask(null, 'git-receive-pack', false), { code: 'repository-not-found' });
  await assert.rejects(ask(null, 'git-upload-pack'), { code: 'repository-not-found' });
  assert.deepEqual(told, []);
});

test('git knows of formats since 2.28', () => {
  for (const agent of ['git/2.28.0', 'git/2.39.5 (Apple Git-154)', 'git/2.100.1', 'git/3.0.0'])
    assert.ok(knowsSha256(agent), agent);
  for (const agent of ['', 'git/2.27.1', 'git/1.99', 'git/2.0 (libgit2 1.7.1)', 'go-git/5.12', 'JGit/6.8', 'x git/2.40'])
    assert.ok(!knowsSha256(agent), agent);
});
