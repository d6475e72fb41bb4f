import { addressIn, askForJson, below, member, refusalBy, textMember, type JsonAnswer } from './http.js';
import {
  SecretProblem,
  variable,
  type ProviderOptions,
  type Secret,
  type SecretFields,
  type SecretProvider,
} from './provider.js';

const WHO = '1Password Connect';
/** Ids of vaults and items; anything else is a name. */
const ID = /^[a-z0-9]{26}$/;

/** 1Password, by the REST API of a Connect server: OP_CONNECT_HOST and OP_CONNECT_TOKEN. */
export class OnePasswordProvider implements SecretProvider {
  constructor(private readonly options: ProviderOptions) {}

  async read(name: string, signal: AbortSignal): Promise<Secret> {
    const [vault = '', item = ''] = name.split('/');
    const find = (path: string[], key: string, named: string) => this.idOf(path, key, named, signal);
    const vaultId = ID.test(vault) ? vault : await find(['vaults'], 'name', vault);
    const items = ['vaults', vaultId, 'items'];
    const itemId = ID.test(item) ? item : await find(items, 'title', item);
    const { body } = await this.ask([...items, itemId], null, signal);
    return { value: fieldsOf(body), leaseSeconds: null };
  }

  close(): void {
    // Connections are the worker's.
  }

  /** Finds the id of a vault or an item by its name. @throws {SecretProblem} */
  private async idOf(path: string[], key: string, named: string, signal: AbortSignal): Promise<string> {
    const { body } = await this.ask(path, `${key} eq "${named}"`, signal);
    const found = (Array.isArray(body) ? body : []).filter((one) => textMember(one, key) === named);
    const what = key === 'name' ? 'vault' : 'item';
    if (found.length > 1)
      throw new SecretProblem(`is ambiguous: 1Password has several ${what}s with that name; give the id`);
    const id = textMember(found[0], 'id');
    if (id !== '') return id;
    throw new SecretProblem(`is not in 1Password: the worker's token can read no such ${what}`);
  }

  private async ask(path: string[], filter: string | null, signal: AbortSignal): Promise<JsonAnswer> {
    const { environment, network } = this.options;
    const host = variable(environment, 'OP_CONNECT_HOST');
    const token = variable(environment, 'OP_CONNECT_TOKEN');
    if (host === undefined || token === undefined)
      throw new SecretProblem(
        'cannot be read, because OP_CONNECT_HOST and OP_CONNECT_TOKEN are not set where the worker runs',
      );
    const url = below(addressIn('OP_CONNECT_HOST', host), ['v1', ...path]);
    if (filter !== null) url.searchParams.set('filter', filter);
    const headers = { authorization: `Bearer ${token}` };
    const answer = await askForJson(network, WHO, { url, headers }, signal);
    const { status, body } = answer;
    if (status === 200) return answer;
    if (status === 404) throw new SecretProblem('is not in 1Password');
    throw refusalBy(WHO, status, textMember(body, 'message'));
  }
}

/** The fields of an item by their labels and ids; those of a section also as SECTION/FIELD. Without a section wins. */
function fieldsOf(item: unknown): SecretFields {
  const sections = new Map(
    listIn(item, 'sections').map((one) => [textMember(one, 'id'), textMember(one, 'label')]),
  );
  const fields: SecretFields = {};
  const add = (name: string, value: unknown) => {
    if (name !== '' && !Object.hasOwn(fields, name)) fields[name] = value;
  };
  const all = listIn(item, 'fields').map((field) => ({
    section: textMember(member(field, 'section'), 'id'),
    names: [textMember(field, 'label'), textMember(field, 'id')],
    value: member(field, 'value'),
  }));
  for (const { section, names, value } of all) if (section === '') for (const name of names) add(name, value);
  for (const { section, names, value } of all) {
    if (section === '') continue;
    for (const name of names) {
      for (const place of [sections.get(section) ?? '', section])
        if (place !== '') add(`${place}/${name}`, value);
      add(name, value);
    }
  }
  return fields;
}

function listIn(value: unknown, name: string): unknown[] {
  const found = member(value, name);
  return Array.isArray(found) ? found : [];
}
