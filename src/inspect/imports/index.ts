/** Reads descriptions of an API: tells their kind by their content. Pure. */
import { parse } from 'yaml';
import { isObject } from '../api/answers.js';
import { fromAirbyte } from './airbyte.js';
import { fromCurl } from './curl.js';
import { fromHar } from './har.js';
import { type Imported, ImportError } from './imported.js';
import { sealed } from './own-references.js';
import { fromOpenApi } from './openapi.js';

export { type Imported, type ImportedStream, ImportError } from './imported.js';

/**
 * @param baseUrl of the API, in place of the one in the description.
 * @throws {ImportError} where the text is none of the kinds that Highwater reads.
 */
export const importedFromText = (text: string, baseUrl?: string): Imported => sealed(readText(text), baseUrl);

function readText(text: string): Imported {
  const plain = text.replace(/^\uFEFF/, '');
  if (/^\s*(\$\s+)?curl\s/m.test(plain) && !/^\s*[{[]/.test(plain)) return fromCurl(plain);
  const document = documentIn(plain);
  if (isObject(document)) {
    if (isObject(document['log']) && Array.isArray(document['log']['entries'])) return fromHar(document);
    if (isObject(document['paths']) && (document['openapi'] ?? document['swagger']) !== undefined)
      return fromOpenApi(document);
    if (
      document['type'] === 'DeclarativeSource' ||
      (Array.isArray(document['streams']) && document['definitions'] !== undefined)
    )
      return fromAirbyte(document);
  }
  throw new ImportError(
    'it is none of these: an OpenAPI 3 or Swagger 2 description, a curl command, a HAR file, an Airbyte declarative manifest',
  );
}

function documentIn(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    try {
      return parse(text, { merge: true }) as unknown;
    } catch {
      return null;
    }
  }
}
