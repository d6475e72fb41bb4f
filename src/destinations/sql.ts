/** A quoted SQL identifier, whatever it holds. */
export const identifier = (name: string) => `"${name.replaceAll('"', '""')}"`;

/** A quoted SQL text. */
export const literal = (text: string) => `'${text.replaceAll("'", "''")}'`;
