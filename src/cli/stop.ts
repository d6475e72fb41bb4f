import type { Command } from 'commander';
import { controlCommand } from './control.js';

export const stopCommand = (): Command =>
  controlCommand({
    name: 'stop',
    description: 'End a sync after the current batch; the next sync continues from there.',
    help: 'Pages in flight may take another ten seconds; the next sync reads them again.',
    // It is when the workflow has ended.
    isDone: () => false,
    said: () => 'stopped',
    later: 'will stop after the current batch',
  });
