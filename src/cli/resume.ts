import type { Command } from 'commander';
import { controlCommand } from './control.js';

export const resumeCommand = (): Command =>
  controlCommand({
    name: 'resume',
    description: 'Continue a paused sync, or retry one that is failing or blocked.',
    help: 'It also ends a wait that the source asked for, and the sleep between passes.',
    isDone: ({ status }) => !['paused', 'blocked', 'failing', 'waiting'].includes(status),
    later: 'asked to resume, but has not continued yet; "highwater status" shows why',
  });
