import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * The suites that take longest, in their order by `npm test` (it prints the seconds of each): first, so that none of them
 * is left alone at the end.
 */
const LONGEST = [
  'crash-matrix',
  'integration/documented',
  'contract/destination',
  'integration/cli.test',
  'contract/files.test',
  'integration/fence',
  'integration/operate.test',
  'integration/postgres',
  'integration/operating-docs',
  'integration/waits',
  'integration/delete-guard',
  'integration/import-state',
  'contract/values',
  'integration/drift',
  'integration/ranges',
  'integration/deployment',
  'integration/crash.test',
  'integration/requests',
  'workflow/',
  'integration/',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => {
      const found = LONGEST.findIndex((name) => moduleId.includes(name));
      return found === -1 ? LONGEST.length : found;
    };
    return (await super.sort(files)).sort((a, b) => place(a) - place(b));
  }
}

const shared = {
  pool: 'forks',
  // Tests beside each other share two cores: each takes seconds, and a minute on a machine that has other work.
  testTimeout: 120_000,
  hookTimeout: 120_000,
  teardownTimeout: 20_000,
} as const;

export default defineConfig({
  test: {
    // A third of a suite's time is waiting: three of them keep two cores busy.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    projects: [
      // No server, and nothing of one file that another could meet: the modules are loaded once for all of them.
      { test: { ...shared, name: 'unit', include: ['test/unit/**/*.test.ts'], isolate: false } },
      {
        test: {
          ...shared,
          name: 'system',
          isolate: false,
          include: ['test/**/*.test.ts'],
          exclude: ['test/unit/**'],
          globalSetup: ['test/helpers/global-setup.ts'],
        },
      },
    ],
  },
});
