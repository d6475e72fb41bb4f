// Runs lint, which checks types too, and all tests; prints the time of each, and the counts again at the end. With --long also the tests
// that take too long for `npm test`.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const given = process.argv.slice(2).filter((word) => word !== '--long');
if (process.argv.includes('--long')) process.env.HIGHWATER_LONG_TESTS = '1';

const scratch = mkdtempSync(join(tmpdir(), 'highwater-results-'));
const results = join(scratch, 'results.json');
/** Runs a command. @returns its status, and its output unless it was streamed. */
const node =
  (...args) =>
  (isShown) =>
    new Promise((resolve, reject) => {
      const output = isShown ? 'inherit' : 'pipe';
      const child = spawn(process.execPath, args, { stdio: ['ignore', output, output] });
      let said = '';
      for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (said += chunk));
      child.once('error', reject);
      child.once('close', (status) => resolve({ status, said }));
    });
const steps = [
  ['lint and types', node('node_modules/oxlint/bin/oxlint', '-c', 'oxlint.config.js')],
  ['format', node('node_modules/prettier/bin/prettier.cjs', '--check', '--log-level', 'warn', '.')],
  [
    'tests',
    node(
      ...['node_modules/vitest/vitest.mjs', 'run', ...given],
      ...['--reporter=default', '--reporter=json', `--outputFile.json=${results}`],
    ),
  ],
];

const times = [];
let failed = false;
async function run([name, step], isShown) {
  const started = Date.now();
  const { status, said } = await step(isShown);
  times.push([name, (Date.now() - started) / 1000, status === 0 ? 'ok' : 'FAILED']);
  failed ||= status !== 0;
  return isShown ? '' : `\n── ${name}${said === '' ? '' : `\n${said.trimEnd()}`}`;
}
// Checks run beside the tests, which wait half of their time; their output comes afterwards.
const checks = (async () => {
  const said = [];
  for (const check of steps.slice(0, -1)) said.push(await run(check, false));
  return said;
})();
console.log('\n── tests');
await run(steps.at(-1), true);
for (const said of await checks) console.log(said);

const named = (suite) => suite.name.replace(`${process.cwd()}/`, '');
const counted = (tests) => {
  const counts = new Map();
  for (const { suite } of tests) counts.set(suite, (counts.get(suite) ?? 0) + 1);
  return counts;
};

let counts = '0 passed, 1 failed';
const failures = [];
try {
  const report = JSON.parse(readFileSync(results, 'utf8'));
  console.log('\n── seconds a suite, of those that took longest');
  const seconds = (suite) => (suite.endTime - suite.startTime) / 1000;
  for (const suite of [...report.testResults].sort((a, b) => seconds(b) - seconds(a)).slice(0, 25))
    console.log(`${seconds(suite).toFixed(1).padStart(7)}  ${named(suite)}`);
  const tests = report.testResults.flatMap((suite) =>
    suite.assertionResults.map((test) => ({ ...test, suite: named(suite) })),
  );
  const skipped = tests.filter(({ status }) => status === 'pending' || status === 'skipped');
  console.log('\n── skipped, by suite');
  for (const [suite, count] of counted(skipped)) console.log(`${String(count).padStart(7)}  ${suite}`);
  for (const { suite, fullName, failureMessages } of tests.filter(({ status }) => status === 'failed'))
    failures.push(`${suite}: ${fullName}\n${failureMessages.join('\n').slice(0, 1500)}`);
  for (const suite of report.testResults)
    if (suite.status === 'failed' && suite.assertionResults.every(({ status }) => status !== 'failed'))
      failures.push(`${named(suite)}: could not be run\n${(suite.message ?? '').slice(0, 1500)}`);
  const broken = report.numFailedTestSuites > 0 && report.numFailedTests === 0 ? 1 : 0;
  counts = `${report.numPassedTests} passed, ${report.numFailedTests + broken} failed, ${skipped.length} skipped`;
} catch (error) {
  console.log(`no test results: ${error.message}`);
}
rmSync(scratch, { recursive: true, force: true });

console.log('\n── seconds a step');
for (const [name, seconds, outcome] of times)
  console.log(`${seconds.toFixed(1).padStart(7)}  ${name}: ${outcome}`);
// Last, as a log is often cut in front.
for (const failure of failures) console.log(`\nFAILED ${failure}`);
console.log(`\n${counts}`);
process.exit(failed ? 1 : 0);
