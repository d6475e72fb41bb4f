import type { Command } from 'commander';
import { controlCommand } from './control.js';

export const pauseCommand = (): Command =>
  controlCommand({
    name: 'pause',
    description: 'Pause a sync after the current batch, until "highwater resume".',
    help: 'Nothing is asked of the source meanwhile; the table and its checkpoint agree.',
    isDone: ({ status }) => status === 'paused',
    later: 'pauses after the current batch',
  });
