import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The last credentials from an OAuth server. */
export interface KeptCredentials {
  refreshToken: string;
  accessToken?: string;
  /** Milliseconds since 1970. */
  expiresAt?: number;
}

/**
 * Keeps the refresh token that an OAuth server gave in place of the configured one, beside the destination and
 * encrypted (AES-256-GCM). The key is derived from the configured secrets: the file alone is of no use, and a user who
 * configures another refresh token begins anew.
 */
export class CredentialStore {
  private readonly path: string;

  constructor(
    destination: string,
    private readonly secrets: readonly string[],
  ) {
    const name = createHash('sha256').update(JSON.stringify(secrets)).digest('hex').slice(0, 16);
    this.path = join(`${destination}.credentials`, name);
  }

  /** Null where nothing is kept, or nothing that can be read. */
  load(): KeptCredentials | null {
    try {
      const bytes = readFileSync(this.path);
      const [salt, iv, tag] = [bytes.subarray(0, 16), bytes.subarray(16, 28), bytes.subarray(28, 44)];
      const decipher = createDecipheriv('aes-256-gcm', this.key(salt), iv).setAuthTag(tag);
      const text = Buffer.concat([decipher.update(bytes.subarray(44)), decipher.final()]).toString('utf8');
      return JSON.parse(text) as KeptCredentials;
    } catch {
      return null;
    }
  }

  /** On the disk when it returns: a lost refresh token cannot be had again. */
  save(credentials: KeptCredentials): void {
    const [salt, iv] = [randomBytes(16), randomBytes(12)];
    const cipher = createCipheriv('aes-256-gcm', this.key(salt), iv);
    const data = Buffer.concat([cipher.update(JSON.stringify(credentials), 'utf8'), cipher.final()]);
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
    const fresh = `${this.path}.${process.pid}`;
    const file = openSync(fresh, 'w', 0o600);
    try {
      writeSync(file, Buffer.concat([salt, iv, cipher.getAuthTag(), data]));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(fresh, this.path);
  }

  private key(salt: Buffer): Buffer {
    return Buffer.from(hkdfSync('sha256', JSON.stringify(this.secrets), salt, 'highwater credentials', 32));
  }
}
