import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorOf, type Handler, storeAt, withServer } from './s3-testing.ts';

test('s3: a clock that is hours off is put right by the first answer, for URLs and the age of uploads too', async () => {
  for (const hours of [2, -2]) {
    const theirs = (): number => Date.now() + hours * 3_600_000;
    const signedAt: number[] = [];
    const begun = new Date(theirs() - 600_000).toISOString();
    const handler: Handler = (incoming, outgoing) => {
      const [, day, time] = /^(\d{8})T(\d{6})Z$/.exec(`${incoming.headers['x-amz-date']}`) ?? [];
      const told = `${day?.replace(/(....)(..)(..)/, '$1-$2-$3')}T${time?.replace(/(..)(..)(..)/, '$1:$2:$3')}Z`;
      signedAt.push(Date.parse(told) - theirs());
      outgoing.setHeader('Date', new Date(theirs()).toUTCString());
      if (Math.abs(signedAt.at(-1)!) > 900_000) return void outgoing.writeHead(403).end(errorBody('RequestTimeTooSkewed'));
      if (incoming.method === 'DELETE') return void outgoing.writeHead(204).end();
      const upload = `<Upload><Key>crates/a</Key><UploadId>u</UploadId><Initiated>${begun}</Initiated></Upload>`;
      outgoing.writeHead(200, { 'Content-Type': 'application/xml' });
      outgoing.end(`<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>${upload}</ListMultipartUploadsResult>`);
    };
    await withServer(handler, async (endpoint) => {
      const probing = storeAt(endpoint);
      await probing.check();
      await probing.close();
      assert.equal(signedAt.splice(0).length, 2, 'a HEAD tells no reason');
      const store = storeAt(endpoint);
      assert.equal(await store.removeUnfinished(3_600), 0, 'of ten minutes ago, whatever our clock says');
      assert.equal(await store.removeUnfinished(60), 1);
      assert(Math.abs(signedAt[0]!) > 900_000 && signedAt.slice(1).every((ms) => Math.abs(ms) < 60_000), signedAt.join());
      const url = new URL(await store.presignGet!('crates/a', 60));
      const [, y, mo, d, h, mi, s] = /^(....)(..)(..)T(..)(..)(..)Z$/.exec(url.searchParams.get('X-Amz-Date')!)!.map(Number);
      assert(Math.abs(Date.UTC(y!, mo! - 1, d, h, mi, s) - theirs()) < 60_000);
      await store.close();
    });
  }
});

test('s3: a refusal that a cache has kept is one, however old its date', async () => {
  let requests = 0;
  const handler: Handler = (_, outgoing) => {
    requests += 1;
    outgoing.writeHead(403, { Date: new Date(Date.now() - 3_600_000).toUTCString(), Age: '3600' }).end();
  };
  await withServer(handler, async (endpoint) => {
    const store = storeAt(endpoint);
    assert.equal((await errorOf(store.check())).code, 'store-refused');
    assert.equal(requests, 1);
    await store.close();
  });
});

test('s3: a clock that is put right, or jumps while a request is under way, refuses nothing', async (context) => {
  const real = Date.now;
  let shift = 0;
  context.mock.method(Date, 'now', () => real() + shift);
  const shifts: number[] = [];
  let requests = 0;
  const handler: Handler = (incoming, outgoing) => {
    requests += 1;
    const [, hour] = /^\d{8}T(\d\d)\d{4}Z$/.exec(`${incoming.headers['x-amz-date']}`) ?? [];
    outgoing.setHeader('Date', new Date(real()).toUTCString());
    const hours = (24 + Number(hour) - new Date(real()).getUTCHours()) % 24;
    shift = shifts.shift() ?? shift;
    outgoing.writeHead(hours > 1 && hours < 23 ? 403 : 200).end();
  };
  await withServer(handler, async (endpoint) => {
    const store = storeAt(endpoint);
    const checked = async (...next: readonly number[]): Promise<number> => {
      shifts.push(...next);
      requests = 0;
      await store.check();
      return requests;
    };
    const hours = 3_600_000;
    shift = -4 * hours;
    assert.equal(await checked(), 2);
    shift = 0;
    assert.equal(await checked(), 2, 'put right');
    shift = -4 * hours;
    assert.equal(await checked(4 * hours, 4 * hours), 3, 'jumped under way');
    assert.equal(await checked(), 1);
    await store.close();
  });
});

function errorBody(code: string): string {
  return `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`;
}
