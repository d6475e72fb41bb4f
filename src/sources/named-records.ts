/** Makes records of lists of values, whose names an answer gives once: `{columns: [...], rows: [[...], ...]}`. */
import type { AnswerPath } from '../protocol.js';
import { JsonTape } from '../request/json-tape.js';
import { pathText, selectTexts } from '../request/paths.js';
import { counted } from '../text.js';
import { ScanError } from './record-scanner.js';

/**
 * @param body the whole answer.
 * @param records texts of the lists of values.
 * @param path leads to the names: a list of texts, or any texts that a JSONPath selects.
 * @returns records as JSON, in which no number has lost a digit.
 * @throws {ScanError} where names and values do not go together.
 */
export function namedRecords(body: string, records: readonly string[], path: AnswerPath): string[] {
  const where = pathText(path);
  const names = selectTexts(body, path).texts;
  if (records.length > 0 && names.length === 0)
    throw new ScanError(`"record_names" finds no names at ${where}`, 'shape');
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (names.some((name) => !name.startsWith('"')))
    throw new ScanError(`"record_names" finds a value at ${where} that is no text`, 'shape');
  if (twice !== undefined)
    throw new ScanError(`"record_names" finds the name ${twice} twice at ${where}`, 'shape');
  return records.map((text, place) => {
    const tape = new JsonTape(text);
    const values = tape.isList(0) ? tape.items(0) : null;
    if (values === null)
      throw new ScanError(
        `record ${place} is not a list of values, although "record_names" is configured`,
        'shape',
      );
    if (values.length !== names.length)
      throw new ScanError(
        `record ${place} has ${counted(values.length, 'value')}, but there are ${counted(names.length, 'name')} at ${where}`,
        'shape',
      );
    return `{${values.map((at, i) => `${names[i] ?? ''}:${tape.textOf(at)}`).join(',')}}`;
  });
}
