import { createHash } from 'node:crypto';
import { realpathSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, PackhouseError } from '../base/mod.ts';

const WAIT_MS_MAX = 120_000;

/**
 * Runs `work` while no other process on this machine runs work for the same folder. The lock is a socket that is listened on, so
 * the kernel takes it back from a process that is killed: in the abstract namespace on Linux, else a file with a stale check.
 */
export async function withFolderLock<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const name = `packhouse-${createHash('sha256').update(realpathSync(folder)).digest('hex').slice(0, 40)}`;
  const server = await acquire(process.platform === 'linux' ? `\0${name}` : join(tmpdir(), name));
  try {
    return await work();
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

async function acquire(address: string): Promise<Server> {
  const deadline = performance.now() + WAIT_MS_MAX;
  for (;;) {
    const server = await listen(address);
    if (server) return server;
    if (!address.startsWith('\0') && !(await answers(address))) unlinkSync(address);
    if (performance.now() > deadline) {
      throw new PackhouseError(
        'embedded-busy',
        'another process has been starting or stopping the embedded PostgreSQL for too long',
      );
    }
    await sleep(20);
  }
}

function listen(address: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error) => (codeOf(error) === 'EADDRINUSE' ? resolve(undefined) : reject(error)));
    server.listen(address, () => resolve(server));
  });
}

function answers(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.once('connect', () => resolve(true));
    socket.once('error', (error) => resolve(codeOf(error) !== 'ECONNREFUSED'));
    socket.once('close', () => socket.destroy());
  });
}
