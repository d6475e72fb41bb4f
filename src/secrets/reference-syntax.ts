/** How configurations refer to secrets. */
import { PROVIDER_FORMS, PROVIDER_PATTERNS } from './names.js';

/** Kinds of references to secrets, as they are written. */
export const SECRET_REFERENCES: Record<string, string> = {
  env: '${env:NAME}',
  file: '${file:PATH}',
  ...PROVIDER_FORMS,
};

const REFERENCE_NAMES = { env: '[A-Za-z_][A-Za-z0-9_]*', file: '[^}]+', ...PROVIDER_PATTERNS };

/** `${env:NAME}`, `${file:PATH}` or a secret of a provider, resolved in activities only: its kind, and what it names. */
export const REFERENCE = new RegExp(
  String.raw`\$\{(${Object.keys(REFERENCE_NAMES).join('|')}):(` +
    Object.entries(REFERENCE_NAMES)
      .map(([kind, name]) => String.raw`(?<=\{${kind}:)${name}`)
      .join('|') +
    String.raw`)\}`,
  'g',
);

/** A text that is one reference to a secret and nothing else. */
export const WHOLE_REFERENCE = new RegExp(`^${REFERENCE.source}$`);

/** Whether a text refers to a secret. */
export const holdsReference = (text: string): boolean => text.search(REFERENCE) !== -1;
