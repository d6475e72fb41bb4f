import type { Command } from 'commander';
import { controlCommand } from './control.js';

export const cancelCommand = (): Command =>
  controlCommand({
    name: 'cancel',
    description: 'End a sync at once; the current batch is written completely or not at all.',
    help: 'The table and its checkpoint agree; the next sync continues from there. "stop" ends it after the current batch.',
    // It is when the workflow has ended.
    isDone: () => false,
    said: () => 'cancelled',
    later: 'is being cancelled',
  });
