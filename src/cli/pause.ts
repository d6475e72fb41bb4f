import type { Command } from 'commander';
import { controlCommand } from './control.js';

export const pauseCommand = (): Command =>
  controlCommand({
    name: 'pause',
    description: 'Pause a sync after the current batch, until "highwater resume".',
    help: 'A paused sync sends no requests; its table and checkpoint agree.',
    isDone: ({ status }) => status === 'paused',
    said: () => 'paused',
    later: 'will pause after the current batch',
  });
