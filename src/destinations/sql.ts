/** A quoted SQL identifier, whatever it holds. */
export const identifier = (name: string) => `"${name.replaceAll('"', '""')}"`;

/** A quoted SQL text; a NUL would end the statement. */
export const literal = (text: string) =>
  `'${text.replaceAll("'", "''").replaceAll('\0', "' || chr(0) || '")}'`;
