import { expect, test } from 'vitest';
import { ConfigurationError } from '../../src/errors.js';
import { firstLine } from '../../src/text.js';

const problem = (path: string) => ({ path, message: 'is missing' });

test('the first line of a message says what is wrong, where its own first line only counts', () => {
  expect(firstLine('503 Service Unavailable\nrequest: GET /')).toBe('503 Service Unavailable');
  expect(firstLine(new ConfigurationError([problem('source')]).message)).toBe('source: is missing');
  expect(firstLine(new ConfigurationError([problem('a'), problem('b')]).message)).toBe(
    'the configuration has 2 problems:',
  );
});
