import { readFileSync, readdirSync } from 'node:fs';
import { defineConfig } from 'oxlint';

/** Files and folders that every layer may use. They use one another, and no layer. */
const SHARED = [
  'column-type',
  'decode',
  'durations',
  'errors',
  'failures',
  'faults',
  'inputs',
  'metrics',
  'move-target',
  'optional-package',
  'own-files',
  'package-json',
  'protocol',
  'same-secret',
  'settings',
  'state-dir',
  'sync-condition',
  'sync-families',
  'text',
  'zod',
];
const TEMPORAL = '^@temporalio/';
const { dependencies, devDependencies } = JSON.parse(
  readFileSync(new URL('package.json', import.meta.url), 'utf8'),
);
const packagesExcept = (one) => {
  const others = Object.keys({ ...dependencies, ...devDependencies }).filter((name) => name !== one);
  return `^(?:node:|(?:${others.join('|')})(?:/|$))`;
};

/**
 * The layers of src, lowest first. A layer imports the layers and files that it names, and SHARED where it names no
 * `shared` of its own; `types` it imports by type only. `packages` matches packages that it does not use.
 */
const LAYERS = {
  trust: { imports: ['request'], packages: TEMPORAL },
  // Pure: luxon reads dates.
  strategies: { imports: [], shared: ['protocol'], packages: packagesExcept('luxon') },
  secrets: { imports: ['trust'], packages: TEMPORAL },
  request: { imports: ['secrets'], packages: TEMPORAL },
  config: {
    imports: ['secrets', 'request', 'strategies', 'extensions', 'destinations/custom', 'syntax-error'],
    packages: TEMPORAL,
  },
  staging: { imports: [], packages: TEMPORAL },
  payloads: { imports: [] },
  dev: { imports: [] },
  hooks: { imports: ['trust', 'syntax-error'], packages: TEMPORAL },
  sources: {
    imports: ['trust', 'secrets', 'strategies', 'request', 'config', 'hooks'],
    types: ['surroundings'],
    packages: TEMPORAL,
  },
  destinations: {
    imports: ['trust', 'secrets', 'strategies', 'request', 'config', 'staging', 'sources'],
    packages: TEMPORAL,
  },
  inspect: {
    imports: ['trust', 'secrets', 'strategies', 'request', 'config', 'hooks', 'sources', 'surroundings'],
  },
  plan: { imports: ['secrets', 'strategies', 'config', 'sources', 'destinations'], packages: TEMPORAL },
  activities: {
    imports: ['secrets', 'strategies', 'request', 'config', 'staging', 'sources', 'destinations', 'plan'],
    types: ['surroundings'],
  },
  recording: {
    imports: [
      'extensions',
      ...['trust', 'secrets', 'strategies', 'request', 'config', 'sources', 'destinations', 'activities'],
      'surroundings',
    ],
  },
  // Deterministic: a workflow's bundle holds no code of the folders below.
  workflows: { imports: ['config/part'], types: ['activities'], packages: '^node:' },
  observe: { imports: ['sources', 'activities'] },
  // For the tests of configurations and of extensions.
  testing: { imports: ['strategies', 'config', 'destinations', 'recording'], packages: TEMPORAL },
  // Its means of reading destinations and histories come from the commands.
  ui: { imports: ['config', 'destinations', 'trust', 'client', 'connection', 'task-queue'] },
  cli: {
    imports: [
      ...[
        'trust',
        'secrets',
        'strategies',
        'request',
        'config',
        'staging',
        'payloads',
        'dev',
        'hooks',
        'sources',
        'destinations',
      ],
      'inspect',
      'recording',
      'plan',
      'client',
      'colours',
      'connection',
      'extensions',
      'logger',
      'replaying',
      'schedules',
      'surroundings',
      'sync-description',
      'task-queue',
      'ui',
      'worker',
    ],
    types: ['workflows'],
  },
};

const inside = (folder) =>
  readdirSync(new URL(folder, import.meta.url)).map((name) => name.replace(/\.ts$/, ''));
const FILES_AND_FOLDERS = [...new Set(inside('src'))];

/** Matches imports, by a path that starts with `up`, of these files and folders of src except for others. */
const importOf = (names, except, up = '(?:\\.\\./)+') => {
  const parts = names
    .filter((name) => !except.includes(name))
    .flatMap((name) =>
      except.some((other) => other.startsWith(`${name}/`))
        ? inside(`src/${name}`).map((file) => `${name}/${file}`)
        : [name],
    );
  return `^${up}(?:${parts.filter((part) => !except.includes(part)).join('|')})(?:/|\\.js$)`;
};

const forbid = (files, patterns) => ({
  files,
  rules: { 'no-restricted-imports': ['error', { patterns }] },
});

const layers = Object.entries(LAYERS).map(
  ([name, { imports, shared = SHARED, types = [], packages = null }]) => {
    const used = [name, ...shared, ...imports];
    return forbid(
      [`src/${name}/**`],
      [
        {
          regex: importOf(FILES_AND_FOLDERS, [...used, ...types]),
          message: `src/${name} does not know this; see LAYERS in oxlint.config.js`,
        },
        // The rule lets pass a type import that any such pattern matches: each matches only its own.
        types.length > 0 && {
          regex: importOf(types, used),
          allowTypeImports: true,
          message: `src/${name} imports this by type only; see LAYERS in oxlint.config.js`,
        },
        packages !== null && { regex: packages, message: `src/${name} does not use this package` },
      ].filter(Boolean),
    );
  },
);

export default defineConfig({
  plugins: ['eslint', 'typescript', 'import', 'oxc'],
  options: { typeAware: true, typeCheck: true },
  env: { builtin: true, node: true },
  ignorePatterns: [
    'dist/**',
    'node_modules/**',
    'test/replay/histories/**',
    'src/sources/assembly/**',
    'site/**',
  ],
  categories: { correctness: 'error' },
  rules: {
    'no-undef': 'error',
    'no-useless-assignment': 'error',
    'preserve-caught-error': 'error',
    // Texts are spread by character on purpose, sorted as texts, and `void (await …)` drops a result.
    'typescript/no-misused-spread': 'off',
    'typescript/require-array-sort-compare': 'off',
    'typescript/no-meaningless-void-operator': 'off',
    'import/no-cycle': ['error', { ignoreTypes: true }],
  },
  overrides: [
    {
      files: ['**/*.ts'],
      rules: {
        'no-undef': 'off',
        'no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
        'no-var': 'error',
        'prefer-const': 'error',
        'typescript/ban-ts-comment': 'error',
        'typescript/no-explicit-any': 'error',
        'typescript/no-empty-object-type': 'error',
        'typescript/no-misused-promises': 'error',
        'typescript/no-unsafe-argument': 'error',
        'typescript/no-unsafe-assignment': 'error',
        'typescript/no-unsafe-call': 'error',
        'typescript/no-unsafe-enum-comparison': 'error',
        'typescript/no-unsafe-member-access': 'error',
        'typescript/no-unsafe-return': 'error',
        'typescript/no-unnecessary-type-assertion': 'error',
        'typescript/restrict-plus-operands': 'error',
        'typescript/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
        'typescript/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
        'typescript/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
        'typescript/no-base-to-string': 'off',
      },
    },
    ...layers,
    forbid(
      SHARED.map((name) => `src/${name}.ts`),
      [
        {
          regex: importOf(FILES_AND_FOLDERS, SHARED, '\\./'),
          message: 'a shared file imports other shared files only',
        },
      ],
    ),
    forbid(
      ['src/protocol.ts', 'src/protocol/**'],
      [{ regex: '^(?:\\.\\./|[^.])', message: 'protocol imports nothing else' }],
    ),
  ],
});
