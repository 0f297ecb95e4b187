import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import { armFailpoints, disarmFailpoints, FAILPOINTS, failpoint } from './mod.ts';

describe('failpoints', () => {
  afterEach(() => disarmFailpoints());

  test('do nothing unless they are armed', async () => {
    for (const name of FAILPOINTS) await failpoint(name);
    assert.equal(new Set(FAILPOINTS).size, FAILPOINTS.length);
  });

  test('fail at the hit that was asked for, and at no other name', async () => {
    armFailpoints('push.placed=error:2');
    await failpoint('push.placed');
    await failpoint('push.verified');
    await assert.rejects(failpoint('push.placed'), { code: 'failpoint' });
    await failpoint('push.placed');
  });

  test('any counts the hits of all of them', async () => {
    armFailpoints('any=error:3,push.placed=sleep(1)');
    await failpoint('push.placed');
    await failpoint('push.verified');
    await assert.rejects(failpoint('fetch.mid-pack'), { message: 'made to fail at fetch.mid-pack' });
  });

  for (const text of ['push.nowhere=kill', 'push.placed', 'push.placed=explode', 'push.placed=kill:x', 'push.placed=sleep']) {
    test(`refuse ${text}`, () => assert.throws(() => armFailpoints(text), { code: 'config-invalid' }));
  }
});
