// Checks the production dependencies for known vulnerabilities with `npm audit`. One without a fix is listed in
// audit-accepted.json beside this file by its advisory id, with the reason why it is harmless here and a date for the
// next review. If the registry's audit endpoint is unreachable, prints that and succeeds.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const accepted = JSON.parse(readFileSync(new URL('audit-accepted.json', import.meta.url), 'utf8'));
for (const [id, entry] of Object.entries(accepted)) {
  if (typeof entry?.reason !== 'string' || entry.reason === '' || Number.isNaN(Date.parse(entry.until))) {
    console.error(`audit-accepted.json: ${id} needs a "reason" and an "until" date`);
    process.exit(1);
  }
}

const skip = (why) => {
  console.log(`skipped: audit of production dependencies (${why.trim().split('\n')[0].slice(0, 200)})`);
  process.exit(0);
};

const { stdout, stderr, error } = spawnSync(
  'npm',
  ['audit', '--omit=dev', '--json', '--fetch-retries=1', '--fetch-timeout=30000'],
  {
    encoding: 'utf8',
    cwd: new URL('..', import.meta.url),
    timeout: 120_000,
    maxBuffer: 64 * 1024 * 1024,
    shell: process.platform === 'win32',
  },
);
if (error !== undefined) skip(error.message);
let report;
try {
  report = JSON.parse(stdout);
} catch {
  skip(`npm audit gave no report: ${stderr || stdout || 'no output'}`);
}
if (report.vulnerabilities === undefined) {
  const { code = '', summary = '', detail = '' } = report.error ?? {};
  const said = report.message ?? (`${code} ${summary || detail}`.trim() || 'no reason given');
  // A missing or invalid lock file is our mistake; other errors are between npm and the registry.
  if (['ENOLOCK', 'EUSAGE', 'EJSONPARSE'].includes(code)) {
    console.error(`npm audit failed: ${said}`);
    process.exit(1);
  }
  skip(`the registry's audit endpoint did not answer: ${said}`);
}

const advisories = new Map();
for (const { via = [] } of Object.values(report.vulnerabilities)) {
  for (const advisory of via) {
    if (typeof advisory === 'object')
      advisories.set(/GHSA-[\w-]+/.exec(advisory.url)?.[0] ?? String(advisory.source), advisory);
  }
}
const now = Date.now();
let open = 0;
for (const [id, { title, name, severity, range, url }] of advisories) {
  const entry = accepted[id];
  const stands = entry !== undefined && Date.parse(entry.until) > now;
  if (!stands) open++;
  const words =
    entry === undefined ? 'OPEN' : stands ? `accepted until ${entry.until}: ${entry.reason}` : 'OPEN AGAIN';
  console.log(`${name} ${range} (${severity}) ${title}\n  ${url}\n  ${words}`);
}
for (const id of Object.keys(accepted)) {
  if (!advisories.has(id)) console.log(`${id} is accepted, but no longer reported: remove it from the list`);
}
console.log(`audit of production dependencies: ${advisories.size} known, ${open} open`);
process.exit(open > 0 ? 1 : 0);
