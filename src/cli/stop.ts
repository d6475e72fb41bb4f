import type { Command } from 'commander';
import { controlCommand } from './control.js';

export const stopCommand = (): Command =>
  controlCommand({
    name: 'stop',
    description: 'End a sync after the current batch; the next one goes on from there.',
    help: 'What is being read may take ten seconds more; it is read again by the next sync.',
    // It is when the workflow has ended.
    isDone: () => false,
    later: 'stops after the current batch',
  });
