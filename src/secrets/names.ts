/** Secret managers that references may name, and how a secret of each is written. */

/** A name of each kind that stands between `${` and `}`, and how it is shown to people. */
const GRAMMAR = {
  vault: { form: '${vault:PATH#FIELD}', name: String.raw`SEGMENT(?:/SEGMENT)*#FIELD` },
  'aws-sm': { form: '${aws-sm:NAME#FIELD}', name: String.raw`[\w/+=.@:-]+(?:#FIELD)?` },
  'gcp-sm': {
    form: '${gcp-sm:projects/PROJECT/secrets/NAME}',
    name: String.raw`(?:projects/[\w.:-]+/secrets/)?[\w-]+(?:@[\w-]+)?(?:#FIELD)?`,
  },
  'azure-kv': {
    form: '${azure-kv:VAULT/NAME}',
    name: String.raw`[A-Za-z0-9-]+/[A-Za-z0-9-]+(?:@[A-Za-z0-9]+)?(?:#FIELD)?`,
  },
  op: { form: '${op:VAULT/ITEM/FIELD}', name: String.raw`(?://)?SEGMENT/SEGMENT/SEGMENT(?:/SEGMENT)?` },
};

export type ProviderKind = keyof typeof GRAMMAR;
export const PROVIDER_KINDS = Object.keys(GRAMMAR) as ProviderKind[];

/** Part of a path: never `.` or `..`, which would lead to another secret than the one that is named. */
const SEGMENT = String.raw`(?!\.{1,2}[/#}])[^{}/#"\\\u0000-\u001f]+`;
const FIELD = String.raw`[^{}#\u0000-\u001f]+`;

/** How a reference to each is written. */
export const PROVIDER_FORMS = Object.fromEntries(
  Object.entries(GRAMMAR).map(([kind, { form }]) => [kind, form]),
);

/** The source of a regular expression for what follows the colon of a reference, for each kind. */
export const PROVIDER_PATTERNS = Object.fromEntries(
  Object.entries(GRAMMAR).map(([kind, { name }]) => [
    kind,
    name.replaceAll('SEGMENT', SEGMENT).replaceAll('FIELD', FIELD),
  ]),
);

/** A reference to a secret of a provider; what it names may hold `/`, `?`, `#` and `@`, which mean nothing to an address. */
export const PROVIDER_REFERENCE = new RegExp(String.raw`\$\{(?:${PROVIDER_KINDS.join('|')}):[^}]*\}`, 'g');

/** A secret as a provider is asked for it, and the part of it that is meant. */
export interface SecretName {
  kind: ProviderKind;
  /** The secret, without the field. */
  name: string;
  /** Null: all of it. */
  field: string | null;
}

/** Takes apart what a reference says after its kind. @param text matches the pattern of its kind. */
export function secretName(kind: ProviderKind, text: string): SecretName {
  if (kind === 'op') {
    // Also as 1Password itself writes it: op://vault/item/field.
    const [vault = '', item = '', ...field] = text.replace(/^\/\//, '').split('/');
    return { kind, name: `${vault}/${item}`, field: field.join('/') };
  }
  const at = text.indexOf('#');
  return at === -1
    ? { kind, name: text, field: null }
    : { kind, name: text.slice(0, at), field: text.slice(at + 1) };
}

/** A secret as lists of the worker's owner and messages have it. */
export const placeOf = ({ kind, name }: SecretName): string => `${kind}:${name}`;

export const isProviderKind = (kind: string): kind is ProviderKind => Object.hasOwn(GRAMMAR, kind);
