import type { Command } from 'commander';
import { controlCommand } from './control.js';

export const resumeCommand = (): Command =>
  controlCommand({
    name: 'resume',
    description: 'Let a sync go on that is paused, or that waits until something was mended.',
    help: 'It also ends a wait that the source asked for, and the sleep between passes.',
    isDone: ({ status }) => !['paused', 'blocked', 'failing', 'waiting'].includes(status),
    later: 'was told to go on, and does not yet; "highwater status" says what keeps it',
  });
