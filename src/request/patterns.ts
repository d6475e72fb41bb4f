/** Regular expressions of a configuration or of an answer: they run in time linear in the text, whatever they are. */
import { RE2JS } from 're2js';

/** A pattern that an answer holds is not read beyond this. */
const PATTERN_LIMIT = 1000;

export interface Pattern {
  /** Whether it is found anywhere in a text. */
  isIn: (text: string) => boolean;
}

/**
 * Compiles a regular expression in the syntax of RE2, which JavaScript's own is but for lookaround and back references.
 * @throws {SyntaxError} that says why it cannot be used.
 */
export function patternOf(source: string, isCaseIgnored = false): Pattern {
  if (source.length > PATTERN_LIMIT) throw new SyntaxError(`it is longer than ${PATTERN_LIMIT} characters`);
  try {
    const compiled = RE2JS.compile(RE2JS.translateRegExp(source), isCaseIgnored ? RE2JS.CASE_INSENSITIVE : 0);
    return { isIn: (text) => compiled.test(text) };
  } catch (thrown) {
    throw new SyntaxError(thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown });
  }
}

/**
 * Says why a regular expression cannot be used; null where it can: it is none, or has no linear time (lookaround, back
 * references).
 */
export function patternProblem(source: string): string | null {
  try {
    patternOf(source);
    return null;
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : String(thrown);
  }
}

/** A pattern as JSONPath has it (RFC 9485), to match a text whole or to be searched in it. @throws {SyntaxError} */
export function pathPattern(source: string, isWhole: boolean): Pattern {
  // A dot excludes carriage returns too; in RE2 it excludes line feeds only.
  const dots = source.replace(/\\.|\[(?:\\.|[^\]\\])*\]|\./gs, (piece) =>
    piece === '.' ? '[^\\n\\r]' : piece,
  );
  return patternOf(isWhole ? `^(?:${dots})$` : dots);
}
