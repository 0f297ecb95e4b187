/** What this code uses of WebAssembly; TypeScript has it only among the types of browsers. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: object };
};

/** Linear memory of a kernel. To make it larger detaches every view of it. */
interface KernelMemory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}

const PAGE_BYTES = 1 << 16;

/** The exports of a kernel (devenv/kernels.ts makes the base64 text), with a memory of its own of `memoryBytes`. Threads share the compiled code. */
export function instantiateKernel<E extends object>(base64: string, memoryBytes: number): E & { readonly memory: KernelMemory } {
  const module = new WebAssembly.Module(Buffer.from(base64, 'base64'));
  const exports = new WebAssembly.Instance(module).exports as E & { readonly memory: KernelMemory };
  growKernel(exports.memory, memoryBytes);
  return exports;
}

/** Makes a kernel's memory at least so large. Views of it from before are of no use then. */
export function growKernel(memory: KernelMemory, bytes: number): void {
  const missing = bytes - memory.buffer.byteLength;
  if (missing > 0) memory.grow(Math.ceil(missing / PAGE_BYTES));
}
