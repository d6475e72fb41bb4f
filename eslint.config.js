import js from '@eslint/js';
import tseslint from 'typescript-eslint';

/** The layers of docs/architecture: a folder may import only what stands to the left of it. */
const forbid = (files, patterns, message) => ({
  files,
  rules: {
    '@typescript-eslint/no-restricted-imports': [
      'error',
      {
        patterns: patterns.map((regex) => ({
          regex,
          message,
          allowTypeImports: message.includes('import type'),
        })),
      },
    ],
  },
});

export default tseslint.config(
  { ignores: ['dist/**', 'node_modules/**', 'test/replay/histories/**', 'src/sources/assembly/**'] },
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
  forbid(['src/protocol.ts'], ['.'], 'protocol imports nothing'),
  forbid(
    ['src/strategies/**'],
    ['^\\.\\./(?!protocol)', '^(?!luxon$)[^.]'],
    'strategies are pure: they import nothing but protocol, and luxon to read dates',
  ),
  forbid(
    ['src/workflows/**'],
    ['^\\.\\./(?!protocol|durations|metrics|inputs|settings)', '^node:'],
    'workflows are deterministic: other folders by import type only',
  ),
  forbid(
    ['src/sources/**', 'src/staging/**', 'src/destinations/**', 'src/config/**'],
    ['/(activities|workflows|cli|dev)/', '^@temporalio/'],
    'this layer does not know Temporal, nor who calls it',
  ),
  forbid(
    ['src/activities/**', 'src/workflows/**'],
    ['/(cli|dev)/'],
    'only the command line knows cli and dev',
  ),
  {
    files: ['**/*.mjs', '**/*.js'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', URL: 'readonly' } },
  },
);
