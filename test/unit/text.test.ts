import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { ConfigurationError } from '../../src/errors.js';
import { firstLine, shellWord } from '../../src/text.js';

const problem = (path: string) => ({ path, message: 'is missing' });

test('the first line of a message says what is wrong, where its own first line only counts', () => {
  expect(firstLine('503 Service Unavailable\nrequest: GET /')).toBe('503 Service Unavailable');
  expect(firstLine(new ConfigurationError([problem('source')]).message)).toBe('source: is missing');
  expect(firstLine(new ConfigurationError([problem('a'), problem('b')]).message)).toBe(
    'the configuration has 2 problems:',
  );
});

test('a name is one word of a shell, and shows no control character', () => {
  expect(shellWord('users/orders-2')).toBe('users/orders-2');
  expect(shellWord("my sync's $(rm -rf /)")).toBe(String.raw`'my sync'\''s $(rm -rf /)'`);
  const odd = "a\u001b[31m'b\\\n\u202e";
  expect(shellWord(odd)).toBe(String.raw`$'a\u001b[31m\'b\\\u000a\u202e'`);
  const read = execFileSync('bash', ['--norc', '-c', `printf %s ${shellWord(odd)}`], {
    env: { LC_ALL: 'C.UTF-8' },
  });
  expect(read.toString()).toBe(odd);
});
