import type { Command } from 'commander';
import { controlCommand } from './control.js';

export const triggerCommand = (): Command =>
  controlCommand({
    name: 'trigger',
    description: 'Let a sync make a pass now, or one more after the current pass.',
    help: 'One that fails or waits to be mended tries again. One that is paused stays so; the pass comes with resume.',
    isDone: ({ status, totals }, before) =>
      ['opening', 'running'].includes(status) || totals.passes > (before?.totals.passes ?? 0),
    comesLater: ({ status }) => ['paused', 'waiting'].includes(status),
    later: 'makes a pass as soon as it goes on; "highwater status" says what it waits for',
  });
