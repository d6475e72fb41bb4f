import { readdirSync } from 'node:fs';
import js from '@eslint/js';
import tseslint from 'typescript-eslint';

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
  'optional-package',
  'package-json',
  'protocol',
  'settings',
  'state-dir',
  'text',
  'zod',
];
const TEMPORAL = '^@temporalio/';

/**
 * The layers of src, lowest first. A layer imports the layers and files that it names, and SHARED where it names no
 * `shared` of its own; `types` it imports by type only. `packages` matches packages that it does not use.
 */
const LAYERS = {
  trust: { imports: ['request'], packages: TEMPORAL },
  // Pure: luxon reads dates.
  strategies: { imports: [], shared: ['protocol'], packages: '^(?!luxon$)[^.]' },
  secrets: { imports: ['trust'], packages: TEMPORAL },
  request: { imports: ['secrets'], packages: TEMPORAL },
  config: { imports: ['secrets', 'request', 'strategies'], packages: TEMPORAL },
  staging: { imports: [], packages: TEMPORAL },
  payloads: { imports: [] },
  dev: { imports: [] },
  sources: {
    imports: ['trust', 'secrets', 'strategies', 'request', 'config'],
    types: ['surroundings'],
    packages: TEMPORAL,
  },
  destinations: {
    imports: ['trust', 'secrets', 'strategies', 'request', 'config', 'staging', 'sources'],
    packages: TEMPORAL,
  },
  inspect: { imports: ['trust', 'secrets', 'strategies', 'request', 'config', 'sources', 'surroundings'] },
  plan: { imports: ['secrets', 'strategies', 'config', 'sources', 'destinations'], packages: TEMPORAL },
  activities: {
    imports: ['secrets', 'strategies', 'request', 'config', 'staging', 'sources', 'destinations', 'plan'],
    types: ['surroundings'],
  },
  // Deterministic: a workflow's bundle holds no code of the folders below.
  workflows: { imports: ['config/part'], types: ['activities'], packages: '^node:' },
  observe: { imports: ['sources', 'activities'] },
  // Its means of reading destinations and histories come from the commands.
  ui: { imports: ['config', 'destinations', 'trust', 'client', 'connection'], types: ['payloads'] },
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
        'sources',
        'destinations',
      ],
      'inspect',
      'plan',
      'client',
      'connection',
      'logger',
      'replaying',
      'surroundings',
      'ui',
      'worker',
      'workflows/moves',
      'workflows/settings',
    ],
    types: ['workflows'],
  },
};

const FILES_AND_FOLDERS = readdirSync(new URL('src', import.meta.url)).map((name) =>
  name.replace(/\.ts$/, ''),
);

/** Matches imports, from a folder of src, of some files and folders of src except for others. */
const importOf = (names, except) =>
  `^(?:\\.\\./)+(?!(?:${except.join('|')})(?:/|\\.js$))(?:${names.join('|')})(?:/|\\.js$)`;

const forbid = (files, patterns) => ({
  files,
  rules: { '@typescript-eslint/no-restricted-imports': ['error', { patterns }] },
});

const layers = Object.entries(LAYERS).map(
  ([name, { imports, shared = SHARED, types = [], packages = null }]) => {
    const used = [name, ...shared, ...imports];
    return forbid(
      [`src/${name}/**`],
      [
        {
          regex: importOf(FILES_AND_FOLDERS, [...used, ...types]),
          message: `src/${name} does not know this; see LAYERS in eslint.config.js`,
        },
        // The rule lets pass a type import that any such pattern matches: each matches only its own.
        types.length > 0 && {
          regex: importOf(types, used),
          allowTypeImports: true,
          message: `src/${name} imports this by type only; see LAYERS in eslint.config.js`,
        },
        packages !== null && { regex: packages, message: `src/${name} does not use this package` },
      ].filter(Boolean),
    );
  },
);

export default tseslint.config(
  {
    ignores: ['dist/**', 'node_modules/**', 'test/replay/histories/**', 'src/sources/assembly/**', 'site/**'],
  },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/no-base-to-string': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/only-throw-error': 'off',
      '@typescript-eslint/prefer-promise-reject-errors': 'off',
    },
  },
  ...layers,
  forbid(
    SHARED.map((name) => `src/${name}.ts`),
    [
      {
        regex: `^\\./(?!(?:${SHARED.join('|')})\\.js$)`,
        message: 'a shared file imports other shared files only',
      },
    ],
  ),
  forbid(
    ['src/protocol.ts', 'src/protocol/**'],
    [{ regex: '^(?!\\./)', message: 'protocol imports nothing else' }],
  ),
  {
    files: ['**/*.mjs', '**/*.js'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', URL: 'readonly' } },
  },
);
