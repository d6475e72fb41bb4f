/** Stop, cancel and trigger while something else is under way. */
import { setTimeout as delay } from 'node:timers/promises';
import { describe, test } from 'vitest';
import { gate, useLaboratory } from './laboratory.js';

const lab = useLaboratory();

describe('cancelling', () => {
  test('ends a sync that was stopped and still reads', async () => {
    const reading = gate();
    const bench = await lab().bench({ rows: 200 });
    const run = await bench.start(
      { interval: '1h' },
      { fetchPages: (input, real) => reading.pass().then(() => real(input)) },
    );
    await reading.reached;
    await run.handle.signal('stop');
    await delay(500);
    await run.sync.cancel();
    await run.isCancelled();
  });
});
