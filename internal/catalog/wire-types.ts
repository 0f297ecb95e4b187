import pg from 'pg';

const INT8 = 20;
const INT8_ARRAY = 1016;
const BYTEA_ARRAY = 1001;

/** `{1,2,3}` as numbers; every bigint of the catalog is below 2^53. A null element becomes NaN. */
export function parseNumberArray(text: string): Float64Array {
  if (text === '{}') return new Float64Array(0);
  let count = 1;
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) === 44) count++;
  const numbers = new Float64Array(count);
  let value = 0;
  let digits = false;
  let sign = 1;
  let index = 0;
  for (let i = 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 48 && code <= 57) {
      value = value * 10 + (code - 48);
      digits = true;
    } else if (code === 45) {
      sign = -1;
    } else if (code === 44 || code === 125) {
      numbers[index++] = digits ? sign * value : Number.NaN;
      value = 0;
      digits = false;
      sign = 1;
    }
  }
  return numbers;
}

/** `{"\\x01ff",NULL}` as buffers. */
export function parseByteaArray(text: string): (Buffer | null)[] {
  if (text === '{}') return [];
  return text
    .slice(1, -1)
    .split(',')
    .map((item) => (item === 'NULL' ? null : Buffer.from(item.slice(4, -1), 'hex')));
}

/** How values of the wire become values here: bigint as number, arrays without the detour over strings. */
export function catalogTypes(): pg.CustomTypesConfig {
  return {
    getTypeParser(oid: number, format?: 'text' | 'binary') {
      if (format !== 'binary') {
        if (oid === INT8) return Number as never;
        if (oid === INT8_ARRAY) return parseNumberArray as never;
        if (oid === BYTEA_ARRAY) return parseByteaArray as never;
      }
      return pg.types.getTypeParser(oid, format as never);
    },
  } as pg.CustomTypesConfig;
}
