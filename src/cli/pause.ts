import type { Command } from 'commander';
import { controlCommand } from './control.js';

export const pauseCommand = (): Command =>
  controlCommand({
    name: 'pause',
    description: 'Let a sync stand still after the batch in hand, until "highwater resume".',
    help: 'Nothing is asked of the source meanwhile; the table and its checkpoint agree.',
    isDone: ({ status }) => status === 'paused',
    later: 'pauses after the batch in hand',
  });
