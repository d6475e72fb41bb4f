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
  'contract/files.test',
  'integration/cli.test',
  'integration/postgres',
  'integration/packaging',
  'integration/operate.test',
  'contract/values',
  'long/',
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

/** `npm run test:long`; test/helpers/long.ts says the same to tests. */
const isLong = process.env['HIGHWATER_LONG_TESTS'] !== undefined;

const shared = {
  pool: 'forks',
  // Tests beside each other share two cores: each takes seconds, and a minute on a machine that has other work.
  testTimeout: 120_000,
  hookTimeout: 120_000,
  teardownTimeout: 20_000,
} as const;

export default defineConfig({
  test: {
    // Nearly half of a suite's time is waiting: four of them keep two cores busy.
    maxWorkers: 4,
    sequence: { sequencer: LongestFirst },
    projects: [
      // Neither has files that could disturb each other: each process loads the modules once.
      { test: { ...shared, name: 'unit', include: ['test/unit/**/*.test.ts'], isolate: false } },
      {
        test: {
          ...shared,
          name: 'system',
          isolate: false,
          include: ['test/**/*.test.ts'],
          exclude: ['test/unit/**', ...(isLong ? [] : ['test/long/**'])],
          globalSetup: ['test/helpers/global-setup.ts'],
        },
      },
    ],
  },
});
