/** Stop, cancel and trigger while something else is under way. */
import { setTimeout as delay } from 'node:timers/promises';
import { ApplicationFailure } from '@temporalio/common';
import { describe, test } from 'vitest';
import { gate, useLaboratory } from './laboratory.js';

const lab = useLaboratory();

const notify = { url: 'http://127.0.0.1:9/hook' };

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

  test('ends a sync that was stopped, was interrupted, and waits for a receiver of notices', async () => {
    const [reading, sending] = [gate(), gate()];
    let calls = 0;
    const bench = await lab().bench({ rows: 200 });
    const run = await bench.start(
      { interval: '1h', notify },
      {
        fetchPages: async (input, real) => {
          if (++calls === 1) throw ApplicationFailure.nonRetryable('broken', 'Broken');
          await reading.pass();
          return real(input);
        },
        sendNotice: () => sending.pass(),
      },
    );
    await run.status('blocked');
    await run.handle.signal('trigger');
    await reading.reached;
    await run.handle.signal('stop');
    await run.status('stopped');
    await run.sync.cancel();
    await run.isCancelled();
    sending.open();
  });
});
