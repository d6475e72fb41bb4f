import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { DemoRecord } from '../../src/dev/demo-api.js';
import type { Json } from '../../src/protocol.js';
import type { Difference } from './harness.js';

/** The script that Highwater's strategies come from; not part of this repository. */
const CONNECTOR = fileURLToPath(new URL('../../../shared/reference/connector.py', import.meta.url));
const STUB = fileURLToPath(new URL('original-stub/', import.meta.url));

/** Why the original script cannot be run here, or null. */
export function originalMissing(): string | null {
  if (!existsSync(CONNECTOR)) return `there is no ${CONNECTOR}`;
  const { status } = spawnSync('python3', ['-c', 'import json'], { stdio: 'ignore' });
  return status === 0 ? null : 'there is no python3';
}

interface Run {
  upserts: DemoRecord[];
  state: { [name: string]: Json };
  error: string | null;
}

/** The original script with what its platform would keep from sync to sync: a table and a state. */
export class Original {
  readonly rows = new Map<string, DemoRecord>();
  state: { [name: string]: Json } = {};

  /**
   * Makes one sync with the script's own functions, under stubs of the packages that it imports.
   * @returns what ended the run, if anything did.
   */
  async sync(configuration: { [key: string]: Json }): Promise<string | null> {
    const child = spawn('python3', ['-B', 'run.py'], { cwd: STUB, stdio: ['pipe', 'pipe', 'inherit'] });
    child.stdin.end(JSON.stringify({ connector: CONNECTOR, configuration, state: this.state }));
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
    const [status] = (await once(child, 'close')) as [number | null];
    if (status !== 0) throw new Error(`the original script's driver ended with ${status}`);
    const run = JSON.parse(said) as Run;
    for (const record of run.upserts) this.rows.set(record.id, record);
    this.state = run.state;
    return run.error;
  }

  /** What differs between the source and the table. */
  difference(source: DemoRecord[]): Difference {
    const extra = new Set(this.rows.keys());
    const result: Difference = { missing: [], stale: [], extra: [] };
    for (const record of source) {
      extra.delete(record.id);
      const stored = this.rows.get(record.id);
      if (stored === undefined) result.missing.push(record.id);
      else if (JSON.stringify(stored) !== JSON.stringify(record)) result.stale.push(record.id);
    }
    result.extra.push(...extra);
    return result;
  }
}
