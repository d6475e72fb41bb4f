import type { Json } from '../protocol.js';
import { REFERENCE } from '../secrets/reference-syntax.js';

/** Variables with this beginning hold the placeholders. */
const VARIABLE = 'HIGHWATER_PLACEHOLDER_';

/**
 * Returns a configuration whose references to secrets lead to placeholders, and the environment that has these: a test
 * reads no secret.
 */
export function withPlaceholders(configuration: Json): {
  configuration: Json;
  environment: NodeJS.ProcessEnv;
} {
  const environment: NodeJS.ProcessEnv = {};
  const variables = new Map<string, string>();
  const replaced = (text: string) =>
    text.replace(REFERENCE, (reference: string) => {
      const variable = variables.get(reference) ?? `${VARIABLE}${variables.size + 1}`;
      variables.set(reference, variable);
      environment[variable] = `x0-placeholder-${variable.slice(VARIABLE.length)}`;
      return `\${env:${variable}}`;
    });
  const visit = (value: Json): Json => {
    if (typeof value === 'string') return replaced(value);
    if (typeof value !== 'object' || value === null) return value;
    if (Array.isArray(value)) return value.map(visit);
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, visit(inner)]));
  };
  return { configuration: visit(configuration), environment };
}
