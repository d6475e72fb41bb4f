/** Enough for most pages; doubled whenever it is too little. */
const FIRST_BYTES = 512 * 1024;
/** Larger ones, and more of them, are not kept. */
const SPARE_BYTES = 1024 * 1024;
const SPARE_BUFFERS = 8;

const spare: Buffer[] = [];

/**
 * Gathers the bytes of an answer in memory that is used again for the next one: new memory for each page makes V8
 * collect garbage every few pages, which took a seventh of a sync's time.
 */
export class PageBuffer {
  private bytes = spare.pop() ?? Buffer.allocUnsafeSlow(FIRST_BYTES);
  length = 0;

  add(chunk: Buffer): void {
    const length = this.length + chunk.length;
    if (length > this.bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(length, this.bytes.length * 2));
      this.bytes.copy(larger, 0, 0, this.length);
      this.bytes = larger;
    }
    chunk.copy(this.bytes, this.length);
    this.length = length;
  }

  /** Returns the gathered bytes, valid until the next is added. */
  take(): Buffer {
    const taken = this.bytes.subarray(0, this.length);
    this.length = 0;
    return taken;
  }

  /** Gives the memory back: the taken bytes must not be used any more. */
  release(): void {
    if (this.bytes.length <= SPARE_BYTES && spare.length < SPARE_BUFFERS) spare.push(this.bytes);
  }
}
