/**
 * The demo API's process: `node dist/dev/demo-api-main.js --port 0 --rows 1000`. Every switch is a flag (`--max-page
 * 1000 --exclusive --gaps '[[10,20]]'`); `--settings` takes several as JSON. Prints `{"port":N}` when it listens; ends
 * on SIGTERM and, with `--parent`, when its standard input closes.
 */
import { parseArgs, type ParseArgsConfig } from 'node:util';
import { DemoServer } from './demo-api/server.js';
import { DEFAULT_SETTINGS } from './demo-api/settings.js';

function exitWith(message: string): never {
  process.stderr.write(`demo API: ${message}\n`);
  process.exit(2);
}

function parseJson(flag: string, text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return exitWith(`--${flag} is not JSON: ${text}`);
  }
}

const flags: NonNullable<ParseArgsConfig['options']> = {
  port: { type: 'string', default: '5001' },
  parent: { type: 'boolean' },
  settings: { type: 'string' },
};
for (const [name, value] of Object.entries(DEFAULT_SETTINGS)) {
  flags[name.replaceAll('_', '-')] = { type: typeof value === 'boolean' ? 'boolean' : 'string' };
}

try {
  const { values } = parseArgs({ options: flags });
  const settings = (values.settings ? parseJson('settings', String(values.settings)) : {}) as Record<
    string,
    unknown
  >;
  for (const name of Object.keys(DEFAULT_SETTINGS)) {
    const flag = name.replaceAll('_', '-');
    const value = values[flag];
    if (value !== undefined) settings[name] = typeof value === 'string' ? parseJson(flag, value) : value;
  }
  if (values.parent) {
    const orphaned = (): never => process.exit(0);
    process.stdin.on('end', orphaned).on('close', orphaned).on('error', orphaned).resume();
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit(0));
  const server = new DemoServer(settings);
  const port = await server.listen(Number(values.port));
  process.stdout.on('error', () => {});
  process.stdout.write(`${JSON.stringify({ port })}\n`);
} catch (error) {
  exitWith(error instanceof Error ? error.message : String(error));
}
