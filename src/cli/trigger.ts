import type { Command } from 'commander';
import { controlCommand } from './control.js';

export const triggerCommand = (): Command =>
  controlCommand({
    name: 'trigger',
    description: 'Start a pass now, or one more after the current pass.',
    help: 'A failing or blocked sync retries. A paused one stays paused and makes the pass after "resume".',
    isDone: ({ status, totals }, before) =>
      ['opening', 'running'].includes(status) || totals.passes > (before?.totals.passes ?? 0),
    comesLater: ({ status }) => ['paused', 'waiting'].includes(status),
    later: 'will make a pass as soon as it continues; "highwater status" shows what it waits for',
  });
