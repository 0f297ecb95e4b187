import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type FilterSpec, ProtocolError, parseFilterSpec } from './mod.ts';

const LIMITS = { filterBytesMax: 4096, filterDepthMax: 4 };
const parse = (text: string): FilterSpec => parseFilterSpec(text, LIMITS);

const leaf: fc.Arbitrary<FilterSpec> = fc.oneof(
  fc.constant<FilterSpec>({ kind: 'blob:none' }),
  fc.nat().map((limitBytes): FilterSpec => ({ kind: 'blob:limit', limitBytes })),
  fc.nat().map((depth): FilterSpec => ({ kind: 'tree', depth })),
  fc.constantFrom('blob', 'tree', 'commit', 'tag').map((type): FilterSpec => ({ kind: 'object:type', type })),
  fc.string({ minLength: 1, maxLength: 8 }).map((blob): FilterSpec => ({ kind: 'sparse:oid', blob })),
);
const tree = fc.letrec<{ filter: FilterSpec }>((tie) => ({
  filter: fc.oneof(
    { maxDepth: 2, depthIdentifier: 'filter' },
    leaf,
    fc
      .array(tie('filter'), { minLength: 1, maxLength: 3, depthIdentifier: 'filter' })
      .map((filters): FilterSpec => ({ kind: 'combine', filters })),
  ),
}));

/** As clients write it; combine escapes everything but letters and digits. */
function write(filter: FilterSpec): string {
  switch (filter.kind) {
    case 'blob:none':
      return 'blob:none';
    case 'blob:limit':
      return `blob:limit=${filter.limitBytes}`;
    case 'tree':
      return `tree:${filter.depth}`;
    case 'object:type':
      return `object:type=${filter.type}`;
    case 'sparse:oid':
      return `sparse:oid=${filter.blob}`;
    case 'combine':
      return `combine:${filter.filters.map((part) => write(part).replace(/[^a-zA-Z0-9]/g, percent)).join('+')}`;
  }
}

function percent(char: string): string {
  return `%${char.charCodeAt(0).toString(16).padStart(2, '0')}`;
}

describe('filter specs', () => {
  it('come back as they were written, combined and nested', () => {
    fc.assert(
      fc.property(tree.filter, (filter) =>
        assert.deepEqual(parseFilterSpec(write(filter), { filterBytesMax: 1e6, filterDepthMax: 9 }), filter),
      ),
    );
  });

  it('read sizes with units and bases as git does', () => {
    const limits = {
      '0': 0,
      '1k': 1024,
      '2M': 2 << 20,
      '1g': 2 ** 30,
      '0x10': 16,
      '010': 8,
      '010k': 8192,
      '0x7fffffffffffffff': Number.MAX_SAFE_INTEGER,
    };
    for (const [text, limitBytes] of Object.entries(limits)) {
      assert.deepEqual(parse(`blob:limit=${text}`), { kind: 'blob:limit', limitBytes });
      assert.deepEqual(parse(`tree:${text}`), { kind: 'tree', depth: limitBytes });
    }
    for (const text of ['', '-1', '1kb', '08', '99999999999999999999', '17179869184g', '1 ', 'k']) {
      assert.throws(() => parse(`blob:limit=${text}`), { code: 'protocol', message: `invalid filter-spec 'blob:limit=${text}'` });
      assert.throws(() => parse(`tree:${text}`), { code: 'protocol', message: "expected 'tree:<depth>'" });
    }
  });

  it('are refused in git’s words', () => {
    const refusals = {
      'sparse:path=x': 'sparse:path filters support has been dropped',
      'object:type=blobs': "'blobs' for 'object:type=<type>' is not a valid object type",
      'combine:': 'expected something after combine:',
      'combine:tree:1+sparse:oid=a@b': "must escape char in sub-filter-spec: '@'",
      'combine:sparse:oid=\xe4': "must escape char in sub-filter-spec: '\\xe4'",
      'combine:a': "invalid filter-spec 'a'",
      'combine:blob:none+': "invalid filter-spec ''",
      'blob:none=1': "invalid filter-spec 'blob:none=1'",
      'blob:nonee': "invalid filter-spec 'blob:nonee'",
      '': "invalid filter-spec ''",
    };
    for (const [text, message] of Object.entries(refusals)) assert.throws(() => parse(text), { code: 'protocol', message }, text);
  });

  it('are bounded in length and depth', () => {
    assert.throws(() => parse(`sparse:oid=${'x'.repeat(4096)}`), { code: 'protocol-limit' });
    assert.equal(parse(`${'combine:'.repeat(4)}blob:none`).kind, 'combine');
    assert.throws(() => parse(`${'combine:'.repeat(5)}blob:none`), { code: 'protocol-limit' });
  });

  it('are frozen all through', () => {
    const filter = parse('combine:blob:none+tree:1');
    assert.ok(
      Object.isFrozen(filter) &&
        filter.kind === 'combine' &&
        Object.isFrozen(filter.filters) &&
        Object.isFrozen(filter.filters[0]),
    );
  });

  it('never fail by anything but a ProtocolError', () => {
    const piece = fc.constantFrom(
      'combine:',
      'tree:',
      'blob:limit=',
      '%',
      '%2',
      '%00',
      '%25',
      '+',
      '1',
      'k',
      '0x',
      'sparse:oid=',
      '\xff',
      '=',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        try {
          parse(pieces.join(''));
        } catch (error) {
          assert.ok(error instanceof ProtocolError);
        }
      }),
    );
  });
});
