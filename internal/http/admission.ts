import { isIPv4, isIPv6 } from 'node:net';
import { PackhouseError } from '../base/mod.ts';

export interface AdmissionLimits {
  readonly concurrentRequestsMax: number;
  readonly requestsPerAddressMax: number;
  readonly requestsPerTokenMax: number;
}

/** A request that is being served. */
export interface Admitted {
  /** The token that it came with is known now. @throws PackhouseError `overloaded` */
  token(id: string): void;
  /** It has been answered. */
  end(): void;
}

/**
 * How many git requests are served at a time: in all, of one address, with one token. What is beyond is told at once to come back: a queue
 * would hold its connections and its clients' patience, and git waits for nobody who has said 503.
 */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #counts = new Map<string, number>();
  #running = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  /** @throws PackhouseError `overloaded` */
  begin(address: string): Admitted {
    const { concurrentRequestsMax, requestsPerAddressMax, requestsPerTokenMax } = this.#limits;
    if (this.#running >= concurrentRequestsMax) throw overloaded('too many requests at a time; try again');
    const held: string[] = [];
    const take = (key: string, max: number, whose: string): void => {
      const count = this.#counts.get(key) ?? 0;
      if (count >= max) throw overloaded(`too many requests at a time ${whose}; try again`);
      this.#counts.set(key, count + 1);
      held.push(key);
    };
    take(`address ${address}`, requestsPerAddressMax, 'from your address');
    this.#running += 1;
    return {
      token: (id) => take(`token ${id}`, requestsPerTokenMax, 'with your token'),
      end: () => {
        this.#running -= 1;
        for (const key of held) this.#release(key);
      },
    };
  }

  #release(key: string): void {
    const count = (this.#counts.get(key) ?? 1) - 1;
    if (count > 0) this.#counts.set(key, count);
    else this.#counts.delete(key);
  }
}

function overloaded(message: string): PackhouseError {
  return new PackhouseError('overloaded', message);
}

/**
 * Whose request it is. `forwarded` is the value of the header that a proxy appends its clients' addresses to: all but the last address are the
 * client's own words. Of an IPv6 address the network counts, which one customer has to himself.
 */
export function clientOf(remoteAddress: string | undefined, forwarded: string | undefined): string {
  const told = forwarded?.split(',').at(-1)?.trim() ?? '';
  // As some write it: with a port, IPv6 in brackets.
  const address = /^\[(.+)\](:\d+)?$/.exec(told)?.[1] ?? told.replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1');
  return networkOf(address) ?? networkOf(remoteAddress ?? '') ?? '';
}

/** Null for what is no address. */
function networkOf(address: string): string | null {
  const plain = address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '');
  if (isIPv4(plain)) return plain;
  if (!isIPv6(plain)) return null;
  // Node writes any IPv6 address in its one short form.
  const [head = '', tail] = new URL(`http://[${plain.replace(/%.*$/, '')}]`).hostname.slice(1, -1).split('::');
  const groups = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const all = tail === undefined ? groups : [...groups, ...Array<string>(8 - groups.length - after.length).fill('0'), ...after];
  return `${all.slice(0, 4).join(':')}::/64`;
}
